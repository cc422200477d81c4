from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from learnedbed import KINDS, learned, own_rewards, rank_of, shown

from distil.errors import InputError
from distil.rewards.function import RewardFunction
from distil.rewards.ref import load_reward_ref, save_reward


@pytest.mark.parametrize("kind", KINDS)
def test_a_saved_and_loaded_reward_is_the_learners_own(tmp_path: Path, kind: str) -> None:
    rank, episode = rank_of(tmp_path, kind), shown(tmp_path, kind)
    ref = rank.reward
    assert ref is not None
    assert ref.version == rank.policy.version
    save_reward(ref, tmp_path / "reward")
    function = RewardFunction(load_reward_ref(tmp_path / "reward"))
    expected = own_rewards(rank._objective, episode)
    np.testing.assert_allclose(function.of_episode(episode), expected.rewards_B.numpy(), rtol=1e-6, atol=1e-6)
    if function.absorbing is None:
        assert kind.startswith("iq")
    else:
        np.testing.assert_allclose(function.absorbing, float(expected.absorbing_B[0]), rtol=1e-6)
    assert expected.rewards_B.std() > 1e-4


@pytest.mark.parametrize("kind", KINDS)
def test_how_an_episode_ends_says_nothing(tmp_path: Path, kind: str) -> None:
    """CORRECTNESS 19: no done at test time."""
    function, episode = RewardFunction(learned(kind)), shown(tmp_path, kind)
    cut = replace(episode, terminated=not episode.terminated, truncated=not episode.truncated)
    np.testing.assert_array_equal(function.of_episode(episode), function.of_episode(cut))


@pytest.mark.parametrize("kind", KINDS)
def test_after_the_end_of_a_task_the_absorbing_state_pays_for_ever(tmp_path: Path, kind: str) -> None:
    function, episode = RewardFunction(learned(kind)), shown(tmp_path, kind)
    cut = replace(episode, terminated=False, truncated=True)
    expected = sum(float(reward) * 0.9**step for step, reward in enumerate(function.of_episode(episode)))
    np.testing.assert_allclose(function.discounted(cut, 0.9), expected, rtol=1e-5)
    after = 0.9**episode.length * function.absorbing / 0.1 if function.absorbing is not None else 0.0
    assert episode.terminated
    np.testing.assert_allclose(function.discounted(episode, 0.9), expected + after, rtol=1e-5)


def test_what_the_environment_shows_besides_is_left_out(tmp_path: Path) -> None:
    function, episode = RewardFunction(learned("dac")), shown(tmp_path, "dac")
    more = {**episode.observations, "camera": np.zeros((episode.length + 1, 2))}
    np.testing.assert_array_equal(function.of_episode(replace(episode, observations=more)), function.of_episode(episode))
    before = episode.observations["obs"][:-1]
    np.testing.assert_array_equal(function.rewards(before, episode.actions), function.of_episode(episode))


def test_it_says_what_kind_of_reward_it_is() -> None:
    kinds = {kind: (found.nature, found.sees) for kind in KINDS if (found := RewardFunction(learned(kind)))}
    assert kinds == {
        "dac": ("relative", "state_action"),
        "gail": ("relative", "state_action"),
        "airl": ("reward", "state_action"),
        "ml_irl": ("reward", "state_action"),
        "csil": ("implied", "state_action"),
        "iq": ("implied", "transition"),
        "iq-sac": ("implied", "transition"),
    }
    assert "dynamics" in RewardFunction(learned("iq")).about


@pytest.mark.parametrize(
    ("kind", "shapes", "fault"),
    [
        ("dac", ((5, 3), None, None), "sees the state_action: give the actions"),
        ("dac", ((5, 4), (5, 2), None), r"obs has the shape \(5, 4\), the reward takes \('N', 3\)"),
        ("dac", ((5, 3), (4, 2), None), r"action has the shape \(4, 2\)"),
        ("iq", ((5, 3), (5,), None), "sees the transition: give the next observations"),
        ("iq", ((5, 3), (5,), (4, 3)), r"next obs has the shape \(4, 3\)"),
    ],
)
def test_what_it_is_not_given_is_named(kind: str, shapes: tuple, fault: str) -> None:
    given = [None if shape is None else np.zeros(shape, np.float32) for shape in shapes]
    with pytest.raises(InputError, match=fault):
        RewardFunction(learned(kind)).rewards(*given)


def test_long_episodes_are_taken_in_parts(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    function, episode = RewardFunction(learned("iq")), shown(tmp_path, "iq")
    whole = function.of_episode(episode)
    monkeypatch.setattr("distil.rewards.function._BLOCK", 7)
    np.testing.assert_allclose(function.of_episode(episode), whole, rtol=1e-6, atol=1e-6)
