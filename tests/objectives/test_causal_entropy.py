"""Legend: S states, A actions."""

from __future__ import annotations

import numpy as np
import pytest

from distil.envs import GymEnvConfig, ImportEnvConfig
from distil.envs.dynamics import Dynamics, dynamics_of, rewards_of
from distil.envs.planning import SoftPlan, occupancy, soft_plan
from distil.objectives.causal_entropy import CausalEntropy, Sees
from distil.types import Array

DISCOUNT = 0.9


def grid(**kwargs: object) -> ImportEnvConfig:
    return ImportEnvConfig(target="distil.envs.gridworld:GridWorld", kwargs={"size": 6, **kwargs})  # type: ignore[arg-type]


def expert_of(env: GymEnvConfig | ImportEnvConfig) -> tuple[Dynamics, SoftPlan, Array]:
    """Return the dynamics, the soft-optimal policy of the true reward, and its exact visits [S, A]."""
    dynamics = dynamics_of(env)
    expert = soft_plan(dynamics, rewards_of(env), discount=DISCOUNT, temperature=0.3)
    visits_S = occupancy(dynamics, expert.probabilities, dynamics.start_S, discount=DISCOUNT)
    return dynamics, expert, visits_S[:, None] * expert.probabilities


def problem(dynamics: Dynamics, visits_SA: Array, sees: Sees = "state", l2: float = 1e-12) -> CausalEntropy:
    return CausalEntropy(dynamics=dynamics, visits_SA=visits_SA, sees=sees, discount=DISCOUNT, l2=l2)


def test_the_soft_optimal_policy_of_fifty_random_grids_is_recovered() -> None:
    """CORRECTNESS 23: from exact visits, on every state that the expert can be in; and the visits from the start match."""
    for seed in range(50):
        dynamics, expert, visits_SA = expert_of(grid(layout_seed=seed))
        found = problem(dynamics, visits_SA).fit(tolerance=1e-12, max_steps=50)
        assert found.gradient <= 1e-12
        seen_S = visits_SA.sum(-1) > 1e-9
        assert seen_S.sum() > 10
        np.testing.assert_allclose(found.plan.probabilities[seen_S], expert.probabilities[seen_S], atol=1e-4)
        visits_S = occupancy(dynamics, found.plan.probabilities, dynamics.start_S, discount=DISCOUNT)
        np.testing.assert_allclose(visits_S, visits_SA.sum(-1), atol=1e-8)
        assert found.occupancy_gap < 1e-8


def test_a_reward_of_the_state_is_highest_at_the_goal() -> None:
    dynamics, _, visits_SA = expert_of(grid())
    found = problem(dynamics, visits_SA, l2=1e-4).fit(tolerance=1e-9, max_steps=50)
    assert found.table.argmax() == 33
    assert found.table.shape == (36,)


def test_of_states_and_actions_the_visits_match_too() -> None:
    dynamics, expert, visits_SA = expert_of(grid(layout_seed=1))
    found = problem(dynamics, visits_SA, "state_action").fit(tolerance=1e-12, max_steps=50)
    assert found.table.shape == (36, 5)
    assert found.occupancy_gap < 1e-8
    seen_S = visits_SA.sum(-1) > 1e-6
    np.testing.assert_allclose(found.plan.probabilities[seen_S], expert.probabilities[seen_S], atol=1e-4)


@pytest.mark.parametrize("waits", [False, True])
def test_where_the_task_ends_the_policy_is_recovered_too(waits: bool) -> None:
    """FrozenLake's holes and its goal: each has a reward of its own, for ever; none is a choice.

    Demonstrations end there, or wait there for their limit of time, which shows nothing more.
    """
    dynamics, expert, visits_SA = expert_of(GymEnvConfig(id="FrozenLake-v1"))
    visits_SA[dynamics.is_terminal_S] *= [[1.0, 0.0, 0.0, 0.0]] if waits else 0.0
    found = problem(dynamics, visits_SA / visits_SA.sum()).fit(tolerance=1e-12, max_steps=100)
    alive_S = visits_SA.sum(-1) > 1e-9
    np.testing.assert_allclose(found.plan.probabilities[alive_S], expert.probabilities[alive_S], atol=1e-4)
    assert found.table[15] > found.table[[5, 7, 11, 12]].max()


@pytest.mark.parametrize("sees", ["state", "state_action"])
def test_the_gradient_is_that_of_the_likelihood(sees: Sees) -> None:
    """Numerically, at a table that is far from the maximum, with demonstrations that no policy would make.

    They also act where the task has ended.
    """
    rng = np.random.default_rng(0)
    visits_SA = rng.random((16, 4))
    given = problem(dynamics_of(GymEnvConfig(id="FrozenLake-v1")), visits_SA / visits_SA.sum(), sees, l2=0.1)
    table_D = rng.normal(size=16 if sees == "state" else 64)
    gradient_D, _ = given._slope(table_D, given._loss(table_D, None)[0])
    for number in range(0, len(table_D), 5):
        shift_D = 1e-5 * np.eye(len(table_D))[number]
        after, before = (given._loss(table_D + sign * shift_D, None)[1] for sign in (1, -1))
        assert gradient_D[number] == pytest.approx((after - before) / 2e-5, abs=1e-7)


def test_few_demonstrations_settle_and_what_was_never_near_has_no_reward() -> None:
    dynamics, _, visits_SA = expert_of(grid(layout_seed=2))
    rng = np.random.default_rng(0)
    counts_SA = rng.multinomial(100, visits_SA.ravel()).reshape(visits_SA.shape)
    found = problem(dynamics, counts_SA / 100, l2=1e-4).fit(tolerance=1e-8, max_steps=500)
    assert found.gradient <= 1e-8
    wall_S = np.isclose(np.einsum("sas->sa", dynamics.transitions_SAS), 1).all(-1)
    np.testing.assert_allclose(found.table[wall_S], 0.0, atol=1e-9)
    assert found.occupancy_gap < 0.2
