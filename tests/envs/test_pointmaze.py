from typing import Any

import numpy as np
import pytest
from gymnasium.utils.env_checker import check_env

from distil.envs.pointmaze import GOAL, NUM_STEPS, PointMaze
from distil.errors import InputError

UP, RIGHT = np.array([0.0, 1.0], np.float32), np.array([1.0, 0.0], np.float32)


@pytest.mark.filterwarnings("ignore::UserWarning")
def test_it_keeps_gymnasiums_contract() -> None:
    check_env(PointMaze(), skip_render_check=True)


def moved(place: tuple[float, float], action: Any, **kwargs: Any) -> tuple[float, float]:
    env = PointMaze(**kwargs)
    env.reset(seed=0)
    env._place = place
    return tuple(env.step(action)[0].astype(float).round(4).tolist())


@pytest.mark.parametrize(("gap", "side"), [("left", 1), ("right", -1)])
def test_the_barrier_leaves_a_gap_at_one_side(gap: str, side: int) -> None:
    assert moved((side * 0.0, -0.05), UP, gap=gap) == (0.0, -0.01)
    assert moved((side * 0.9, -0.05), UP, gap=gap) == (side * 0.9, -0.01)
    assert moved((side * -0.9, -0.05), UP, gap=gap) == (side * -0.9, 0.05)
    assert moved((side * 0.9, 0.05), -UP, gap=gap) == (side * 0.9, 0.01)
    assert moved((side * 0.9, -0.01), UP + RIGHT * -side, gap=gap) == (side * 0.8, -0.01)  # slides


def test_where_the_way_crosses_the_barrier_decides() -> None:
    """It ends at x = -0.5 + 0.03, beside the gap, but crosses y = 0 within it, or not."""
    assert moved((-0.53, -0.02), RIGHT * 0.6 + UP) == (-0.47, 0.08)
    assert moved((-0.53, -0.08), RIGHT * 0.6 + UP) == (-0.47, -0.01)


def test_actions_and_places_have_bounds() -> None:
    assert moved((0.95, -0.5), RIGHT * 5 - UP * 5) == (1.0, -0.6)


def test_the_reward_is_minus_the_distance_and_episodes_have_one_length() -> None:
    env = PointMaze()
    env.reset(seed=0)
    env._place = (GOAL[0], GOAL[1] - 0.25)
    steps = [env.step(UP * (number == 0))[1:] for number in range(NUM_STEPS)]
    assert [reward for reward, *_ in steps] == pytest.approx([-0.15] * NUM_STEPS)
    assert {terminated for _, terminated, _, _ in steps} == {False}
    assert [truncated for *_, truncated, _ in steps] == [False] * (NUM_STEPS - 1) + [True]
    assert not steps[0][3]["is_success"]
    assert env.step(UP)[4]["is_success"]


@pytest.mark.parametrize("kwargs", [{"gap": "middle"}, {"width": 2.0}, {"width": 0.0}])
def test_other_barriers_are_refused(kwargs: dict[str, Any]) -> None:
    with pytest.raises(InputError, match="give left or right, and above 0 to below 2"):
        PointMaze(**kwargs)
