"""How many demonstrations cloning needs, and how many expert labels DAgger needs, as a task grows in one respect.

    python benchmarks/sample_complexity.py [--quick] [--seeds 5 6 7 8 9] [--jobs 2] [--tracking-uri URI]

State dimension, complexity of the expert's action and horizon vary one at a time around a base point (sample_envs.py). At each
point, for each seed, the budget of labels is doubled until the policy's score on 200 held-out episodes, the same for all,
reaches 0.9 (0: random policy, 1: expert); every budget is a separate training. The result is the smallest budget that reached
it. A demonstration is `horizon` labels. DAgger spends them in 8 rounds of whole episodes, or in one round per episode if there
are fewer; both algorithms take the same number of gradient steps for every budget. A seed changes the demonstrations, the
initial weights and the order of the batches.

labels = exp(a) knob^b is fitted for each seed, by least squares of log labels; the figures are means over seeds, with Student's
t intervals. A seed for which the largest budget was not enough is censored: it counts as twice that budget, so that b is a
lower bound, and the tables give the number of such seeds. Budgets are a factor of 2 apart; for one seed, no figure is more
precise than that.

The environment's constants, the network and the ranges of the knobs were chosen by trial with seeds 100 and 101, so that the
base is neither trivial nor infeasible: no growth is visible if one demonstration is always enough, or if none ever is. A first
run, on seeds 0 to 4, had 1600 gradient steps, too few for cloning at the longest horizon, so the number was doubled and other
seeds were used. It still matters: with seeds 100 and 101 and 2048 labels, cloning at T = 128 scored 0.83 after 1600 steps, 0.90
after 3200 and 0.95 after 9600. At the extremes of the other knobs, 1600 and 3200 differed by less than 0.06; 9600 gained up to
0.2 (d = 24, 2048 labels).

Theory for the horizon: if mistakes at rate eps are never corrected, cloning loses about eps T / 2 of its score (Ross and
Bagnell, 2010), so eps must fall as 1 / T; DAgger learns to recover and loses about eps, whatever T (Ross, Gordon and Bagnell,
2011). There is no such prediction for the other two.

Writes sample_complexity.json and .png to benchmarks/results, and one MLflow run.
"""

from __future__ import annotations

import argparse
import functools
import json
import resource
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from common import in_processes, interval, machine, slopes, tracked, write_result

import distil
from distil import api
from distil.report import table
from distil.rollouts import Baselines

Array = npt.NDArray[np.float64]
ALGORITHMS = {"bc": "BC", "dagger": "DAgger"}
AXES = {"dimension": (3, 6, 12, 24), "complexity": (1, 2, 3, 4), "horizon": (8, 16, 32, 64, 128)}
TITLES = {"dimension": "state dimension", "complexity": "complexity of the action", "horizon": "horizon"}
TARGET = 0.9
ROUNDS = 8  # of DAgger, round 0 (demonstrations) included


@dataclass(frozen=True, kw_only=True)
class Point:
    """A task: the values of the three knobs."""

    dimension: int = 6
    complexity: int = 2
    horizon: int = 32

    @property
    def env(self) -> dict[str, Any]:
        """The environment's configuration."""
        return {"kind": "import", "target": "sample_envs:Track", "kwargs": dict(vars(self))}


@dataclass(frozen=True, kw_only=True)
class Size:
    """The cost of each policy and the budgets to try."""

    budgets: tuple[int, ...] = tuple(2**i for i in range(5, 15))  # labels
    gradient_steps: int = 3200
    evaluation_episodes: int = 200


@dataclass(frozen=True, kw_only=True)
class Case:
    """One search for the smallest budget."""

    point: Point
    algorithm: str
    seed: int
    size: Size


@dataclass(frozen=True, kw_only=True)
class Found:
    """The result of a search."""

    labels: int | None  # None: the largest budget was not enough
    scores: Mapping[int, float]  # budget -> score, for the budgets that were tried


