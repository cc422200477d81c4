import numpy as np
import pytest

from distil.policies.noise import slot_noise


@pytest.mark.parametrize("kind", ["normal", "uniform"])
def test_a_stream_depends_on_its_seed_only(kind: str) -> None:
    noise = slot_noise(3, 2, kind)
    for slot, seed in enumerate((7, 8, 7)):
        noise.begin(slot, seed)
    drawn = np.stack([noise.take() for _ in range(300)])  # more than two blocks
    np.testing.assert_array_equal(drawn[:, 0], drawn[:, 2])
    assert not np.array_equal(drawn[:, 0], drawn[:, 1])
    assert len(np.unique(drawn[:, 0])) > 500
    late = slot_noise(1, 2, kind)
    for _ in range(50):
        late.take()
    late.begin(0, 7)
    np.testing.assert_array_equal(np.stack([late.take() for _ in range(300)])[:, 0], drawn[:, 0])


def test_only_the_given_streams_move_on() -> None:
    noise = slot_noise(2, 1, "normal")
    first = noise.take(np.array([True, False]))
    second = noise.take(np.array([True, False]))
    assert first[0] != second[0]
    assert first[1] == second[1]


@pytest.mark.parametrize(("kind", "mean", "std"), [("normal", 0, 1), ("uniform", 0.5, 12**-0.5)])
def test_moments(kind: str, mean: float, std: float) -> None:
    noise = slot_noise(4, 5000, kind)  # a block of one step
    drawn = np.stack([noise.take() for _ in range(5)])
    np.testing.assert_allclose([drawn.mean(), drawn.std()], [mean, std], atol=0.02)
