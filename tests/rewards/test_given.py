from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from learnedbed import learned, shown, transitions_of

from distil.errors import RunError
from distil.heads.config import AutoHeadConfig
from distil.learners.config import LearnerConfig
from distil.objectives.judge import Judge
from distil.objectives.ranks import ALONE
from distil.policies.config import MlpConfig, PolicyConfig
from distil.policies.policy import Policy
from distil.rewards.config import MaxEntConfig
from distil.rewards.function import RewardFunction
from distil.rewards.given import GivenReward


class _Own:
    """A policy that standardises observations and scales actions otherwise than the one that the reward was learned with."""

    def __init__(self, kind: str) -> None:
        spec = learned(kind).spec
        settings = PolicyConfig(encoder=MlpConfig(hidden=(8,)), head=AutoHeadConfig(density=True))
        self.policy = Policy(settings, spec.observation, spec.action, seed=5)
        self.policy.fit_normaliser({"obs": np.random.default_rng(1).normal(5, 3, size=(50, 3)).astype("f4")})


@pytest.mark.parametrize("kind", ["airl", "gail", "csil", "iq", "iq-sac"])
def test_the_rewards_of_a_policy_with_other_statistics_are_the_same(tmp_path: Path, kind: str) -> None:
    episode, own = shown(tmp_path, kind), _Own(kind)
    judge = Judge(own.policy, GivenReward(learned(kind), own.policy.actions), LearnerConfig(), ALONE, rate=0.0)
    found = judge.rewards(transitions_of(own, episode))
    expected = RewardFunction(learned(kind)).of_episode(episode)
    np.testing.assert_allclose(found.rewards_B.numpy(), expected, rtol=1e-5, atol=1e-6)
    assert judge.trained == {}
    frozen = judge.frozen()
    assert frozen is not None
    again = frozen.ref(0).arrays
    assert all(np.array_equal(again[name], value, equal_nan=True) for name, value in learned(kind).arrays.items())


@pytest.mark.parametrize(("ends", "is_refused"), [("absorbing", False), ("done", True), ("ignore", True)])
def test_an_end_needs_a_reward_of_what_follows_it(tmp_path: Path, ends: str, is_refused: bool) -> None:
    ref = learned("ml_irl")
    assert isinstance(ref.spec.config, MaxEntConfig)
    ref = replace(ref, spec=replace(ref.spec, config=ref.spec.config.model_copy(update={"ends": ends})))
    episode, own = shown(tmp_path, "ml_irl"), _Own("ml_irl")
    judge = Judge(own.policy, GivenReward(ref, own.policy.actions), LearnerConfig(), ALONE, rate=0.0)
    steps = transitions_of(own, episode)
    alive = judge.rewards(steps)
    ended = torch.zeros(len(steps), dtype=torch.bool)
    ended[-1] = True
    if is_refused:
        with pytest.raises(RunError, match="the task ended in a step of the learner"):
            judge.rewards(replace(steps, terminated_B=ended))
        assert not alive.absorbing_B.any()
    else:
        torch.testing.assert_close(judge.rewards(replace(steps, terminated_B=ended)).rewards_B, alive.rewards_B)
        assert alive.absorbing_B.all()
