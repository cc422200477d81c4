from contextlib import closing

import numpy as np
import pytest
from testbed import CountingExpert, team_of

from distil.envs import GymEnvConfig, ImportEnvConfig, describe
from distil.policies.config import MlpConfig
from distil.policies.policy import Policy, PolicyConfig
from distil.rollouts import Baselines, EvalResult, Fleet, RolloutConfig, evaluate
from distil.rollouts.evaluation import score_low


def result(returns, successes=None):
    returns = np.asarray(returns, np.float64)
    return EvalResult(seeds=tuple(range(len(returns))), returns=returns, lengths=np.full(len(returns), 7), successes=successes)


def test_metrics_are_those_of_the_vocabulary():
    values = np.random.default_rng(0).normal(10, 2, 100)
    metrics = result(values, np.arange(100) % 4 == 0).metrics(Baselines(random=0, expert=20))
    assert metrics["eval/return_mean"] == pytest.approx(values.mean())
    assert metrics["eval/normalised"] == pytest.approx(values.mean() / 20)
    assert metrics["eval/return_iqm"] == pytest.approx(np.sort(values)[25:75].mean())
    assert metrics["eval/return_ci_low"] == pytest.approx(values.mean() - 1.984 * values.std(ddof=1) / 10, abs=1e-3)
    assert metrics["eval/return_ci_high"] == pytest.approx(values.mean() + 1.984 * values.std(ddof=1) / 10, abs=1e-3)
    assert metrics["eval/success_rate"] == 0.25
    assert metrics["eval/episode_length"] == 7
    assert metrics == result(values, np.arange(100) % 4 == 0).metrics(Baselines(random=0, expert=20))


def test_without_spread_or_baselines_there_is_no_nonsense():
    metrics = result([500.0] * 5).metrics(Baselines(random=500, expert=500))
    assert (metrics["eval/return_ci_low"], metrics["eval/return_ci_high"]) == (500, 500)
    assert "eval/normalised" not in metrics
    assert "eval/success_rate" not in metrics
    assert result([3.0]).interval is None
    assert not [name for name in result([3.0]).metrics() if "return_ci" in name]
    assert "eval/normalised" not in result([1.0, 2.0]).metrics()


def test_the_lower_bound_of_a_score_counts_on_a_failure_that_was_not_seen():
    """The rarer a failure may be, the more episodes it takes: with ten perfect ones, it may still be every fourth."""
    bounds = {num: score_low(result([9.0] * num), result([9.0] * num), result([1.0] * num), 0.95) for num in (10, 60, 300)}
    assert bounds[10] < 0.8 < 0.9 < bounds[60] < 0.96 < 0.98 < bounds[300] < 1
    rng = np.random.default_rng(0)
    luck = rng.normal(0, 5, 60)  # of a start: it is the same for all three
    together = score_low(result(9 + luck), result(10 + luck), result(luck), 0.95)
    apart = score_low(result(9 + luck), result(10 + luck[::-1]), result(np.roll(luck, 7)), 0.95)
    assert apart < together < 0.9


def test_the_table_names_each_figure():
    table = result([1.0, 2.0]).table(Baselines(random=0, expert=3))
    assert next(line.split() for line in table.splitlines()) == ["return_mean", "1.5"]
    assert ["normalised", "0.5"] in [line.split() for line in table.splitlines()]


def test_results_are_in_the_order_of_the_seeds():
    env = ImportEnvConfig(target="testbed:Toy", kwargs={"lengths": [1, 9, 3], "success": True})
    fleet = Fleet(env=env, spec=describe(env), config=RolloutConfig(num_workers=0, num_envs=2), team=team_of(CountingExpert()))
    scores = evaluate(fleet, "expert", [4, 3, 2, 1, 0])
    assert scores.lengths.tolist() == scores.returns.tolist() == [9, 1, 3, 9, 1]
    assert scores.successes.tolist() == [True, False, True, False, True]
    assert scores.seeds == (4, 3, 2, 1, 0)


def test_the_random_policy_is_repeatable():
    env = GymEnvConfig(id="CartPole-v1")
    returns = []
    for _ in range(2):
        fleet = Fleet(env=env, spec=describe(env), config=RolloutConfig(num_workers=0, num_envs=8))
        returns.append(evaluate(fleet, "random", range(20)).returns.tolist())
    assert returns[0] == returns[1]
    assert np.std(returns[0]) > 0


@pytest.mark.ray
def test_samples_depend_on_seeds_and_not_on_workers(ray_session):
    """CORRECTNESS 5."""
    env = GymEnvConfig(id="CartPole-v1")
    world = describe(env)
    made = Policy(PolicyConfig(encoder=MlpConfig(hidden=(16,))), world.observation, world.action)
    made.fit_normaliser({"obs": np.random.default_rng(0).normal(size=(50, 4))})
    returns = {}
    for act, workers, envs in (("point", 1, 4), ("sample", 1, 4), ("sample", 3, 4)):
        fleet = Fleet(env=env, spec=world, config=RolloutConfig(num_workers=workers, num_envs=envs))
        with closing(fleet):
            returns[act, workers] = evaluate(fleet, "policy", range(20), policy=made.ref(0), act=act).returns.tolist()
    assert returns["sample", 1] == returns["sample", 3]
    assert returns["sample", 1] != returns["point", 1]
