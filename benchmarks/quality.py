"""Scores of the shipped recipes relative to their experts: five sets of demonstrations, 50 held-out episodes each.

    python benchmarks/quality.py --experts FOLDER [--only pendulum-bc ...] [--seeds 0 1 2 3 4]
    python benchmarks/quality.py --only metaworld-pick-place-bc metaworld-pick-place-dagger --out FILE
    python benchmarks/quality.py --only carracing-bc --out benchmarks/results/pixels.json

FOLDER holds the Stable-Baselines3 experts as <algo>-<env>/<env>.zip (the RL Baselines3 Zoo's layout). A seed changes the
demonstrations, the initial weights and the order of the batches; the evaluation episodes are the same for all. Settings were
chosen on other episodes (`Purpose.TUNE`), with one exception: a first run of this file showed that pendulum-bc failed (0.73
with undisturbed demonstrations), so its recipe was changed, on other root seeds. DAgger's defaults were chosen with root seeds
0 and 1, which are among those reported; MetaWorld's settings with root seeds 10 and 11. MetaWorld's recipes need an extra, so
they are measured only when they are named. Writes benchmarks/results/quality.json.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from common import machine, write_result
from rich.console import Console
from rich.table import Table

import distil
from distil.runconfig import load_config
from distil.session import Session
from distil.stats import mean_interval

EXPERTS = {
    "pendulum-bc": "sac-Pendulum-v1/Pendulum-v1.zip",
    "hopper-bc": "trpo-Hopper-v3/Hopper-v3.zip",
    "halfcheetah-bc": "tqc-HalfCheetah-v3/HalfCheetah-v3.zip",
}
EXPERTS |= {name.replace("-bc", "-dagger"): path for name, path in EXPERTS.items()}
BARS = {  # metric and the required minimum
    "cartpole-bc": ("eval/return_mean", 490.0),
    "pendulum-bc": ("eval/normalised", 0.95),
    "hopper-bc": ("eval/normalised", 0.9),
    "halfcheetah-bc": ("eval/normalised", 0.45),
    "lunarlander-bc": ("eval/normalised", 0.9),
    "carracing-bc": ("eval/normalised", 0.9),
    "pendulum-dagger": ("eval/normalised", 0.95),
    "hopper-dagger": ("eval/normalised", 0.95),
    "halfcheetah-dagger": ("eval/normalised", 0.95),
    "lunarlander-dagger": ("eval/normalised", 0.95),
    "metaworld-pick-place-bc": ("eval/success_rate", 0.95),
    "metaworld-pick-place-dagger": ("eval/success_rate", 0.95),
}
APART = ("metaworld", "carracing")  # need an extra, or half an hour
USUAL = [recipe for recipe in BARS if not recipe.startswith(APART)]


def measure(recipe: str, seeds: Sequence[int], experts: Path | None) -> Iterator[dict[str, Any]]:
    """Train one recipe with each seed; yield the metrics. The seeds share the baselines, whose episodes are the same."""
    with tempfile.TemporaryDirectory() as name:
        settings = [_overrides(recipe, seed, experts, Path(name)) for seed in seeds]
        with Session(load_config(recipe, settings[0])) as session:
            for seed, overrides in zip(seeds, settings, strict=True):
                run = distil.train(recipe, overrides, session=session)
                yield {"seed": seed, **run.metrics}


def _overrides(recipe: str, seed: int, experts: Path | None, folder: Path) -> dict[str, Any]:
    overrides: dict[str, Any] = {
        "seed": seed,
        "evaluation.episodes": 50,
        "runs": str(folder / "runs"),
        "data.path": str(folder / "data" / f"{recipe}-{seed}"),
        "tracking.enabled": False,
    }
    if recipe in EXPERTS:
        assert experts is not None
        overrides["expert.path"] = str(experts / EXPERTS[recipe])
    return overrides


def row(recipe: str, runs: Sequence[dict[str, Any]]) -> str:
    """Return the recipe's row of the table in README.md: over the seeds, means, the 95 % interval, and each seed's score."""
    scores = [run["eval/normalised"] for run in runs]
    found = mean_interval(scores)
    spread = f" ({found[0]:.2f} to {found[1]:.2f})" if found else ""
    means = [float(np.mean([run[name] for run in runs])) for name in ("eval/return_mean", "eval/expert_return_mean")]
    cells = [recipe, f"{np.mean([run['budget/expert_labels'] for run in runs]):,.0f}", *(f"{mean:.0f}" for mean in means)]
    return f"| {' | '.join([*cells, f'{np.mean(scores):.2f}{spread}', ', '.join(f'{score:.2f}' for score in scores)])} |"


def main() -> None:
    """Measure, print the tables, write the JSON."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--experts", type=Path)
    parser.add_argument("--only", nargs="*", default=USUAL, choices=list(BARS))
    parser.add_argument("--seeds", nargs="*", type=int, default=[0, 1, 2, 3, 4])
    parser.add_argument("--out", type=Path, default=Path(__file__).parent / "results" / "quality.json")
    args = parser.parse_args()
    if args.experts is None and EXPERTS.keys() & set(args.only):
        parser.error("--experts is missing: give the folder of the Stable-Baselines3 experts")

    table = Table("recipe", "seed", "return", "95 % interval", "expert", "random", "normalised", "success", "labels", "seconds")
    results: dict[str, Any] = {}
    for recipe in args.only:
        runs = []
        for metrics in measure(recipe, args.seeds, args.experts):
            runs.append(metrics)
            interval = f"{metrics['eval/return_ci_low']:.1f} .. {metrics['eval/return_ci_high']:.1f}"
            table.add_row(
                *(recipe, str(metrics["seed"]), f"{metrics['eval/return_mean']:.1f}", interval),
                *(f"{metrics['eval/expert_return_mean']:.1f}", f"{metrics['eval/random_return_mean']:.1f}"),
                *(
                    f"{metrics['eval/normalised']:.3f}",
                    f"{metrics['eval/success_rate']:.2f}" if "eval/success_rate" in metrics else "",
                    f"{metrics['budget/expert_labels']:,.0f}",
                    f"{metrics['budget/wall_s']:.0f}",
                ),
            )
        metric, bar = BARS[recipe]
        values = [run[metric] for run in runs]
        results[recipe] = {"metric": metric, "bar": bar, "mean": float(np.mean(values)), "values": values, "runs": runs}
        results[recipe]["reached"] = bool(np.mean(values) >= bar)
    Console().print(table)
    print("| recipe | labels | return | expert | normalised (95 % interval) | seeds |\n|---|---|---|---|---|---|")
    print("\n".join(row(recipe, result["runs"]) for recipe, result in results.items()))
    for recipe, result in results.items():
        word = "reached" if result["reached"] else "MISSED"
        Console().print(f"{recipe}: {result['metric']} {result['mean']:.3f} (at least {result['bar']}): {word}")
    write_result(args.out, {"machine": machine(), "results": results})
    sys.exit(0 if all(result["reached"] for result in results.values()) else 1)


if __name__ == "__main__":
    main()
