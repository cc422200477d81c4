from collections import Counter

import numpy as np
import pytest

from distil.heads.combine import by_kind, mean, medoid, vote


def test_boxes_are_averaged_and_their_deviation_is_the_doubt() -> None:
    modes = np.array([[[[-1.0, 0.25]]], [[[1.0, 0.25]]], [[[0.0, 0.25]]]], np.float32)  # 3 members, A = 2
    action, doubt = mean(modes)
    np.testing.assert_allclose(action, [[[0.0, 0.25]]])
    np.testing.assert_allclose(doubt, [[np.sqrt(2 / 3) / 2]], rtol=1e-6)
    assert (action.dtype, doubt.dtype) == (np.float32, np.float32)
    rng = np.random.default_rng(0)
    modes = rng.uniform(-1, 1, (5, 4, 3, 6)).astype(np.float32)
    np.testing.assert_allclose(mean(modes)[1], modes.std(0).mean(-1), rtol=1e-5)


@pytest.mark.parametrize("size", [2, 3, 5, 6])
def test_choices_are_voted_on_and_ties_go_to_the_lowest(size: int) -> None:
    choices = np.random.default_rng(size).integers(0, 4, (size, 50, 2, 3))
    expected, agreed = np.zeros((50, 2, 3), np.int64), np.zeros((50, 2, 3))
    for place in np.ndindex(50, 2, 3):
        votes = Counter(choices[:, *place].tolist())
        expected[place] = min(votes, key=lambda choice: (-votes[choice], choice))
        agreed[place] = votes[expected[place]] / size
    chosen, doubt = vote(choices)
    np.testing.assert_array_equal(chosen, expected)
    np.testing.assert_allclose(doubt, (1 - agreed).mean(-1), atol=1e-6)
    assert doubt.dtype == np.float32
    assert vote(choices[:1].repeat(size, 0))[1].max() == 0


def test_numbers_are_averaged_and_choices_voted_on() -> None:
    numbers, choices = np.array([1.0, 4.0, 4.0], np.float32), np.array([1, 4, 4])
    assert by_kind(numbers[:, None, None, None])[0] == 3
    assert by_kind(choices[:, None, None, None])[0] == 4


def test_of_several_ways_the_one_of_most_members_is_taken_and_no_mean() -> None:
    """A chunk as a whole: each step of it by the same member."""
    left, right = [[-0.9], [-0.8]], [[0.7], [0.9]]
    points = np.array([[left], [right], [[[0.8], [0.8]]]], np.float32)  # 3 members, 1 environment, 2 steps
    action, doubt = medoid(points)
    assert action.tolist() == points[1].tolist() or action.tolist() == points[2].tolist()
    np.testing.assert_array_equal(doubt, mean(points)[1])
    rows = np.concatenate([points, points[[1, 0, 0]]], 1)  # of the second environment, two went left
    assert medoid(rows)[0][1].tolist() == points[0, 0].tolist()
