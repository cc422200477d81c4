"""Imitation by interaction: score against the learner's steps, over seeds, with cloning at equal demonstrations beside it.

    python benchmarks/inverse_rl.py [--recipes cartpole-sqil ...] [--seeds 0 1 2 3 4] [--experts FOLDER] [--set KEY=VALUE ...]
                                    [--keep FOLDER]
    python benchmarks/inverse_rl.py --peers --environments FOLDER [--seeds 0 1 2 3 4] [--peer-steps 200000]
    python benchmarks/inverse_rl.py --table

Each run is a process of its own, `distil train RECIPE`, one at a time and with one thread; its CPU-seconds are those of the
whole process, evaluation included. A seed changes demonstrations, start weights and the learner's episodes. The curve is the
score on the tuning episodes that the recipe asks for while it learns; the last score is that of 50 held-out episodes, which are
the same for all runs. 0 is a random policy, 1 the expert. A run ends with that policy whose states were nearest to the
demonstrations' on the tuning episodes; their steps are counted apart ("of tuning"), and "last look" has the last policy's
scores on them. The rows of cloning train on the same demonstrations, with the settings of the environment's own recipe of it.

--peers runs imitation's GAIL, AIRL and SQIL (1.0.1) on CartPole, in an environment of their own below FOLDER, with the same
demonstrations and held-out episodes, the settings of its documentation, and no limit on the length of episodes other than
CartPole's. FOLDER of --experts holds the Stable-Baselines3 experts as <algo>-<env>/<env>.zip.

Settings were chosen with root seeds from 10 on, on tuning episodes. Every run is added to the file as soon as it ends, with its
seed and the commit of the code, so long runs can be measured one by one; with --keep, a run that was interrupted goes on where
it was when the same command is started again. Writes inverse_rl.json and .png to benchmarks/results.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from common import machine, write_result
from inverse_rl_peers import PEERS, peer_run

from distil import open_run
from distil.plans import RoundReport
from distil.report import Curve, plot_curves
from distil.stats import mean_interval

RESULTS = Path(__file__).parent / "results" / "inverse_rl.json"
HELD_OUT = 50  # episodes
EXPERTS = {"hopper": "trpo-Hopper-v3/Hopper-v3.zip", "halfcheetah": "tqc-HalfCheetah-v3/HalfCheetah-v3.zip"}
CLONES = {"cartpole": "cartpole-bc", "pendulum": "pendulum-scripted-bc", "hopper": "hopper-bc", "halfcheetah": "halfcheetah-bc"}
USUAL = (
    *("cartpole-sqil", "cartpole-iq", "cartpole-ls-iq", "cartpole-gail", "cartpole-airl"),
    *("cartpole-fixed-ls-iq", "cartpole-fixed-gail", "pendulum-sqil", "pendulum-dac"),
)
SHOWN = (*USUAL[:5], "imitation gail", "imitation airl", "imitation sqil")  # of the plot


def run(recipe: str, overrides: Mapping[str, str], keep: Path | None = None) -> dict[str, Any]:
    """Train a recipe in a process of its own; return its curve, its last score and what it cost.

    Args:
        recipe: its name.
        overrides: its seed and other settings.
        keep: folder of the run, which is continued if it is there; None: one that is removed.

    Raises:
        subprocess.CalledProcessError: it failed; its last lines are shown.
    """
    with tempfile.TemporaryDirectory() as passing:
        folder = keep or Path(passing)
        folder.mkdir(parents=True, exist_ok=True)
        if Path(folder, "runs", "it").exists():
            command = [sys.executable, "-m", "distil", "train", f"{folder}/runs/it", "--resume"]
        else:
            words = [f"{key}={value}" for key, value in overrides.items()]
            words += [
                f"runs={folder}/runs",
                f"data.path={folder}/data",
                "tracking.enabled=false",
                f"evaluation.episodes={HELD_OUT}",
            ]
            command = [sys.executable, "-m", "distil", "train", recipe, *words, "--run", "it"]
        cpu_s = spent_in(command, Path(folder, "cpu_s"))
        return summary(open_run(Path(folder, "runs", "it")).reports) | {"cpu_s": round(cpu_s, 1)}


def spent_in(command: Sequence[str], tally: Path) -> float:
    """Run a command; return its CPU-seconds and those of earlier parts of its run, which `tally` holds.

    Raises:
        subprocess.CalledProcessError: it failed; its last lines are shown.
    """
    earlier = float(tally.read_text()) if tally.exists() else 0.0
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    try:
        done = subprocess.run(command, env=os.environ | {"OMP_NUM_THREADS": "1"}, capture_output=True, text=True, check=False)
    finally:
        after = resource.getrusage(resource.RUSAGE_CHILDREN)
        cpu_s = earlier + after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
        tally.write_text(f"{cpu_s:.1f}")
    if done.returncode:
        print("\n".join((done.stdout + done.stderr).splitlines()[-5:]), file=sys.stderr)
        done.check_returncode()
    return cpu_s


def summary(reports: Sequence[RoundReport]) -> dict[str, Any]:
    """Return the curve and the end of a run from its reports."""
    curve = [
        [report.spent.agent_steps, round(report.metrics["tune/normalised"], 4)]
        for report in reports
        if "tune/normalised" in report.metrics
    ]
    last, spent, chosen = reports[-1].metrics, reports[-1].spent, reports[-1].chosen
    held_out_steps = round(last["eval/episode_length"] * HELD_OUT)
    return {
        "score": round(last["eval/normalised"], 4),
        "return": last["eval/return_mean"],
        "demonstrations": spent.demonstrations,
        "env_steps": spent.agent_steps,
        "chosen_at": (reports[-1] if chosen is None else reports[chosen]).spent.agent_steps,
        "tuning_steps": spent.evaluation_steps - held_out_steps,
        "gradient_steps": spent.gradient_steps,
        "curve": curve,
    }


def settings(recipe: str, seed: int, experts: Path | None, more: Sequence[str]) -> dict[str, str]:
    """Return the overrides of one run."""
    found = {"seed": str(seed)} | dict(word.split("=", 1) for word in more)
    path = EXPERTS.get(recipe.partition("-")[0])
    if path is not None:
        assert experts is not None, f"{recipe} needs --experts"
        found["expert.path"] = str(experts / path)
    return found


def clone_name(recipe: str, num_demonstrations: int) -> str | None:
    """Return the row of cloning with as many demonstrations, `RECIPE NUMBER`; None: there is none for its environment."""
    found = CLONES.get(recipe.partition("-")[0])
    return None if found is None else f"{found} {num_demonstrations}"


def measure(recipe: str, seed: int, args: argparse.Namespace) -> None:
    """Run a recipe with a seed, and cloning on the same demonstrations unless the file has it; add both to the file."""
    name = args.name or recipe
    keep = args.keep and args.keep.absolute() / f"{name}-{seed}".replace(" ", "-")
    add(args.out, name, seed, found := run(recipe, settings(recipe, seed, args.experts, args.set), keep))
    print(
        f"{name} seed {seed}: {found['score']:.3f} after {found['env_steps']:,} steps, {found['cpu_s']:.0f} CPU-s", flush=True
    )
    clone = clone_name(recipe, found["demonstrations"])
    if clone is not None and str(seed) not in read(args.out).get(clone, {}):
        words = [f"data.episodes={found['demonstrations']}"]
        add(args.out, clone, seed, run(clone.split()[0], settings(clone, seed, args.experts, words)))


def read(path: Path) -> dict[str, dict[str, Any]]:
    """Return what a file holds: row -> seed -> result."""
    found: dict[str, dict[str, Any]] = json.loads(path.read_text())["results"] if path.exists() else {}
    return found


def add(path: Path, name: str, seed: int, result: Mapping[str, Any]) -> None:
    """Add a result to a file, with the commit that gave it."""
    results = read(path)
    results.setdefault(name, {})[str(seed)] = {**result, "commit": commit()}
    write_result(path, {"machine": machine(), "results": results})


def commit() -> str:
    """Return the commit of the code; with a plus sign if files differ from it."""
    done = subprocess.run(
        ["git", "describe", "--always", "--dirty=+"], cwd=Path(__file__).parent, capture_output=True, text=True, check=False
    )
    return done.stdout.strip() or "unknown"


def table(results: Mapping[str, Mapping[str, Mapping[str, Any]]]) -> str:
    """Return the table of all rows: over the seeds, means, the 95 % interval, each seed's score."""
    heads = "run", "demonstrations", "steps", "of tuning", "score (95 % interval)", "seeds", "last look", "CPU-s"
    lines = [f"| {' | '.join(heads)} |", "|---" * len(heads) + "|"]
    for name, by_seed in results.items():
        runs = [by_seed[seed] for seed in sorted(by_seed, key=int)]
        scores = [run["score"] for run in runs]
        found = mean_interval(scores)
        spread = f" ({found[0]:.2f} to {found[1]:.2f})" if found else ""
        steps, cpu_s = (float(np.mean([run[key] for run in runs])) for key in ("env_steps", "cpu_s"))
        tuning = float(np.mean([run.get("tuning_steps", 0) for run in runs]))
        newest = [run["curve"][-1][1] for run in runs if run.get("curve")]
        cells = [name, str(runs[0]["demonstrations"]), f"{steps:,.0f}", f"{tuning:,.0f}", f"{np.mean(scores):.2f}{spread}"]
        cells += [", ".join(f"{score:.2f}" for score in found) for found in (scores, newest)]
        lines.append(f"| {' | '.join([*cells, f'{cpu_s:.0f}'])} |")
    return "\n".join(lines)


