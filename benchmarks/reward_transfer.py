"""A learned reward carried to other dynamics: `distil reward transfer` over seeds, beside what else could be carried over.

    python benchmarks/reward_transfer.py [--tasks grid maze] [--seeds 0 1 2 3 4] [--keep FOLDER]
    python benchmarks/reward_transfer.py --table

A seed has its own demonstrations and start weights. Rewards are learned where the gap is on the left, and used where it is on
the right; held-out episodes are the same for all. In the grid (recipe gridworld-mce-irl), planning replaces reinforcement
learning; its rewards are tables of states, and of states and actions. In the maze (pointmaze-airl), the reward is that of the
policy that the run ends with: the one whose states on the tuning episodes were the nearest to the demonstrations', which no
reward enters. On each reward three policies are trained, and the one counts whose return on the tuning episodes is the highest
by that same reward; so it is with the true one. These rules were fixed on seeds from 10. 0 is a random policy, 1 the better of
the expert and of reinforcement learning on the true reward.

With --keep, runs that are there are not repeated. Writes benchmarks/results/reward_transfer.json.
"""

from __future__ import annotations

import argparse
import json
import tempfile
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from common import machine, write_result
from inverse_rl import commit

import distil
from distil.stats import mean_interval
from distil.transfer.transfer import transfer

RESULTS = Path(__file__).parent / "results" / "reward_transfer.json"
TASKS: Mapping[str, Mapping[str, Any]] = {  # row -> recipe, settings, recipe of reinforcement learning, trainings each
    "grid, state": {"recipe": "gridworld-mce-irl", "set": {"algorithm.reward.sees": "state"}, "rl": None},
    "grid, state and action": {"recipe": "gridworld-mce-irl", "set": {"algorithm.reward.sees": "state_action"}, "rl": None},
    "maze, state": {"recipe": "pointmaze-airl", "set": {}, "rl": "pointmaze-sac", "restarts": 3},
}
QUIET = {"tracking.enabled": False, "rollouts.num_workers": 0, "evaluation.episodes": 50}


def measure(row: str, seeds: list[int], folder: Path) -> dict[str, Any]:
    """Learn a reward with each seed, and carry all of them over; return the scores of each policy."""
    task, runs, start_s = TASKS[row], list[Path](), time.process_time()
    restarts = task.get("restarts", 1)
    for seed in seeds:
        name = f"{row.replace(', ', '-').replace(' ', '-')}-{seed}"
        own = {"seed": seed, "data.path": str(folder / f"data-{task['recipe']}-{seed}"), "runs": str(folder / "runs")}
        runs.append(distil.train(task["recipe"], {**QUIET, **task["set"], **own}, resume=True, run=name).path)
    changes = {"env.kwargs.gap": "right", "tracking.enabled": False, "rollouts.num_workers": 0}
    found = transfer(runs, changes, out=folder / f"transfer-{row}", recipe=task["rl"], restarts=restarts)
    scores = {score.name: score for score in found.scores}
    low, high = scores["random"].mean, max(score.mean for score in found.scores)
    return {
        "seeds": seeds,
        "restarts": restarts,
        "normalised": {
            name: [round((value - low) / (high - low), 4) for value in score.runs or (score.mean,)]
            for name, score in scores.items()
        },
        "returns": {name: list(score.runs or (score.mean,)) for name, score in scores.items()},
        "cpu_s": round(time.process_time() - start_s, 1),
        "notes": list(found.notes),
        "commit": commit(),
    }


def table(results: Mapping[str, Mapping[str, Any]]) -> str:
    """Return the table: means over the seeds, and 95 % intervals."""
    names = list(next(iter(results.values()))["normalised"])
    lines = [f"| reward | seeds | {' | '.join(names)} |", "|---" * (2 + len(names)) + "|"]
    for row, found in results.items():
        cells = [row, str(len(found["seeds"]))]
        for name in names:
            values = found["normalised"].get(name, [])
            spread = mean_interval(values) if len(values) > 1 else None
            text = f"{sum(values) / len(values):.2f}" if values else ""
            cells.append(text if spread is None else f"{text} ({spread[0]:.2f} to {spread[1]:.2f})")
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines)


def main() -> None:
    """Measure, write the JSON, print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--tasks", nargs="*", choices=["grid", "maze"], default=["grid", "maze"])
    parser.add_argument("--seeds", nargs="*", type=int, default=[0, 1, 2, 3, 4])
    parser.add_argument("--keep", type=Path, help="keep the runs in this folder, and continue those that are there")
    parser.add_argument("--out", type=Path, default=RESULTS)
    parser.add_argument("--table", action="store_true", help="only print the table of the file")
    args = parser.parse_args()
    results = json.loads(args.out.read_text())["results"] if args.out.exists() else {}
    if not args.table:
        torch.set_num_threads(1)
        with tempfile.TemporaryDirectory() as passing:
            for row in [row for row in TASKS if row.split(",")[0] in args.tasks]:
                results[row] = measure(row, args.seeds, (args.keep or Path(passing)).absolute())
                write_result(args.out, {"machine": machine(), "results": results})
    print(table(results))


if __name__ == "__main__":
    main()
