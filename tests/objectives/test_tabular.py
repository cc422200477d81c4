from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from distil.config import validate
from distil.envs import GymEnvConfig, describe
from distil.envs.config import ImportEnvConfig
from distil.errors import InputError, RunError
from distil.objectives.config import CausalEntropyConfig
from distil.objectives.optimiser_config import OptimiserConfig
from distil.objectives.ranks import ALONE
from distil.objectives.tabular import TabularIrl
from distil.policies.policy import Policy, PolicyConfig
from distil.rewards.function import RewardFunction
from distil.rewards.ref import load_reward_ref, save_reward
from distil.types import Batch

GRID = ImportEnvConfig(target="distil.envs.gridworld:GridWorld", kwargs={"size": 4, "gap": "left"})
TABLE = {"encoder": {"kind": "mlp", "hidden": []}}
NUMBERS = {"discount": 0.9, "l2": 1e-4, "tolerance": 1e-8, "max_steps": 100}


def make(
    env: GymEnvConfig | ImportEnvConfig | None = GRID, policy: dict[str, Any] | None = None, **settings: Any
) -> TabularIrl:
    config = validate(CausalEntropyConfig, NUMBERS | settings).model_copy(update={"env": env})
    spec = describe(env or GRID)
    made = Policy(validate(PolicyConfig, TABLE if policy is None else policy), spec.observation, spec.action)
    objective = config.build(made, OptimiserConfig(), ALONE)
    assert isinstance(objective, TabularIrl)
    return objective


class Counted:
    """Steps of one episode, in two blocks."""

    def __init__(self, states: list[int], actions: list[int], weights: list[float] | None = None) -> None:
        self.steps = states, actions, weights

    def scan(self, batch_size: int) -> Iterator[Batch]:
        states, actions, weights = self.steps
        for part in (slice(0, 2), slice(2, None)):
            shown = np.array(states[part])[:, None]
            yield Batch(
                observations={"obs": shown},
                actions=np.array(actions[part])[:, None],
                is_pad=np.zeros((len(shown), 1), np.bool_),
                weights=None if weights is None else np.array(weights[part]),
            )


WALK = Counted([1, 0, 4, 8, 12, 13, 14, 14], [0, 1, 1, 1, 2, 2, 4, 4])


def fitted(objective: TabularIrl, source: Any = WALK) -> dict[str, float]:
    objective.prepare({"demos": source})
    return {name: float(value) for name, value in objective.step({}).items()}


@pytest.mark.parametrize("sees", ["state", "state_action"])
def test_the_reward_that_is_kept_is_the_table(tmp_path: Path, sees: str) -> None:
    objective = make(reward={"kind": "tabular", "sees": sees})
    fitted(objective)
    ref = objective.evaluation_reward().ref(1)
    save_reward(ref, tmp_path)
    found = RewardFunction(load_reward_ref(tmp_path))
    states_B, actions_B = np.arange(16).repeat(5), np.tile(np.arange(5), 16)
    table = objective.reward.table.numpy() * np.ones((1, 5))
    np.testing.assert_allclose(found.rewards(states_B, actions_B), table.ravel(), rtol=1e-6, atol=1e-7)
    assert (found.nature, found.sees, found.absorbing) == ("reward", sees, None)
    assert table.std() > 0


def test_the_policy_acts_as_the_fitted_table_says() -> None:
    objective = make()
    figures = fitted(objective)
    assert figures["gradient"] <= 1e-8
    states = torch.tensor([[1], [0], [4], [8], [12], [13], [14]])
    found = objective.evaluation_policy().plan({"obs": states}, None)
    assert found.flatten().tolist() == [0, 1, 1, 1, 2, 2, 4]
    batch = next(WALK.scan(8))
    shown = Batch(
        observations={"obs": torch.tensor(batch.observations["obs"])},
        actions=torch.tensor(batch.actions),
        is_pad=torch.zeros(2, 1, dtype=torch.bool),
        weights=None,
    )
    with torch.no_grad():
        loss_B = objective.validate(objective.evaluation_policy(), shown, torch.Generator())
    assert loss_B.shape == (2,)
    assert float(loss_B.max()) < 1.0


def test_a_step_with_twice_the_weight_counts_as_two() -> None:
    """CORRECTNESS 29."""
    states, actions, _ = WALK.steps
    doubled, weighted = make(), make()
    fitted(doubled, Counted([*states, states[3]], [*actions, actions[3]]))
    fitted(weighted, Counted(states, actions, [2.0 if place == 3 else 1.0 for place in range(len(states))]))
    np.testing.assert_allclose(doubled.reward.table, weighted.reward.table, atol=1e-12)


def test_a_state_continues_where_it_was() -> None:
    first, second = make(), make()
    fitted(first)
    second.load_state_dict(first.state_dict())
    assert all(torch.equal(value, second.state_dict().tensors[name]) for name, value in first.state_dict().tensors.items())
    with pytest.raises(ValueError, match=r"reward.table is \(16, 1\) there and \(16, 5\) in this configuration"):
        make(reward={"sees": "state_action"}).load_state_dict(first.state_dict())


def test_what_has_not_converged_is_no_result() -> None:
    with pytest.raises(
        RunError, match=r"after 1 steps its gradient is .*, above algorithm.tolerance=1e-08; raise algorithm.l2"
    ):
        fitted(make(max_steps=1))


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"env": GymEnvConfig(id="CartPole-v1")}, "environment CartPole-v1: its spaces are Box"),
        ({"env": GymEnvConfig(id="Blackjack-v1"), "policy": {}}, "environment Blackjack-v1: its spaces are Tuple"),
        ({"env": None}, "set env.id, such as FrozenLake-v1"),
        ({"policy": {}}, "the policy is a table of states and actions: leave policy.encoder"),
        (
            {"env": ImportEnvConfig(target=GRID.target, kwargs={"size": 26}), "reward": {"sees": "state_action"}},
            "a table of 3380 numbers is too large",
        ),
    ],
)
def test_what_is_no_table_is_refused_by_name(given: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError, match=message):
        make(**given)