def curve(runs: Sequence[Mapping[str, Any]]) -> Curve:
    """Return the mean of the runs' scores on the way, look by look up to the last one that all have, with 95 % intervals."""
    looks = list(zip(*(run["curve"] for run in runs), strict=False))
    means = [float(np.mean([score for _, score in look])) for look in looks]
    spreads = [mean_interval([score for _, score in look]) or (mean, mean) for look, mean in zip(looks, means, strict=True)]
    steps = [float(np.mean([num for num, _ in look])) for look in looks]
    return Curve(x=steps, y=means, low=[low for low, _ in spreads], high=[high for _, high in spreads])


def plot(results: Mapping[str, Mapping[str, Mapping[str, Any]]], path: Path) -> None:
    """Draw the scores on CartPole against the learner's steps."""
    curves = {name: curve(list(results[name].values())) for name in SHOWN if name in results}
    if curves:
        plot_curves(
            curves,
            path,
            xlabel="the learner's steps",
            ylabel="score",
            title="CartPole from five demonstrations",
            subtitle="0: a random policy, 1: the expert; 95 % intervals. On tuning episodes, imitation's on the held-out ones",
        )


def main() -> None:
    """Measure what is asked for, print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--recipes", nargs="*", default=list(USUAL))
    parser.add_argument("--seeds", nargs="*", type=int, default=[0, 1, 2, 3, 4])
    parser.add_argument("--experts", type=Path)
    parser.add_argument("--set", nargs="*", default=[], metavar="KEY=VALUE", help="overrides; give the row a --name with them")
    parser.add_argument("--name", help="of the row, in place of the recipe's")
    parser.add_argument("--keep", type=Path, help="keep the runs in this folder, and continue those that are there")
    parser.add_argument("--peers", nargs="*", choices=list(PEERS), help="run imitation's algorithms instead; none named: all")
    parser.add_argument("--peer-steps", type=int, default=200_000)
    parser.add_argument("--environments", type=Path, help="folder of the environment of imitation, made if it is missing")
    parser.add_argument("--out", type=Path, default=RESULTS)
    parser.add_argument("--table", action="store_true", help="only print the table")
    args = parser.parse_args()
    if args.peers is not None and args.environments is None:
        parser.error("--peers needs --environments FOLDER")
    for seed in [] if args.table else args.seeds:
        if args.peers is None:
            for recipe in args.recipes:
                measure(recipe, seed, args)
        else:
            for peer in args.peers or PEERS:
                add(args.out, f"imitation {peer}", seed, peer_run(peer, seed, args.peer_steps, args.environments))
    print(table(results := read(args.out)))
    plot(results, args.out.with_suffix(".png"))


if __name__ == "__main__":
    main()
