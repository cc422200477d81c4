import numpy as np
import pytest

from distil.config import validate
from distil.errors import InputError
from distil.sweep.space import Distribution, draw, grid, grid_size


def of(**kind: object) -> Distribution:
    return validate(Distribution, kind)


@pytest.mark.parametrize(
    ("kind", "low", "high"),
    [({"uniform": [2.0, 3.0]}, 2, 3), ({"loguniform": [1e-4, 1e-1]}, 1e-4, 1e-1), ({"int": [3, 6]}, 3, 6)],
)
def test_draws_cover_the_range_and_stay_inside(kind: dict, low: float, high: float) -> None:
    values = np.array([of(**kind).draw(np.random.default_rng(seed)) for seed in range(400)])
    assert values.min() >= low
    assert values.max() <= high
    scaled = np.log(values / low) / np.log(high / low) if "loguniform" in kind else (values - low) / (high - low)
    assert abs(scaled.mean() - 0.5) < 0.06


def test_a_choice_is_one_of_its_values_whatever_they_are() -> None:
    values = ([64, 64], None, "relu", 0.5)
    found = [of(choice=values).draw(np.random.default_rng(seed)) for seed in range(60)]
    assert all(value in values for value in found)
    assert all(value in found for value in values)


@pytest.mark.parametrize(
    ("kind", "words"),
    [
        ({}, "exactly one of"),
        ({"choice": [1], "int": [1, 2]}, "exactly one of"),
        ({"choice": []}, "choice has no value"),
        ({"grid": []}, "grid has no value"),
        ({"uniform": [2.0, 1.0]}, "low < high"),
        ({"loguniform": [0.0, 1.0]}, "positive limits"),
        ({"normal": [0, 1]}, "unknown key normal"),
    ],
)
def test_what_is_no_distribution_is_refused_in_one_line(kind: dict, words: str) -> None:
    with pytest.raises(InputError, match=words) as error:
        of(**kind)
    assert "\n" not in str(error.value)


def test_a_grid_has_all_combinations_once() -> None:
    space = {"a": of(grid=[1, 2, 3]), "b": of(int=[0, 1]), "c": of(choice=["x"])}
    points = list(grid(space))
    assert len(points) == grid_size(space) == 6
    assert points[0] == {"a": 1, "b": 0, "c": "x"}
    assert points[1] == {"a": 1, "b": 1, "c": "x"}
    assert len({tuple(point.items()) for point in points}) == 6


def test_a_grid_without_an_end_or_of_too_many_points_is_refused() -> None:
    with pytest.raises(ValueError, match="a: uniform has no end in a grid"):
        grid_size({"a": of(uniform=[0.0, 1.0])})
    with pytest.raises(ValueError, match="a grid of 1,000,000 points"):
        grid_size({"a": of(int=[1, 1000]), "b": of(int=[1, 1000])})


def test_values_do_not_depend_on_the_order_of_the_keys() -> None:
    one = {"a": of(uniform=[0.0, 1.0]), "b": of(int=[1, 9])}
    assert draw(one, np.random.default_rng(3)) == draw(dict(reversed(one.items())), np.random.default_rng(3))
