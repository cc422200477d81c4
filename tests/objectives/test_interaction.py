from __future__ import annotations

import copy
from collections.abc import Mapping
from typing import Any

import numpy as np
import pytest
import torch
from gymnasium import spaces
from interactionbed import policy_for, transitions_batch
from torch import Tensor, nn

from distil.config import validate
from distil.errors import InputError
from distil.learners.config import LearnerConfig
from distil.objectives.config import InteractionConfig
from distil.objectives.interaction import Interaction
from distil.objectives.judge import Judge
from distil.objectives.ranks import ALONE
from distil.objectives.steps import RLStep
from distil.objectives.transitions import AGENT, Transitions
from distil.rewards.base import Rewards
from distil.store.windows import TransitionBatch

BOX, CHOICE = spaces.Box(-1, 1, (2,), np.float32), spaces.Discrete(2)
SMALL = {"hidden": (8,)}
PARTS: dict[str, Any] = {
    "sqil": (CHOICE, {"step": {"kind": "soft_q"}, "reward": {"kind": "constant"}}),
    "iq": (CHOICE, {"step": {"kind": "soft_q", "loss": "iq"}, "reward": {"kind": "constant"}}),
    "dac": (BOX, {"step": {"kind": "sac", **SMALL}, "reward": {"kind": "discriminator", **SMALL}}),
    "ml_irl": (BOX, {"step": {"kind": "sac", "num_critics": 3, **SMALL}, "reward": {"kind": "maxent", **SMALL}}),
}
SETTINGS = LearnerConfig(learning_rate=1e-2, weight_decay=0.0, grad_clip=None, schedule="constant", warmup_steps=0)


def make(name: str, seed: int = 0, **settings: Any) -> Interaction:
    action, parts = PARTS[name]
    changed = SETTINGS.model_copy(update=settings)
    objective = validate(InteractionConfig, parts).build(policy_for(action), changed, ALONE, seed=seed)
    assert isinstance(objective, Interaction)
    objective.begin(100)
    objective.reseed(seed)
    return objective


def batches(name: str, seed: int = 0, num: int = 6, **keys: Any) -> dict[str, TransitionBatch]:
    """A batch of each stream."""
    rng = np.random.default_rng(seed)
    action, _ = PARTS[name]

    def draw(offset: float) -> Any:
        return (
            rng.integers(0, 2, (num, 1)).tolist() if action is CHOICE else (rng.uniform(-0.5, 0.5, (num, 2)) + offset).tolist()
        )

    ended = [True] + [False] * (num - 1)
    own = transitions_batch(draw(0.3), seed=seed, terminated=ended, **keys)
    return {AGENT: own, "demos": transitions_batch(draw(-0.3), seed=seed + 1, terminated=ended, **keys)}


class Recorded(RLStep):
    """Improves nothing, and keeps the rewards that it is given."""

    discount = 0.9

    def __init__(self) -> None:
        self.networks, self.given = nn.Module(), list[tuple[Transitions, Rewards]]()

    def learn(
        self, transitions: Transitions, rewards: Rewards, learning_rate: float, generator: torch.Generator
    ) -> Mapping[str, Tensor]:
        self.given.append((transitions, rewards))
        return {}

    def optimisers(self) -> Mapping[str, Mapping[str, Tensor]]:
        return {}

    def load_optimisers(self, tensors: Mapping[str, Mapping[str, Tensor]]) -> None: ...


def recorded(name: str) -> tuple[Interaction, Recorded]:
    """The objective of `name` with a step that only keeps what it is given."""
    action, parts = PARTS[name]
    policy, step = policy_for(action), Recorded()
    judge = validate(InteractionConfig, parts).reward
    num_action = 2
    reward = judge.build(policy.encoder.features.size, num_action, torch.Generator().manual_seed(0))
    model = Judge(policy, reward, SETTINGS, ALONE, rate=getattr(judge, "rate", 0.0))
    objective = Interaction(policy, step, model, SETTINGS, ALONE)
    objective.begin(100)
    objective.reseed(0)
    return objective, step


@pytest.mark.parametrize("name", PARTS)
def test_the_environments_reward_is_never_read(name: str) -> None:
    """CORRECTNESS 20: it is in neither stream's columns, and if it were NaN in both, nothing would change."""
    objective = make(name)
    assert [windows["rewards"] for windows in objective.needs.values()] == [False, False]
    assert list(objective.needs) == [AGENT, "demos"]
    found = []
    for rewards in (None, [np.nan] * 6):
        objective = make(name)
        for seed in range(3):
            figures = objective.step(batches(name, seed, rewards=rewards))
            assert all(bool(value.isfinite()) for value in figures.values())
        found.append(objective.state_dict().tensors)
    assert all(torch.equal(value, found[1][key]) for key, value in found[0].items())


@pytest.mark.parametrize("name", ["dac", "ml_irl"])
def test_a_replayed_step_counts_as_the_model_sees_it_today(name: str) -> None:
    """CORRECTNESS 20: the same batch twice, and other rewards, since the model has learned in between."""
    objective, step = recorded(name)
    same = batches(name)
    for _ in range(3):
        objective.step(same)
    first, _, third = (rewards for _, rewards in step.given)
    assert not torch.allclose(first.rewards_B, third.rewards_B)
    assert not torch.allclose(first.absorbing_B, third.absorbing_B)
    assert not third.rewards_B.requires_grad


