"""Compounding errors of behavioural cloning and DAgger: cost against the horizon T, on two environments.

    python benchmarks/compounding_error.py [--quick] [--seeds 0 1 2 3 4] [--jobs 2]

Cliff is the tight example of Ross and Bagnell (2010): one wrong action leaves the expert's path permanently and each step off
it costs 1, so cloning costs about eps T^2 / 2. An expert that is queried shows the way back, so DAgger costs about eps T
(Ross, Gordon and Bagnell, 2011). Lane is a continuous environment. See compounding_envs.py. Both algorithms get the same
number of labels and gradient steps at every horizon, the expert's cost is 0, and the learner's error on the expert's path
comes only from its sensor. A seed changes the demonstrations, the initial weights and the order of the batches.

Cost = exp(a) T^b is fitted by least squares of log mean cost on log T. The spread of each figure is from a bootstrap over seeds
and evaluation episodes; all seeds share the episodes, so episodes are resampled for all seeds together. The intervals are
Student's t with one degree of freedom less than there are seeds, because percentiles of a bootstrap over five seeds are too
narrow. Writes compounding_error.json and .png to benchmarks/results, and an MLflow run for each environment and algorithm.

At finite T the exponents differ from 2 and 1. Cliff: `expected` is the exact cost at the measured error; its slope for BC is a
little below 2, because no episode can cost more than T and T (T + 1) / 2 is well above T^2 / 2 for small T. Lane: a car needs a
few steps to reach the edge, so short episodes are disproportionately safe and the slopes a little steeper.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from common import in_processes, machine, slopes, tracked, write_result
from compounding_envs import Cliff, Lane, expert_steps
from scipy.special import stdtrit

import distil
from distil import api
from distil.report import Curve, plot_curves, table
from distil.rollouts import EvalResult

Array = npt.NDArray[np.float64]
ENVS: dict[str, type[Cliff] | type[Lane]] = {"cliff": Cliff, "lane": Lane}
ALGORITHMS = {"bc": "BC", "dagger": "DAgger"}
HORIZONS = (8, 16, 32, 64, 128)
ROUNDS = 8  # of DAgger, round 0 (demonstrations) included
RESAMPLES = 4000
EXPERT_EPISODES = 200
CONFIDENCE = 0.95


@dataclass(frozen=True, kw_only=True)
class Size:
    """The budget of each policy, equal for all horizons and algorithms."""

    labels: int
    gradient_steps: int
    evaluation_steps: int


FULL = Size(labels=16_384, gradient_steps=3200, evaluation_steps=128_000)
QUICK = Size(labels=4096, gradient_steps=1600, evaluation_steps=16_000)


@dataclass(frozen=True, kw_only=True)
class Case:
    """One policy to train and measure."""

    env: str
    algorithm: str
    horizon: int
    seed: int
    size: Size


@dataclass(frozen=True, kw_only=True)
class Fit:
    """An exponent with its interval, and what it was fitted to."""

    means: Array  # [H] mean cost at each of H horizons
    low: Array  # [H]
    high: Array
    exponent: float
    interval: tuple[float, float]
    samples: Array  # [RESAMPLES] bootstrapped exponents


def recipe(case: Case, folder: Path) -> dict[str, Any]:
    """Return the configuration of a case's run."""
    size = case.size
    rounds = ROUNDS if case.algorithm == "dagger" else 1
    episodes = size.labels // (case.horizon * rounds)  # of each round; an episode is never shorter than its horizon
    assert episodes * case.horizon * rounds == size.labels
    algorithm: dict[str, Any] = {"kind": case.algorithm}
    if case.algorithm == "dagger":
        algorithm |= {"rounds": rounds, "episodes_per_round": episodes, "tuning_episodes": 0, "check_episodes": 0}
    return {
        "name": f"{case.env}-{case.algorithm}",
        "seed": case.seed,
        "env": environment(case.env, case.horizon),
        "expert": {"kind": "import", "target": "compounding_envs:RightAction"},
        "data": {"path": str(folder / "data"), "episodes": episodes},
        "rollouts": {"num_workers": 0},
        "policy": {"encoder": {"kind": "mlp", "hidden": [16, 16]}},
        "algorithm": algorithm,
        "learner": {"num_steps": size.gradient_steps // rounds, "batch_size": 256, "learning_rate": 3e-3, "warmup_steps": 20},
        "evaluation": {"episodes": 0},
        "tracking": {"enabled": False},
        "runs": str(folder / "runs"),
    }


def environment(name: str, horizon: int) -> dict[str, Any]:
    """Return the configuration of an environment."""
    return {"kind": "import", "target": f"compounding_envs:{ENVS[name].__name__}", "kwargs": {"horizon": horizon}}


def measure(case: Case) -> dict[str, Any]:
    """Train and evaluate a case; `costs` has one entry an evaluation episode."""
    with tempfile.TemporaryDirectory() as name:
        path = Path(name) / "recipe.yaml"
        path.write_text(json.dumps(recipe(case, Path(name))))  # JSON is YAML
        run = distil.train(path)
        labels, policy = int(run.metrics["budget/expert_labels"]), run.policy()
    assert labels == case.size.labels
    episodes = case.size.evaluation_steps // case.horizon
    result = distil.evaluate(policy, env=environment(case.env, case.horizon), episodes=episodes)
    error = supervised_error(policy, case.env, case.size.evaluation_steps)
    return {
        "costs": -result.returns,
        "supervised_error": error,
        "labels": labels,
    }


def supervised_error(policy: Any, env: str, num_steps: int) -> float:
    """Return a policy's error on the expert's own path: the rate of wrong actions (cliff), or the root mean square (lane)."""
    observations, actions = expert_steps(ENVS[env](horizon=64), num_steps // 64)
    differences = policy.predict(observations) - actions
    return float(np.mean(differences != 0)) if env == "cliff" else float(np.sqrt(np.mean(differences**2)))


def expert_cost(env: str, horizon: int, num_episodes: int) -> float:
    """Return the expert's mean cost, which should be 0."""
    with tempfile.TemporaryDirectory() as name:
        path = Path(name) / "recipe.yaml"
        settings = recipe(Case(env=env, algorithm="bc", horizon=horizon, seed=0, size=QUICK), Path(name))
        path.write_text(json.dumps(settings | {"evaluation": {"episodes": num_episodes}}))
        outcome = api.evaluate_expert(path)
    expert: EvalResult = outcome.results["expert"]
    return abs(expert.mean)


def fit(horizons: Sequence[int], costs: Sequence[Array]) -> Fit:
    """Fit the exponent.

    Args:
        horizons: H of them.
        costs: for each horizon [S, E]: S seeds' costs in the same E episodes.
    """
    rng = np.random.default_rng(0)
    resampled = np.stack([_bootstrap(cost, rng) for cost in costs], axis=1)  # [R, H]
    means = np.array([cost.mean() for cost in costs])
    floor = np.array([0.5 / cost.size for cost in costs])  # half a step's cost: a mean of 0 has no logarithm
    samples = slopes(horizons, np.log(np.maximum(resampled, floor)))
    half = _half_width(resampled, num_seeds=len(costs[0]))
    exponent = float(slopes(horizons, np.log(np.maximum(means, floor))[None])[0])
    around = float(_half_width(samples, num_seeds=len(costs[0])))
    return Fit(
        means=means,
        low=np.maximum(means - half, floor),
        high=means + half,
        exponent=exponent,
        interval=(exponent - around, exponent + around),
        samples=samples,
    )


def _half_width(samples: Array, num_seeds: int) -> Array:
    """Return half of a 95 % interval's width from bootstrapped `samples` [R, ...]."""
    spread = samples.std(axis=0) * np.sqrt(num_seeds / (num_seeds - 1))  # the bootstrap's variance lacks this factor
    return np.asarray(stdtrit(num_seeds - 1, (1 + CONFIDENCE) / 2) * spread)


def _bootstrap(cost_SE: Array, rng: np.random.Generator) -> Array:
    """Return RESAMPLES means over resampled seeds and, for all seeds the same, resampled episodes."""
    num_seeds, num_episodes = cost_SE.shape
    weights_RS = rng.multinomial(num_seeds, np.full(num_seeds, 1 / num_seeds), RESAMPLES) / num_seeds
    out = np.empty(RESAMPLES)
    for start in range(0, RESAMPLES, 500):  # bounds the memory
        part = slice(start, start + 500)
        weights_RE = rng.multinomial(num_episodes, np.full(num_episodes, 1 / num_episodes), 500) / num_episodes
        out[part] = np.einsum("rs,rs->r", weights_RS[part], weights_RE @ cost_SE.T)
    return out


def theory(env: str, algorithm: str, horizons: Sequence[int], error: float) -> Array | None:
    """Return the costs that the cliff's definition gives for a rate of error that is the same at all horizons; else None."""
    if env != "cliff":
        return None
    if algorithm == "dagger":
        return np.array([error * T for T in horizons])
    return np.array([T - sum((1 - error) ** t for t in range(1, T + 1)) for T in horizons])


def summarise(measured: Mapping[Case, dict[str, Any]], env: str, algorithm: str) -> tuple[dict[str, Any], Fit]:
    """Return the figures of one environment and algorithm."""
    cases = [case for case in measured if (case.env, case.algorithm) == (env, algorithm)]
    horizons = sorted({case.horizon for case in cases})
    grouped = {T: [measured[case] for case in cases if case.horizon == T] for T in horizons}
    fitted = fit(horizons, [np.stack([found["costs"] for found in grouped[T]]) for T in horizons])
    errors = [[found["supervised_error"] for found in grouped[T]] for T in horizons]
    expected = theory(env, algorithm, horizons, float(np.mean(errors)))
    points = [
        {
            "horizon": T,
            "cost": float(fitted.means[i]),
            "cost_ci": [float(fitted.low[i]), float(fitted.high[i])],
            "cost_expected": None if expected is None else float(expected[i]),
            "cost_by_seed": [float(found["costs"].mean()) for found in grouped[T]],
            "supervised_error_by_seed": errors[i],
            "labels": grouped[T][0]["labels"],
            "evaluation_episodes": len(grouped[T][0]["costs"]),
        }
        for i, T in enumerate(horizons)
    ]
    return {
        "exponent": fitted.exponent,
        "exponent_ci": list(fitted.interval),
        "exponent_expected": None if expected is None else float(slopes(horizons, np.log(expected)[None])[0]),
        "points": points,
    }, fitted


def show(results: Mapping[str, Any]) -> None:
    """Print the tables."""
    rows: list[dict[str, str | float | None]] = [
        {
            "environment": env,
            "algorithm": name,
            "T": point["horizon"],
            "error on expert's path": float(np.mean(point["supervised_error_by_seed"])),
            "cost": point["cost"],
            "95 % interval": "{:.3g} to {:.3g}".format(*point["cost_ci"]),
            "expected": point["cost_expected"],
        }
        for env, found in results.items()
        for algorithm, name in ALGORITHMS.items()
        for point in found[algorithm]["points"]
    ]
    print(table(rows, "Cost of an episode of T steps; the expert's is 0", width=128))
    exponents: list[dict[str, str | float | None]] = [
        {
            "environment": env,
            "algorithm": name,
            "exponent": found[algorithm]["exponent"],
            "95 % interval": "{:.2f} to {:.2f}".format(*found[algorithm]["exponent_ci"]),
            "expected": found[algorithm]["exponent_expected"],
        }
        for env, found in results.items()
        for algorithm, name in ALGORITHMS.items()
    ]
    print(table(exponents, "cost ~ T^exponent", width=128))
    for env, found in results.items():
        worst = max(found["expert_cost"].values())
        print(f"{env}: the expert's cost, the highest of {EXPERT_EPISODES} episodes' means at each T: {worst:.3g}")
        low, high = found["difference_ci"]
        print(f"{env}: BC's exponent is above DAgger's by {found['difference']:.2f} ({low:.2f} to {high:.2f})")


def plot(results: Mapping[str, Any], path: Path, seeds: int) -> Path:
    """Draw all four curves on logarithmic axes."""
    curves: dict[str, Curve] = {}
    for env, found in results.items():
        for algorithm, name in ALGORITHMS.items():
            points, (low, high) = found[algorithm]["points"], found[algorithm]["exponent_ci"]
            label = f"{env}, {name}: T^{found[algorithm]['exponent']:.2f} ({low:.2f} to {high:.2f})"
            curves[label] = Curve(
                x=[float(np.log2(point["horizon"])) for point in points],
                y=[point["cost"] for point in points],
                low=[point["cost_ci"][0] for point in points],
                high=[point["cost_ci"][1] for point in points],
            )
    xs = [x for curve in curves.values() for x in curve.x]
    return plot_curves(
        curves,
        path,
        xlabel=f"log2 of the horizon T ({2 ** min(xs):.0f} to {2 ** max(xs):.0f} steps)",
        ylabel="steps off the expert's path",
        title="Mistakes compound in BC, not in DAgger",
        subtitle=f"mean cost of an episode with its 95 % interval, {seeds} seeds; equal labels and gradient steps everywhere",
        log_y=True,
    )


def track(results: Mapping[str, Any], size: Size, image: Path, uri: str | None) -> None:
    """Log each environment and algorithm as an MLflow run, the horizon as the step."""
    for env, found in results.items():
        for algorithm in ALGORITHMS:
            params = {"env": env, "algorithm": algorithm, **vars(size)}
            with tracked("compounding-error", f"{env}-{algorithm}", params, uri) as tracker:
                for point in found[algorithm]["points"]:
                    (low, high), error = point["cost_ci"], float(np.mean(point["supervised_error_by_seed"]))
                    metrics = {"cost": point["cost"], "cost_ci_low": low, "cost_ci_high": high, "supervised_error": error}
                    tracker.log(metrics, step=point["horizon"])
                low, high = found[algorithm]["exponent_ci"]
                exponent = {"exponent": found[algorithm]["exponent"], "exponent_ci_low": low, "exponent_ci_high": high}
                tracker.log(exponent, step=0)
                tracker.artifact(image)


def compare(measured: Mapping[Case, dict[str, Any]], horizons: Sequence[int]) -> dict[str, Any]:
    """Return all figures, by environment."""
    results: dict[str, Any] = {}
    for env in dict.fromkeys(case.env for case in measured):
        found = {algorithm: summarise(measured, env, algorithm) for algorithm in ALGORITHMS}
        bc, dagger = found["bc"][1], found["dagger"][1]
        seeds = {case.seed for case in measured}
        difference, half = bc.exponent - dagger.exponent, float(_half_width(bc.samples - dagger.samples, len(seeds)))
        results[env] = {algorithm: figures for algorithm, (figures, _) in found.items()} | {
            "difference": difference,
            "difference_ci": [difference - half, difference + half],
            "expert_cost": {T: expert_cost(env, T, EXPERT_EPISODES) for T in horizons},
        }
    return results


def main() -> None:
    """Measure, print the tables, draw, write the JSON."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="fewer horizons, seeds, labels and episodes")
    parser.add_argument("--only", nargs="*", default=list(ENVS), choices=list(ENVS))
    parser.add_argument("--seeds", nargs="*", type=int)
    parser.add_argument("--jobs", type=int, default=2, help="policies measured at once, a process each")
    parser.add_argument("--out", type=Path, default=Path(__file__).parent / "results" / "compounding_error.json")
    parser.add_argument("--tracking-uri", help="of MLflow; sqlite in ./mlflow.db otherwise")
    args = parser.parse_args()
    started = time.perf_counter()
    size, horizons = (QUICK, HORIZONS[::2]) if args.quick else (FULL, HORIZONS)
    seeds = args.seeds or ([0, 1] if args.quick else [0, 1, 2, 3, 4])
    cases = [
        Case(env=env, algorithm=algorithm, horizon=horizon, seed=seed, size=size)
        for env in args.only
        for horizon in horizons
        for algorithm in ALGORITHMS
        for seed in seeds
    ]
    results = compare(in_processes(measure, cases, args.jobs), horizons)
    image = plot(results, args.out.with_suffix(".png"), len(seeds))
    track(results, size, image, args.tracking_uri)
    show(results)
    wall = time.perf_counter() - started
    settings = {"seeds": seeds, **vars(size), "dagger_rounds": ROUNDS, "resamples": RESAMPLES, "confidence": CONFIDENCE}
    write_result(args.out, {"machine": machine(), "settings": settings, "results": results, "wall_s": round(wall, 1)})
    print(f"{wall:.0f} seconds; {args.out} and {image.name} written")
    sys.exit(0 if all(found["difference_ci"][0] > 0 for found in results.values()) else 1)


if __name__ == "__main__":
    main()
