from dataclasses import fields

import numpy as np
import pytest
import torch
from gymnasium import spaces

from distil.algorithms.base import Budget
from distil.algorithms.csil import CsilConfig
from distil.heads.config import GaussianConfig
from distil.learners.config import LearnerConfig
from distil.objectives.base import ObjectiveState
from distil.objectives.config import InteractionConfig
from distil.objectives.interaction import Interaction
from distil.objectives.ranks import ALONE
from distil.plans import RoundReport, Spent, StreamPlan
from distil.policies.config import MlpConfig, PolicyConfig
from distil.policies.policy import Policy
from distil.spaces import action_spec, observation_spec
from distil.store.windows import TransitionBatch

BUDGET = Budget(num_demonstrations=5, num_steps=7, num_evaluation_episodes=3, batch_size=8)
SETTINGS = LearnerConfig(learning_rate=1e-2, weight_decay=0.0, grad_clip=None, schedule="constant", warmup_steps=0)


def test_it_is_pretrained_on_demonstrations_alone_then_acts() -> None:
    algorithm = CsilConfig(steps_per_round=50, pretraining_steps=100).build(BUDGET)
    first = algorithm.next_round(None)
    assert first is not None
    assert first.update is not None
    assert first.evaluate is not None
    assert (first.update.num_steps, dict(first.update.streams)) == (100, {"demos": StreamPlan()})
    assert not first.evaluate.held_out
    second = algorithm.next_round(RoundReport(index=0, snapshot=1, policy_version=1, spent=Spent(gradient_steps=100)))
    assert second is not None
    assert second.collect is not None
    assert second.update is not None
    assert (second.collect.agent, second.update.num_steps) == ("policy", 50)
    assert list(second.update.streams) == ["agent", "demos"]


def _make(seed: int = 0) -> Interaction:
    config = PolicyConfig(encoder=MlpConfig(hidden=(16,)), head=GaussianConfig(min_log_std=-2.0))
    policy = Policy(
        config,
        observation_spec(spaces.Box(-np.inf, np.inf, (3,), np.float32)),
        action_spec(spaces.Box(-1, 1, (2,), np.float32)),
        seed=seed,
    )
    policy.fit_normaliser({"obs": np.random.default_rng(0).normal(size=(50, 3)).astype("f4")})
    step = {"kind": "sac", "hidden": (8,), "actor_from": 3}
    parts = InteractionConfig.model_validate({"step": step, "reward": {"kind": "coherent"}})
    objective = parts.build(policy, SETTINGS, ALONE, seed=seed)
    assert isinstance(objective, Interaction)
    return objective


def _batch(seed: int, num: int = 8) -> TransitionBatch:
    rng = np.random.default_rng(seed)
    seen, later = (torch.from_numpy(rng.normal(size=(num, 1, 3)).astype("f4")) for _ in range(2))
    acted = torch.from_numpy(rng.uniform(-0.9, 0.9, (num, 1, 2)).astype("f4"))
    flags = torch.zeros(num, dtype=torch.bool)
    values = {field.name: None for field in fields(TransitionBatch)} | {
        "observations": {"obs": seen},
        "next_observations": {"obs": later},
        "actions": acted,
        "executed": acted,
        "is_pad": flags[:, None],
        "terminated": flags,
        "truncated": flags,
    }
    return TransitionBatch(**values)


def _take(objective: Interaction, steps: range) -> None:
    """Take steps of a pretraining of ten steps, then of learning by interaction."""
    for step in steps:
        if step in (0, 10):
            objective.begin(10)
        if step % 5 == 0:
            objective.reseed(step)
        batches = {"demos": _batch(step)} if step < 10 else {"agent": _batch(1000 + step), "demos": _batch(step)}
        assert set(objective.needs) == set(batches)
        objective.step(batches)


def _policy(objective: Interaction) -> dict[str, torch.Tensor]:
    return {name: value.clone() for name, value in objective.policy.state_dict().items()}


def _differs(one: dict[str, torch.Tensor], other: dict[str, torch.Tensor]) -> bool:
    return any(not torch.equal(value, other[name]) for name, value in one.items())


def test_the_policy_starts_as_the_clone_and_waits_for_the_critics() -> None:
    objective = _make()
    start = _policy(objective)
    _take(objective, range(9))
    assert not _differs(_policy(objective), start)
    _take(objective, range(9, 10))
    clone = _policy(objective)
    assert _differs(clone, start)
    _take(objective, range(10, 13))
    assert not _differs(_policy(objective), clone)
    _take(objective, range(13, 14))
    assert _differs(_policy(objective), clone)


def test_the_clone_is_frozen_after_the_pretraining() -> None:
    objective = _make()
    _take(objective, range(10))
    before = {name: value.clone() for name, value in objective.state_dict().tensors.items() if name.startswith("reward.")}
    _take(objective, range(10, 16))
    after = objective.state_dict().tensors
    moved = {name for name, value in before.items() if not torch.equal(value, after[name])}
    assert moved
    assert all(name.startswith("reward.refinement.") for name in moved)


@pytest.mark.parametrize("stop", [5, 10, 15])
def test_resumed_anywhere_it_ends_with_the_same_policy(stop: int) -> None:
    """Stopped in the pretraining, after it, and while the policy learns."""
    whole, first, second = _make(), _make(), _make(seed=1)
    _take(whole, range(20))
    _take(first, range(stop))
    state = first.state_dict()
    second.load_state_dict(ObjectiveState(tensors={k: v.clone() for k, v in state.tensors.items()}, counters=state.counters))
    _take(second, range(stop, 20))
    expected, found = whole.state_dict().tensors, second.state_dict().tensors
    assert all(torch.equal(value, found[name]) for name, value in expected.items())