def recipe(case: Case, labels: int, folder: Path) -> dict[str, Any]:
    """Return the configuration of a training with a budget."""
    total = labels // case.point.horizon  # an episode is never shorter than its horizon
    rounds = min(ROUNDS, total) if case.algorithm == "dagger" else 1
    episodes = total // rounds
    assert episodes * rounds * case.point.horizon == labels
    algorithm: dict[str, Any] = {"kind": case.algorithm}
    if case.algorithm == "dagger":
        algorithm |= {"rounds": rounds, "episodes_per_round": episodes, "tuning_episodes": 0, "check_episodes": 0}
    num_steps = case.size.gradient_steps // rounds
    return {
        "name": case.algorithm,
        "seed": case.seed,
        "env": case.point.env,
        "expert": {"kind": "import", "target": "sample_envs:RightAction"},
        "data": {"path": str(folder / "data"), "episodes": episodes},
        "rollouts": {"num_workers": 0},
        "policy": {"encoder": {"kind": "mlp", "hidden": [64, 64]}},
        "algorithm": algorithm,
        "learner": {"num_steps": num_steps, "batch_size": 128, "learning_rate": 3e-3, "warmup_steps": 20},
        "evaluation": {"episodes": 0},
        "tracking": {"enabled": False},
        "runs": str(folder / "runs"),
    }


def score(case: Case, labels: int) -> float:
    """Train with a budget; return the normalised score."""
    with tempfile.TemporaryDirectory() as name:
        path = Path(name) / "recipe.yaml"
        path.write_text(json.dumps(recipe(case, labels, Path(name))))  # JSON is YAML
        run = distil.train(path)
        assert run.metrics["budget/expert_labels"] == labels
        result = distil.evaluate(run.policy(), env=case.point.env, episodes=case.size.evaluation_episodes)
    normalised = baselines(case.point, case.size.evaluation_episodes).normalise(result.mean)
    assert normalised is not None
    return normalised


@functools.cache
def baselines(point: Point, episodes: int) -> Baselines:
    """Return the scores of the expert and a random policy on a point's held-out episodes."""
    with tempfile.TemporaryDirectory() as name:
        case = Case(point=point, algorithm="bc", seed=0, size=Size())
        path = Path(name) / "recipe.yaml"
        path.write_text(json.dumps(recipe(case, point.horizon, Path(name)) | {"evaluation": {"episodes": episodes}}))
        found = api.evaluate_expert(path).baselines
    assert found is not None
    assert found.expert == 0, "the expert never leaves the track"
    return found


def search(case: Case, measure: Callable[[Case, int], float] = score) -> Found:
    """Return the smallest budget that reaches the target."""
    scores = {}
    for labels in case.size.budgets:
        if labels < case.point.horizon:  # less than one episode
            continue
        scores[labels] = measure(case, labels)
        if scores[labels] >= TARGET:
            return Found(labels=labels, scores=scores)
    return Found(labels=None, scores=scores)


@dataclass(frozen=True, kw_only=True)
class Fit:
    """The mean exponent of the seeds, its interval, and each seed's."""

    exponent: float
    interval: tuple[float, float]
    by_seed: Array  # [S]


def fit(values: Sequence[float], labels: Sequence[Sequence[float]]) -> Fit:
    """Fit labels = exp(a) value^b.

    Args:
        values: K of them, of the knob.
        labels: for each the S seeds' labels, all finite.
    """
    exponents = slopes(values, np.log(np.asarray(labels, np.float64).T))
    return Fit(exponent=float(exponents.mean()), interval=interval(exponents), by_seed=exponents)


def median(labels: Sequence[int | None]) -> float | None:
    """Return the median over the seeds; None where it is censored."""
    found = float(np.median([np.inf if each is None else each for each in labels]))
    return found if np.isfinite(found) else None


def summarise(searched: Mapping[Case, Found], axis: str, algorithm: str) -> tuple[dict[str, Any], Fit]:
    """Return the figures of one axis and algorithm."""
    base, points, filled = Point(), [], []
    values = [value for value in AXES[axis] if any(case.point == replace(base, **{axis: value}) for case in searched)]
    for value in values:
        point = replace(base, **{axis: value})
        cases = [case for case in searched if (case.point, case.algorithm) == (point, algorithm)]
        labels, budgets = [searched[case].labels for case in cases], cases[0].size.budgets
        smallest = min(budget for budget in budgets if budget >= point.horizon)
        middle = median(labels)
        filled.append([2 * budgets[-1] if each is None else each for each in labels])
        points.append(
            {
                "value": value,
                "labels_median": middle,
                "demonstrations_median": None if middle is None else middle / point.horizon,
                "labels_by_seed": labels,
                "num_censored": labels.count(None),  # more than the largest budget
                "num_at_smallest": labels.count(smallest),  # fewer labels might do
                "scores_by_seed": [searched[case].scores for case in cases],
            }
        )
    fitted = fit(values, filled)
    return {"exponent": fitted.exponent, "exponent_ci": list(fitted.interval), "points": points}, fitted


