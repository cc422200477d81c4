import gymnasium as gym
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from distil.envs import EnvSpec
from distil.rollouts.agents import Acted
from distil.rollouts.recorder import Recorder
from distil.spaces import action_spec, observation_spec

SPEC = EnvSpec(
    name="e",
    observation=observation_spec(gym.spaces.Dict(a=gym.spaces.Box(-9, 9, (2,), np.float32), b=gym.spaces.Discrete(99999))),
    action=action_spec(gym.spaces.Discrete(99999)),
    max_episode_steps=None,
    reward_threshold=None,
)


@given(st.lists(st.lists(st.integers(1, 150), min_size=1, max_size=3), min_size=1, max_size=4))
@settings(max_examples=25)
def test_columns_are_what_was_written(lengths):
    """Slot i runs the episodes of lengths[i] one after another; every value names its slot and step."""
    num = len(lengths)
    recorder, queues = Recorder(SPEC, num), [list(some) for some in lengths]
    left, began, found, expected = [0] * num, [0] * num, [], []
    for t in range(sum(map(sum, lengths)) + 1):
        for slot in range(num):
            if not left[slot] and queues[slot]:
                left[slot], began[slot] = queues[slot].pop(0), t
                recorder.start([slot])
        code = np.arange(num) + 10 * t
        obs = {"obs/a": np.stack([code, -code], axis=1).astype(np.float32), "obs/b": code}
        labelled = code % 3 == 0
        acted = Acted(actions=code + 1, expert_actions=code + 2, labelled=labelled, acted_by_expert=code % 2 == 0)
        recorder.add(obs, acted, code / 2)
        ended = [slot for slot in range(num) if left[slot] == 1]
        left = [max(0, steps - 1) for steps in left]
        recorder.finish(ended, {"obs/a": -np.ones((num, 2), np.float32), "obs/b": -code})
        expected += [(slot, began[slot], t) for slot in ended]
        if recorder.is_full or t % 50 == 49:
            found += recorder.take()
            assert not recorder.is_full
    found += recorder.take()
    assert len(found) == len(expected) == sum(map(len, lengths))
    for columns, which in zip(found, expected, strict=True):
        check(columns, *which)
    assert recorder.take() == []


def check(columns, slot, began, ended):
    code = slot + 10 * np.arange(began, ended + 1)
    np.testing.assert_array_equal(columns["obs/b"], [*code, -code[-1]])
    np.testing.assert_array_equal(columns["obs/a"][:, 0], [*code, -1])
    np.testing.assert_array_equal(columns["action"], code + 1)
    np.testing.assert_array_equal(columns["labelled"], code % 3 == 0)
    np.testing.assert_array_equal(columns["expert_action"], np.where(code % 3 == 0, code + 2, 0))
    np.testing.assert_array_equal(columns["acted_by_expert"], code % 2 == 0)
    np.testing.assert_array_equal(columns["reward"], code / 2)
    assert {name: str(c.dtype) for name, c in columns.items()} == {
        "obs/a": "float32",
        "obs/b": "int64",
        "action": "int64",
        "expert_action": "int64",
        "labelled": "uint8",
        "acted_by_expert": "uint8",
        "reward": "float64",
    }


def test_episodes_that_end_together_are_copied_together():
    """One copy a column, however many episodes there are: short ones would cost more than their steps."""
    recorder = Recorder(SPEC, 4)
    recorder.start(range(4))
    obs = {"obs/a": np.zeros((4, 2), np.float32), "obs/b": np.arange(4)}
    recorder.add(obs, Acted(actions=np.arange(4), acted_by_expert=np.zeros(4, np.bool_)), np.zeros(4))
    recorder.finish([0, 2, 3], obs)
    episodes = recorder.take()
    for name, values in episodes[0].items():
        assert all(other[name].base is values.base for other in episodes)
    recorder.add(obs, Acted(actions=np.arange(4) + 7, acted_by_expert=np.zeros(4, np.bool_)), np.zeros(4))
    recorder.finish([1], obs)
    assert [episode["action"].tolist() for episode in [*episodes, *recorder.take()]] == [[0], [2], [3], [1, 8]]


class Interrupted(dict):
    """Last observations; Ctrl-C comes between the first column and the second."""

    def __getitem__(self, name):
        if name == "obs/b":
            raise KeyboardInterrupt
        return super().__getitem__(name)


def test_an_interrupt_while_an_episode_ends_leaves_those_before():
    recorder = Recorder(SPEC, 2)
    recorder.start(range(2))
    obs = {"obs/a": np.full((2, 2), 5, np.float32), "obs/b": np.arange(2)}
    acted = Acted(actions=np.arange(2), acted_by_expert=np.zeros(2, np.bool_))
    recorder.add(obs, acted, np.zeros(2))
    recorder.finish([0], obs)
    recorder.add(obs, acted, np.zeros(2))
    with pytest.raises(KeyboardInterrupt):
        recorder.finish([1], Interrupted(obs))
    (columns,) = recorder.take()
    assert columns["obs/a"].tolist() == [[5, 5], [5, 5]]
    assert columns["obs/b"].tolist() == [0, 0]


def test_without_an_expert_nothing_is_labelled():
    recorder = Recorder(SPEC, 1)
    recorder.start([0])
    obs = {"obs/a": np.zeros((1, 2), np.float32), "obs/b": np.zeros(1, np.int64)}
    recorder.add(obs, Acted(actions=np.array([7]), acted_by_expert=np.array([False])), np.zeros(1))
    recorder.finish([0], obs)
    (columns,) = recorder.take()
    assert columns["labelled"].tolist() == columns["expert_action"].tolist() == [0]
    assert columns["action"].tolist() == [7]