def test_half_of_what_a_step_sees_is_the_experts() -> None:
    objective, step = recorded("sqil")
    objective.step(batches("sqil"))
    transitions, rewards = step.given[0]
    assert transitions.is_expert_B.tolist() == [True] * 6 + [False] * 6
    assert rewards.rewards_B.tolist() == [1.0] * 6 + [0.0] * 6


def test_labels_do_not_matter() -> None:
    """Executed actions only: a label is of a step that nobody took."""
    objective, step = recorded("dac")
    plain = batches("dac")
    others = {name: TransitionBatch(**{**vars(b), "actions": torch.full_like(b.actions, 0.7)}) for name, b in plain.items()}
    objective.step(plain)
    again, step_again = recorded("dac")
    again.step(others)
    assert torch.equal(step.given[0][0].actions_BA, step_again.given[0][0].actions_BA)
    assert torch.equal(step.given[0][1].rewards_B, step_again.given[0][1].rewards_B)


class Source:
    """A stream whose observations have one mean."""

    def __init__(self, mean: float, num_samples: int = 40) -> None:
        self.mean, self.num_samples = mean, num_samples

    def statistics(self, names: Any) -> Any:
        from distil.store.moments import moments_of

        rows = np.random.default_rng(0).normal(self.mean, 1.0, (self.num_samples, 3)).astype("f4")
        return moments_of(dict.fromkeys(names, rows))


def fitted(objective: Interaction) -> float:
    return float(objective.policy.encoder.features.mean.mean())


def test_the_normaliser_is_of_the_demonstrations_and_frozen() -> None:
    """CORRECTNESS 8: what the learner visits does not move it, and neither do later updates."""
    objective = make("dac")
    objective.fit_statistics({AGENT: Source(50.0), "demos": Source(3.0)})  # type: ignore[dict-item]
    assert fitted(objective) == pytest.approx(3.0, abs=0.5)
    before = copy.deepcopy(objective.policy.state_dict())
    objective.fit_statistics({AGENT: Source(50.0, 4000), "demos": Source(9.0, 4000)})  # type: ignore[dict-item]
    after = objective.policy.state_dict()
    assert all(torch.equal(value, after[name]) for name, value in before.items())


@pytest.mark.parametrize("name", PARTS)
@pytest.mark.parametrize("at", [1, 3])
@pytest.mark.parametrize("decay", [None, 0.9])
def test_a_state_continues_bit_for_bit(name: str, at: int, decay: float | None) -> None:
    """CORRECTNESS 11: targets, temperature, reward model, averages and all moments are in it."""
    undisturbed = make(name, ema_decay=decay)
    for seed in range(5):
        undisturbed.step(batches(name, seed))
        if seed == at:
            state = undisturbed.state_dict()
            kept = copy.deepcopy(dict(state.tensors))
            counters = dict(state.counters)
            undisturbed.reseed(7)
    resumed = make(name, seed=1, ema_decay=decay)  # other start weights of everything
    resumed.load_state_dict(type(state)(tensors=kept, counters=counters))
    resumed.reseed(7)
    for seed in range(at + 1, 5):
        resumed.step(batches(name, seed))
    one, two = undisturbed.state_dict(), resumed.state_dict()
    assert one.counters == two.counters
    assert one.tensors.keys() == two.tensors.keys()
    assert all(torch.equal(value, two.tensors[key]) for key, value in one.tensors.items())


def test_the_state_of_another_configuration_names_the_first_tensor_that_does_not_fit() -> None:
    with pytest.raises(ValueError, match=r"adamw\.\S+ is .* there and absent in this configuration"):
        make("sqil").load_state_dict(make("dac").state_dict())


def test_the_policy_to_evaluate_is_a_copy() -> None:
    objective = make("sqil")
    before = objective.evaluation_policy()
    kept = copy.deepcopy(before.state_dict())
    objective.step(batches("sqil"))
    assert all(torch.equal(value, before.state_dict()[name]) for name, value in kept.items())
    changed = objective.evaluation_policy().state_dict()
    assert not all(torch.equal(value, changed[name]) for name, value in kept.items())
    objective.restore_policy(kept)
    assert all(torch.equal(value, objective.policy.state_dict()[name]) for name, value in kept.items())


def test_averaged_weights_are_evaluated_and_act_while_the_last_ones_learn() -> None:
    """CORRECTNESS 26."""
    objective, plain = make("dac", ema_decay=0.9), make("dac")
    for seed in range(20):
        objective.step(batches("dac", seed))
        plain.step(batches("dac", seed))
    last, found = objective.policy.state_dict(), objective.evaluation_policy().state_dict()
    assert all(torch.equal(value, plain.policy.state_dict()[name]) for name, value in last.items())
    moved = [name for name, value in last.items() if not torch.equal(value, found[name])]
    assert moved
    assert not any("mean" in name.split(".")[-1] for name in moved)  # statistics are as they are
    objective.restore_policy(found)
    assert all(torch.equal(value, objective.evaluation_policy().state_dict()[name]) for name, value in found.items())


def test_on_policy_steps_have_no_average() -> None:
    parts = {"step": {"kind": "ppo"}, "reward": {"kind": "discriminator"}}
    with pytest.raises(InputError, match=r"learner\.ema_decay: algorithm\.step\.kind=ppo"):
        validate(InteractionConfig, parts).build(policy_for(BOX), SETTINGS.model_copy(update={"ema_decay": 0.9}), ALONE, seed=0)
