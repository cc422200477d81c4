import numpy as np
import pytest

from distil.envs import ImportEnvConfig
from distil.envs.dynamics import Dynamics, dynamics_of, rewards_of
from distil.envs.planning import occupancy, soft_plan

GRID = ImportEnvConfig(target="distil.envs.gridworld:GridWorld", kwargs={"size": 5, "gap": "left"})
DISCOUNT = 0.9


def value_iteration(dynamics: Dynamics, rewards_SA: np.ndarray, temperature: float) -> np.ndarray:
    """Return soft-optimal values by sweeps: another way to the same."""
    values_S = np.zeros(dynamics.num_states)
    for _ in range(400):
        q_SA = rewards_SA + DISCOUNT * dynamics.transitions_SAS @ values_S
        values_S = temperature * np.logaddexp.reduce(q_SA / temperature, axis=-1)
    return values_S


@pytest.mark.parametrize("temperature", [1.0, 0.05])
def test_values_are_those_of_soft_value_iteration(temperature: float) -> None:
    dynamics, rewards_SA = dynamics_of(GRID), rewards_of(GRID)
    plan = soft_plan(dynamics, rewards_SA, discount=DISCOUNT, temperature=temperature)
    np.testing.assert_allclose(plan.values_S, value_iteration(dynamics, rewards_SA, temperature), atol=1e-9)
    np.testing.assert_allclose(plan.probabilities.sum(-1), 1.0)
    q_SA = rewards_SA + DISCOUNT * dynamics.transitions_SAS @ plan.values_S
    np.testing.assert_allclose(temperature * plan.log_policy_SA, q_SA - plan.values_S[:, None], atol=1e-9)


def test_an_ended_task_is_worth_its_reward_for_ever_without_entropy() -> None:
    ahead = np.array([[[0.0, 1.0], [1.0, 0.0]], [[0.0, 1.0], [0.0, 1.0]]])
    dynamics = Dynamics(transitions_SAS=ahead, start_S=np.array([1.0, 0.0]), is_terminal_S=np.array([False, True]))
    plan = soft_plan(dynamics, np.array([[0.0, -1.0], [3.0, 1.0]]), discount=DISCOUNT)
    assert plan.values_S[1] == pytest.approx(2.0 / (1 - DISCOUNT))
    assert plan.probabilities[1].tolist() == pytest.approx([0.5, 0.5])


def test_occupancies_are_discounted_visits() -> None:
    dynamics = dynamics_of(GRID)
    policy_SA = soft_plan(dynamics, rewards_of(GRID), discount=DISCOUNT).probabilities
    visits_S, now_S = np.zeros(25), dynamics.start_S
    for step in range(400):
        visits_S += (1 - DISCOUNT) * DISCOUNT**step * now_S
        now_S = np.einsum("s,sa,sat->t", now_S, policy_SA, dynamics.transitions_SAS)
    np.testing.assert_allclose(occupancy(dynamics, policy_SA, dynamics.start_S, discount=DISCOUNT), visits_S, atol=1e-12)