def compare(searched: Mapping[Case, Found]) -> dict[str, Any]:
    """Return all figures, by axis."""
    results: dict[str, Any] = {}
    for axis in AXES:
        found = {algorithm: summarise(searched, axis, algorithm) for algorithm in ALGORITHMS}
        results[axis] = {algorithm: figures for algorithm, (figures, _) in found.items()}
        results[axis] |= {
            "difference": found["bc"][1].exponent - found["dagger"][1].exponent,
            "difference_ci": list(interval(found["bc"][1].by_seed - found["dagger"][1].by_seed)),
        }
    return results


def show(results: Mapping[str, Any], largest: int) -> None:
    """Print the tables."""
    rows: list[dict[str, str | float | None]] = [
        {
            "knob": TITLES[axis],
            "value": bc["value"],
            "BC: labels": _shown(bc["labels_median"], largest),
            "of all seeds": _range(bc, largest),
            "demonstrations": _shown(bc["demonstrations_median"], None),
            "DAgger: labels": _shown(dagger["labels_median"], largest),
            "of all its seeds": _range(dagger, largest),
        }
        for axis, found in results.items()
        for bc, dagger in zip(found["bc"]["points"], found["dagger"]["points"], strict=True)
    ]
    print(table(rows, f"Labels for a score of {TARGET:g}: median and range of the seeds", width=128))
    exponents: list[dict[str, str | float | None]] = [
        {
            "knob": TITLES[axis],
            "algorithm": name,
            "labels grow with its power": found[algorithm]["exponent"],
            "95 % interval": "{:.2f} to {:.2f}".format(*found[algorithm]["exponent_ci"]),
            "censored seeds": sum(point["num_censored"] for point in found[algorithm]["points"]),
        }
        for axis, found in results.items()
        for algorithm, name in ALGORITHMS.items()
    ]
    print(table(exponents, width=128))
    for axis, found in results.items():
        low, high = found["difference_ci"]
        print(f"{TITLES[axis]}: BC's power less DAgger's {found['difference']:.2f} ({low:.2f} to {high:.2f})")


def _shown(value: float | None, largest: int | None) -> str:
    if value is None:
        return f"> {largest:,}" if largest else "-"
    return f"{value:,.4g}" if value < 1000 else f"{value:,.0f}"


def _range(point: Mapping[str, Any], largest: int) -> str:
    known = [each for each in point["labels_by_seed"] if each is not None]
    low, high = (min(known) if known else None), (None if point["num_censored"] else max(known))
    return f"{_shown(low, largest)} to {_shown(high, largest)}"


