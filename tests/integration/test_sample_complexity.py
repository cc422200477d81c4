"""The benchmark of sample complexity: its environments, its search and fit, and one tiny case of it end to end."""

import json
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

sys.path.insert(0, str(Path(__file__).parents[2] / "benchmarks"))

import sample_complexity as benchmark
import sample_envs as envs

from distil.tracking import TrackingConfig

BASE = benchmark.Point()
ENDS = [
    benchmark.replace(BASE, **{axis: value}) for axis, values in benchmark.AXES.items() for value in values[:: len(values) - 1]
]


@pytest.mark.parametrize("point", ENDS, ids=str)
def test_the_expert_never_leaves_the_track(point: benchmark.Point) -> None:
    env = envs.Track(**vars(point))
    for seed in range(20):
        env.reset(seed=seed)
        rewards = [env.step(np.array(env.right_action))[1] for _ in range(point.horizon)]
        assert sum(rewards) == 0


@pytest.mark.parametrize("side", [-1, 1])
def test_the_expert_climbs_out_and_steering_as_on_the_track_does_not(side: int) -> None:
    env = envs.Track(**vars(BASE))
    for seed in range(20):
        env.reset(seed=seed)
        env._y = side * env.WALL
        assert env.step(np.array(env.right_action))[1] == 0
        env._y = side * env.WALL
        for _ in range(10):
            assert env.step(np.array([-env._force[env._t] - env.STEERING * env._y]))[1] == -1


def drive(point: benchmark.Point, num_episodes: int) -> tuple[Any, Any, Any]:
    """Return observations [N, d], actions [N] and forces [N] of the expert."""
    env, rows = envs.Track(**vars(point)), []
    for seed in range(num_episodes):
        observation, _ = env.reset(seed=seed)
        for t in range(point.horizon):
            rows.append((observation, env.right_action[0], env._force[t]))
            observation, *_ = env.step(np.array(env.right_action))
    observations, actions, forces = zip(*rows, strict=True)
    return np.array(observations), np.array(actions), np.array(forces)


def test_every_dimension_is_needed_and_the_force_has_the_same_law() -> None:
    spreads = []
    for dimension in (3, 24):
        observations, actions, forces = drive(benchmark.replace(BASE, dimension=dimension, complexity=1), 200)
        weights = np.linalg.lstsq(observations, actions, rcond=None)[0]
        assert np.abs(weights).min() > 0.01
        spreads.append(np.std(forces))
    assert spreads[0] == pytest.approx(spreads[1], rel=0.05)


def test_more_complexity_leaves_more_that_no_line_explains() -> None:
    shares = []
    for complexity in benchmark.AXES["complexity"]:
        observations, actions, _ = drive(benchmark.replace(BASE, complexity=complexity), 50)
        rest = actions - observations @ np.linalg.lstsq(observations, actions, rcond=None)[0]
        shares.append(np.var(rest) / np.var(actions))
    assert shares == sorted(shares)
    assert shares[0] < 0.25
    assert shares[-1] > 0.5


def test_the_smallest_budget_counts_and_less_than_an_episode_is_never_tried() -> None:
    case = benchmark.Case(point=BASE, algorithm="bc", seed=0, size=benchmark.Size(budgets=(16, 32, 64, 128)))
    found = benchmark.search(case, lambda _, labels: {32: 0.2, 64: 0.9, 128: 0.1}[labels])
    assert (found.labels, dict(found.scores)) == (64, {32: 0.2, 64: 0.9})
    assert benchmark.search(case, lambda _, labels: 0.89).labels is None


def test_the_fit_finds_the_exponent_with_its_interval() -> None:
    rng, values = np.random.default_rng(0), (8, 16, 32, 64)
    found = benchmark.fit(values, [20 * value**1.5 * rng.lognormal(0, 0.3, 5) for value in values])
    low, high = found.interval
    assert low < 1.5 < high
    assert 0.05 < high - low < 0.6


def figures() -> tuple[dict[str, Any], benchmark.Size]:
    """Return results where cloning at the longest horizon is censored: labels are half the product of the knobs otherwise."""
    size = benchmark.Size(budgets=(64, 1024))
    searched = {}
    for point in [benchmark.replace(BASE, **{axis: value}) for axis in benchmark.AXES for value in benchmark.AXES[axis]]:
        for algorithm in benchmark.ALGORITHMS:
            for seed in range(3):
                labels = None if algorithm == "bc" and point.horizon == 128 and seed else 256
                case = benchmark.Case(point=point, algorithm=algorithm, seed=seed, size=size)
                searched[case] = benchmark.Found(labels=labels, scores={256: 0.95})
    return benchmark.compare(searched), size


def test_censored_seeds_are_told_and_bound_the_slope() -> None:
    results, _ = figures()
    longest = results["horizon"]["bc"]["points"][-1]
    assert (longest["labels_median"], longest["num_censored"], longest["demonstrations_median"]) == (None, 2, None)
    assert results["horizon"]["bc"]["exponent"] > 0.2  # as if it had taken 2048
    assert results["horizon"]["dagger"]["exponent"] == pytest.approx(0)
    assert results["dimension"]["bc"]["points"][0]["labels_median"] == 256
    json.dumps(results)


def test_one_mlflow_run_has_every_point_and_the_plot(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    results, size = figures()
    logged: dict[str, dict[int, float]] = {}
    calls: list[Any] = []

    class Recorder:
        def start(self, name: str, params: Any) -> None:
            calls.append(name)

        def log(self, metrics: dict[str, float], step: int) -> None:
            for key, value in metrics.items():
                logged.setdefault(key, {})[step] = value

        def artifact(self, path: Path) -> None:
            calls.append(path.stat().st_size > 10_000)

        def finish(self, status: str) -> None:
            calls.append(status)

    monkeypatch.setattr(TrackingConfig, "build", lambda self, experiment, folder, **_: Recorder())
    image = benchmark.plot(results, tmp_path / "plot.png", size, 3)
    benchmark.track(results, {}, image, None)
    assert calls == ["sample-complexity", True, "FINISHED"]
    assert logged["horizon/bc/labels_median"] == dict.fromkeys((8, 16, 32, 64), 256)
    assert logged["horizon/bc/num_censored"][128] == 2
    assert set(logged["dimension/dagger/demonstrations_median"]) == set(benchmark.AXES["dimension"])


@pytest.mark.parametrize("algorithm", list(benchmark.ALGORITHMS))
def test_one_case_end_to_end(algorithm: str) -> None:
    size = benchmark.Size(budgets=(64,), gradient_steps=32, evaluation_episodes=8)
    case = benchmark.Case(point=benchmark.replace(BASE, horizon=8), algorithm=algorithm, seed=100, size=size)
    found = benchmark.search(case)
    assert list(found.scores) == [64]
    assert -1 < found.scores[64] < 1
