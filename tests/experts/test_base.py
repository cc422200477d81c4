import numpy as np
import pytest
from gymnasium import spaces

from distil.errors import InputError, RunError
from distil.experts.base import Checked, Stateless, act, check_spaces, every, label
from distil.spaces import action_spec, observation_spec
from distil.types import Labels

BOX = action_spec(spaces.Box(np.array([-1, 0], np.float32), np.array([1, 5], np.float32)))
FOUR = action_spec(spaces.Discrete(4, start=1))
OBS = {"obs": np.zeros((3, 2), np.float32)}


class Fixed(Stateless):
    name = "fixed"

    def __init__(self, actions, mask=None):
        self.actions, self.mask = np.asarray(actions), mask

    def act(self, observations, *, envs=None):
        return Labels(actions=self.actions, mask=every(3) if self.mask is None else self.mask)


def test_clips_and_casts_to_the_action_space():
    actions = Checked(Fixed([[-3.0, 6.0]] * 3), BOX).act(OBS).actions
    assert actions.dtype == np.float32
    np.testing.assert_array_equal(actions, [[-1, 5]] * 3)


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_a_non_finite_action_names_the_expert_and_the_row(value):
    with pytest.raises(
        RunError, match=r"expert fixed: returned \[0.0, (nan|inf)\] in row 2, expected finite numbers for Box\(2\)"
    ):
        Checked(Fixed([[0, 0], [0, 0], [0, value]]), BOX).act(OBS)


def test_wrong_shape_names_both():
    with pytest.raises(
        RunError, match=r"expert fixed: returned actions of shape \(3,\), expected \(3, 2\) for Box\(2\) float32"
    ):
        Checked(Fixed([0.0, 0, 0]), BOX).act(OBS)


def test_wrong_types():
    with pytest.raises(RunError, match="returned actions of dtype <U1, expected integers for Discrete"):
        Checked(Fixed(["a", "b", "c"]), FOUR).act(OBS)
    with pytest.raises(RunError, match="returned actions of dtype <U1, expected numbers"):
        Checked(Fixed([["a", "b"]] * 3), BOX).act(OBS)
    with pytest.raises(RunError, match=r"returned a mask of shape \(2,\) bool"):
        Checked(Fixed([[0.0, 0]] * 3, mask=every(2)), BOX).act(OBS)


def test_choices_start_at_the_start_of_the_space():
    np.testing.assert_array_equal(Checked(Fixed([1, 2, 4]), FOUR).act(OBS).actions, [1, 2, 4])
    with pytest.raises(RunError, match=r"returned 0 in row 0, expected 1 to 4"):
        Checked(Fixed([0, 1, 2]), FOUR).act(OBS)


def test_masked_actions_may_be_anything():
    mask = np.array([True, False, True])
    labels = Checked(Fixed([[0.5, 1], [np.nan, 1], [0, 0]], mask), BOX).act(OBS)
    np.testing.assert_array_equal(labels.actions, [[0.5, 1], [0, 0], [0, 0]])
    np.testing.assert_array_equal(Checked(Fixed([1, 99, 4], mask), FOUR).act(OBS).actions, [1, 4, 4])


def test_spaces_that_do_not_fit_are_both_named():
    vector = observation_spec(spaces.Box(-1, 1, (8,), np.float32))
    wide = observation_spec(spaces.Box(-9, 9, (8,), np.float64))
    check_spaces("x", (vector, BOX), (wide, BOX))
    with pytest.raises(InputError, match=r"expert x: made for actions Box\(2\) float32; the environment has Discrete\(4\)"):
        check_spaces("x", (vector, BOX), (vector, FOUR))


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_an_invalid_action_is_masked_out_as_a_label(value):
    labels = label(Checked(Fixed([[0, 0], [9, value], [9, 1]]), BOX), OBS)
    assert labels.mask.tolist() == [True, False, True]
    np.testing.assert_array_equal(labels.actions, [[0, 0], [0, 0], [1, 1]])
    choices = label(Checked(Fixed([0, 1, 5]), FOUR), OBS)
    assert choices.mask.tolist() == [False, True, False]
    assert choices.actions[1] == 1
    with pytest.raises(RunError, match="expected integers"):
        label(Checked(Fixed([1.0, 1.5, 1.0]), FOUR), OBS)


