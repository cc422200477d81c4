from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from gymnasium import spaces
from interactionbed import policy_for, transitions_batch

from distil.objectives.transitions import joined, of_batch

BOX = spaces.Box(np.array([-2, 0], np.float32), np.array([2, 10], np.float32))


def test_the_executed_action_counts_and_not_the_label() -> None:
    """Executed actions lead to the next state; a label is what the expert would have done."""
    policy = policy_for(BOX)
    batch = transitions_batch(executed=[[1.0, 7.5], [-1.0, 5.0]], labels=[[0.0, 0.0], [0.0, 0.0]])
    found = of_batch(policy, batch, is_expert=True)
    assert found.actions_BA.tolist() == [[0.5, 0.5], [-0.5, 0.0]]
    assert found.is_expert_B.tolist() == [True, True]


def test_actions_on_or_beyond_the_bounds_have_a_finite_density() -> None:
    policy = policy_for(BOX)
    found = of_batch(policy, transitions_batch(executed=[[2.0, 10.0], [-9.0, 0.0]]), is_expert=False)
    assert found.actions_BA.abs().max() < 1
    assert found.actions_BA.sign().tolist() == [[1, 1], [-1, -1]]
    log_prob = policy.head.log_prob(policy.encoder(found.observations), found.actions_BA[:, None])  # type: ignore[operator]
    assert bool(log_prob.isfinite().all())


def test_choices_count_from_zero() -> None:
    policy = policy_for(spaces.Discrete(3, start=4))
    found = of_batch(policy, transitions_batch(executed=[[4], [6]]), is_expert=False)
    assert found.actions_BA.tolist() == [[0], [2]]
    assert found.actions_BA.dtype == torch.int64


@pytest.mark.parametrize("rewards", [None, [1.5, -2.0]])
def test_rewards_are_there_only_if_they_were_read(rewards: Any) -> None:
    found = of_batch(policy_for(BOX), transitions_batch(executed=[[0, 0], [0, 0]], rewards=rewards), is_expert=False)
    assert (found.rewards_B is None) if rewards is None else (found.rewards_B.tolist() == rewards)  # type: ignore[union-attr]


def test_a_limit_of_time_is_no_end_of_the_task() -> None:
    """CORRECTNESS 1 and 21: a value bootstraps after a truncation."""
    batch = transitions_batch(executed=[[0, 0], [0, 0]], terminated=[True, False], truncated=[False, True])
    assert of_batch(policy_for(BOX), batch, is_expert=False).terminated_B.tolist() == [True, False]


def test_both_kinds_of_transitions_in_one() -> None:
    policy = policy_for(BOX)
    expert = of_batch(policy, transitions_batch(executed=[[0, 5]], terminated=[True]), is_expert=True)
    agent = of_batch(policy, transitions_batch(executed=[[1, 5], [2, 5]], rewards=[1.0, 2.0]), is_expert=False)
    both = joined(expert, agent)
    assert len(both) == 3
    assert both.is_expert_B.tolist() == [True, False, False]
    assert both.terminated_B.tolist() == [True, False, False]
    assert both.actions_BA[:, 0].tolist() == pytest.approx([0.0, 0.5, 0.999])
    for name in ("observations", "next_observations"):
        seen = [getattr(part, name)["obs"] for part in (expert, agent)]
        assert torch.equal(getattr(both, name)["obs"], torch.cat(seen))
    assert both.rewards_B is None  # of one part they were not read
    assert joined(agent, agent).rewards_B is not None
