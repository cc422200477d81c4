import numpy as np
import pytest
from gatebed import episode, policy, snapshot
from testbed import CountingExpert, PeekingExpert

from distil.experts.gates.coin import CoinPlan
from distil.experts.gates.config import EnsembleGateConfig
from distil.plans import CollectPlan
from distil.rollouts.gating import expert_acts, gate_of
from distil.seeding import Purpose, episode_seeds


class Observer(CountingExpert):
    """Needs observations only."""

    stateful = needs_env = False


@pytest.mark.parametrize(
    ("changes", "expert", "expected"),
    [
        ({"agent": "expert", "beta": 0.5, "beta_unit": "step"}, Observer, None),
        ({"beta": 0.5, "label": True}, Observer, None),  # drawn for whole episodes
        ({"beta": 0.5, "beta_unit": "step", "label": True}, Observer, CoinPlan(beta=0.5)),
        ({"beta": 1.0, "beta_unit": "step", "label": True}, Observer, None),
        ({"label": True}, Observer, None),  # complete episodes are labelled
        ({"label": True}, PeekingExpert, CoinPlan(beta=0.0)),  # has to be asked at each step
        ({"label": True}, CountingExpert, CoinPlan(beta=0.0)),
        ({}, CountingExpert, None),
    ],
)
def test_without_a_gate_the_plan_and_the_expert_decide(changes, expert, expected):
    plan = CollectPlan(**({"num_episodes": 1, "agent": "policy"} | changes))
    assert gate_of(plan, policy(), None, 1, [expert()]) == expected


def test_a_plans_gate_is_fitted_to_the_runs_data(tmp_path):
    plan = CollectPlan(num_episodes=1, agent="policy", gate=EnsembleGateConfig(doubt=0.3))
    gate = gate_of(plan, policy(ensemble=2), snapshot(tmp_path / "s", episode(0, 3)), 1, [])
    assert [signal.threshold for signal in gate.enter] == [0.3]


def test_the_expert_acts_in_a_fraction_beta_of_the_episodes():
    """The draw belongs to an episode's seed: the same for every plan, so a larger beta adds episodes."""
    seeds = episode_seeds(Purpose.COLLECT, 400, root=1, names=(1,))
    chosen = {
        beta: {seed for seed in seeds if expert_acts(CollectPlan(num_episodes=400, agent="policy", beta=beta), seed)}
        for beta in (0.0, 0.3, 0.6, 1.0)
    }
    assert chosen[0.0] == set()
    assert chosen[1.0] == set(seeds)
    assert chosen[0.3] < chosen[0.6]
    assert abs(len(chosen[0.3]) / 400 - 0.3) < 4 * np.sqrt(0.3 * 0.7 / 400)


@pytest.mark.parametrize("changes", [{"beta_unit": "step"}, {"gate": EnsembleGateConfig()}])
def test_no_whole_episode_is_the_experts_where_steps_are_decided(changes):
    plan = CollectPlan(num_episodes=9, agent="policy", beta=0.9, **changes)
    assert not any(expert_acts(plan, seed) for seed in range(50))


def test_certain_draws_are_not_drawn(monkeypatch):
    """A driver that hands out a hundred thousand episodes would spend a second on them."""
    monkeypatch.setattr("distil.rollouts.gating.generator", lambda *args: pytest.fail("it draws"))
    assert [expert_acts(CollectPlan(num_episodes=1, agent="policy", beta=beta), 5) for beta in (0.0, 1.0)] == [False, True]
