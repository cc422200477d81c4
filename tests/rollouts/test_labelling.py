import gymnasium as gym
import numpy as np
import pytest

from distil.errors import RunError
from distil.experts.base import Checked, Stateless, every
from distil.rollouts.labelling import Labeller
from distil.rollouts.loop import EpisodeItem, Finished
from distil.spaces import action_spec
from distil.types import Episode, Labels


class Doubling(Stateless):
    """Answers twice what it sees; counts its calls and rows."""

    name = "doubling"

    def __init__(self, spoil=None):
        self.calls, self.spoil = [], spoil

    def act(self, observations, *, envs=None):
        seen = observations["obs"]
        self.calls.append(len(seen))
        actions = 2 * seen
        if self.spoil == "raise":
            raise ConnectionError("no\nanswer")
        if self.spoil == "nan":
            actions[1::3] = np.nan
        mask = every(len(seen))
        if self.spoil == "decline":
            mask[:2] = False
        return Labels(actions=actions, mask=mask)


def episode(length=7):
    return Episode(
        observations={"obs": np.arange(length + 1, dtype=np.float32)[:, None] / 100},
        actions=np.zeros((length, 1), np.float32),
        rewards=np.zeros(length),
        terminated=True,
        truncated=False,
        expert_actions=np.zeros((length, 1), np.float32),
        labelled=np.zeros(length, np.uint8),
        acted_by_expert=np.zeros(length, np.uint8),
        seed=42,
    )


def finished(number=0):
    item = EpisodeItem(index=number, uid=str(number), seed=42 + number)
    return Finished(item=item, total_reward=0.0, length=7, terminated=True, truncated=False, success=None, episode=episode())


def labelled_by(expert):
    labeller = Labeller(expert, "e")
    (whole,) = labeller.put(finished())
    assert not list(labeller.flush())
    return whole.episode


def checked(expert):
    return Checked(expert, action_spec(gym.spaces.Box(-1, 1, (1,), np.float32)))


def test_one_call_labels_each_visited_state_but_the_final_one():
    """CORRECTNESS 12 and 16: the expert's action at the state, T labels from T rows asked."""
    expert = Doubling()
    labelled = labelled_by(checked(expert))
    assert expert.calls == [7]
    np.testing.assert_array_equal(labelled.expert_actions, 2 * labelled.observations["obs"][:-1])
    assert labelled.expert_actions.dtype == np.float32
    assert labelled.labelled.tolist() == [1] * 7
    assert not labelled.acted_by_expert.any()
    assert not labelled.actions.any()  # what was executed stays


@pytest.mark.parametrize(("spoil", "missing"), [("nan", [1, 4]), ("decline", [0, 1])])
def test_steps_without_a_usable_answer_stay_unlabelled(spoil, missing):
    labelled = labelled_by(checked(Doubling(spoil)))
    assert np.flatnonzero(labelled.labelled == 0).tolist() == missing
    assert np.isfinite(labelled.expert_actions).all()
    assert not labelled.expert_actions[missing].any()


def test_an_expert_that_raises_names_itself_and_the_seed():
    with pytest.raises(RunError, match=r"expert doubling raised ConnectionError: no answer \(environment e, .* seed 42\)"):
        labelled_by(checked(Doubling("raise")))