def plot(results: Mapping[str, Any], path: Path, size: Size, seeds: int) -> Path:
    """Draw one panel per axis: the median, the range over seeds, and censored medians as open triangles."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(13, 4.6), layout="constrained", facecolor="white")
    FigureCanvasAgg(figure)
    figure.suptitle(
        f"Labels needed for {TARGET:g} of the expert: median and range of {seeds} seeds", x=0.01, ha="left", weight="bold"
    )
    panels = figure.subplots(1, len(results), sharey=True)
    for panel, (axis, found) in zip(panels, results.items(), strict=True):
        for algorithm, colour, marker in (("bc", "#0072B2", "o"), ("dagger", "#D55E00", "s")):
            points = found[algorithm]["points"]
            xs, beyond = [point["value"] for point in points], 2 * size.budgets[-1]
            filled = [[beyond if each is None else each for each in point["labels_by_seed"]] for point in points]
            ys = np.median(filled, axis=1)
            low, high = found[algorithm]["exponent_ci"]
            label = f"{ALGORITHMS[algorithm]}: power {found[algorithm]['exponent']:.2f} ({low:.2f} to {high:.2f})"
            panel.fill_between(xs, np.min(filled, axis=1), np.max(filled, axis=1), color=colour, alpha=0.16, linewidth=0)
            panel.plot(xs, ys, color=colour, marker=marker, markeredgecolor="white", markersize=7, linewidth=2, label=label)
            censored = [(x, y) for x, y, point in zip(xs, ys, points, strict=True) if point["labels_median"] is None]
            if censored:
                panel.plot(*zip(*censored, strict=True), "^", color="white", markeredgecolor=colour, markersize=11, zorder=4)
        panel.set_xscale("log", base=2)
        panel.set_yscale("log", base=2)
        panel.set_xticks(xs, [str(x) for x in xs])
        panel.minorticks_off()
        panel.yaxis.set_major_formatter("{x:,.0f}")
        panel.grid(color="#E6E6E6")
        panel.set_xlabel(TITLES[axis])
        panel.legend(frameon=False, loc="upper left", fontsize=9)
        panel.spines[["top", "right"]].set_visible(False)
    panels[0].set_ylabel("expert labels")
    panels[0].set_ylim(size.budgets[0], 4 * size.budgets[-1])
    figure.savefig(path, dpi=140)
    return path


def track(results: Mapping[str, Any], settings: Mapping[str, Any], image: Path, uri: str | None) -> None:
    """Log one MLflow run; a point's metrics have the knob's value as their step."""
    with tracked("sample-complexity", "sample-complexity", settings, uri) as tracker:
        for axis, found in results.items():
            for algorithm in ALGORITHMS:
                name, (low, high) = f"{axis}/{algorithm}", found[algorithm]["exponent_ci"]
                exponent = {"exponent": found[algorithm]["exponent"], "exponent_ci_low": low, "exponent_ci_high": high}
                tracker.log({f"{name}/{key}": value for key, value in exponent.items()}, step=0)
                for point in found[algorithm]["points"]:
                    keys = ("labels_median", "demonstrations_median", "num_censored")
                    known = {f"{name}/{key}": point[key] for key in keys if point[key] is not None}
                    tracker.log(known, step=point["value"])
        tracker.artifact(image)


def main() -> None:
    """Measure, print the tables, draw, write the JSON."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="the ends of each axis, two seeds, smaller budgets")
    parser.add_argument("--seeds", nargs="*", type=int)
    parser.add_argument("--jobs", type=int, default=2, help="searches at once, a process each")
    parser.add_argument("--out", type=Path, default=Path(__file__).parent / "results" / "sample_complexity.json")
    parser.add_argument("--tracking-uri", help="of MLflow; sqlite in ./mlflow.db otherwise")
    args = parser.parse_args()
    started = time.perf_counter()
    size = Size(budgets=(64, 256, 1024), gradient_steps=400, evaluation_episodes=50) if args.quick else Size()
    seeds = args.seeds or ([100, 101] if args.quick else [5, 6, 7, 8, 9])
    axes = {axis: values[:: len(values) - 1] if args.quick else values for axis, values in AXES.items()}
    points = dict.fromkeys(replace(Point(), **{axis: value}) for axis, values in axes.items() for value in values)
    cases = [Case(point=p, algorithm=a, seed=s, size=size) for p in points for a in ALGORITHMS for s in seeds]
    results = compare(in_processes(search, cases, args.jobs))
    settings = {"seeds": seeds, **vars(size), "target": TARGET, "dagger_rounds": ROUNDS, "base": vars(Point())}
    image = plot(results, args.out.with_suffix(".png"), size, len(seeds))
    track(results, settings, image, args.tracking_uri)
    show(results, size.budgets[-1])
    wall, used = time.perf_counter() - started, resource.getrusage(resource.RUSAGE_CHILDREN)
    took = {"wall_s": round(wall, 1), "cpu_s": round(used.ru_utime + used.ru_stime + time.process_time(), 1)}
    write_result(args.out, {"machine": machine(), "settings": settings, "results": results} | took)
    print(f"{wall:.0f} seconds; {args.out} and {image.name} written")


if __name__ == "__main__":
    main()