WHOLE = [  # space, answers, what they become
    (spaces.Box(0, 9, (1,), np.int64), [[2.9], [-1.0], [9.6]], [[3], [0], [9]]),
    (spaces.Box(-9, 9, (1,), np.int8), [[-2.9], [2.2], [300.0]], [[-3], [2], [9]]),
    (spaces.Box(0, 255, (1,), np.uint8), [[254.6], [0.4], [1e20]], [[255], [0], [255]]),
    (
        spaces.Box(np.iinfo(np.int64).min, np.iinfo(np.int64).max, (1,), np.int64),
        [[1e30], [-1e30], [7.0]],
        [[2**63 - 1], [-(2**63)], [7]],
    ),
    (spaces.Discrete(4, start=1), [1.0, 3.9999999, 2.0], [1, 4, 2]),
    (spaces.MultiDiscrete([3, 3]), [[0.0, 2.0], [1.0, 1.0], [2.0, 0.0]], [[0, 2], [1, 1], [2, 0]]),
    (spaces.MultiBinary(2), [[0.0, 1.0], [1.0, 1.0], [0.0, 0.0]], [[0, 1], [1, 1], [0, 0]]),
    (spaces.MultiBinary(2), [[False, True], [True, True], [False, False]], [[0, 1], [1, 1], [0, 0]]),
]


@pytest.mark.parametrize(("space", "answers", "wanted"), WHOLE, ids=lambda value: str(value)[:40])
def test_numbers_are_never_truncated(space, answers, wanted):
    checked = Checked(Fixed(answers), action_spec(space))
    for labels in (checked.act(OBS), checked.label(OBS)):
        assert labels.actions.tolist() == wanted
        assert labels.actions.dtype == space.dtype
        assert labels.mask.all()


@pytest.mark.parametrize("space", [spaces.Discrete(5), spaces.MultiDiscrete([5]), spaces.MultiBinary(1)], ids=str)
def test_a_choice_with_a_fraction_is_refused(space):
    answers = np.array([0.0, 0.9, 1.0]).reshape(3, *space.shape)
    for ask in ("act", "label"):
        with pytest.raises(RunError, match=r"returned (\[)?0.9\]? in row 1, expected integers"):
            getattr(Checked(Fixed(answers), action_spec(space)), ask)(OBS)
    assert Checked(Fixed(answers, np.array([True, False, True])), action_spec(space)).act(OBS).mask.sum() == 2


@pytest.mark.parametrize("space", [spaces.Discrete(5), spaces.Box(0, 5, (), np.int64)], ids=str)
def test_nan_is_not_a_label_of_an_integer_space(space):
    checked = Checked(Fixed([np.nan, 1.0, np.inf]), action_spec(space))
    labels = checked.label(OBS)
    assert labels.mask.tolist() == [False, True, False]
    assert labels.actions[1] == 1
    with pytest.raises(RunError, match="nan in row 0"):
        checked.act(OBS)


class Seen:
    """Returns its row's observation, and records its input."""

    name, needs_env = "seen", True

    def __init__(self, by_row):
        self.by_row, self.stateful = by_row, not by_row

    def begin(self, slot, seed):
        pass

    def act(self, observations, *, envs=None):
        self.rows, self.envs = observations["obs"][:, 0].tolist(), envs
        return Labels(actions=observations["obs"].copy(), mask=observations["obs"][:, 0] != 3)


@pytest.mark.parametrize(
    ("by_row", "live", "wanted", "rows"),
    [
        (True, [1, 1, 1, 1], None, [0, 1, 2, 3]),
        (True, [0, 1, 0, 1], None, [1, 3]),
        (True, [0, 1, 0, 1], [1, 1, 1, 0], [1]),
        (True, None, [0, 0, 1, 0], [2]),
        (False, [0, 1, 0, 1], None, [1, 1, 1, 3]),
        (False, [1, 1, 0, 1], [0, 1, 1, 0], [0, 1, 0, 3]),
    ],
)
def test_only_live_rows_are_asked(by_row, live, wanted, rows):
    """CORRECTNESS 39: idle rows are never passed; an expert whose rows are slots gets copies of a live row instead."""
    expert, obs = Seen(by_row), {"obs": np.repeat(np.arange(4.0), 2).reshape(4, 2)}
    live, wanted = (None if rows is None else np.array(rows, bool) for rows in (live, wanted))
    labels = label(expert, obs, envs="abcd", live=live, rows=wanted)
    assert expert.rows == rows
    assert list(expert.envs) == ["abcd"[int(row)] for row in rows]
    assert labels.actions.shape == (4, 2)
    expected = np.array([True, True, True, False])  # it has no answer to the last
    expected &= True if live is None else live
    expected &= True if wanted is None else wanted
    assert labels.mask.tolist() == expected.tolist()
    np.testing.assert_array_equal(labels.actions[expected], obs["obs"][expected])
    if wanted is None:
        acted = act(expert, obs, envs="abcd", live=live)
        assert (expert.rows, acted.mask.tolist()) == (rows, expected.tolist())
