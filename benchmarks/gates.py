"""What gates save and cost: labels, the expert's share of the steps, returns while collecting, scores.

    python benchmarks/gates.py [--demonstrations 10] [--seeds 0 1 2]          about six minutes

LunarLander with the scripted expert, the same rounds and episodes for all, gates with their default thresholds (none was
tuned). Cloning has only the demonstrations of round 0, and equally many gradient steps. Scores are over 50 held-out episodes
per seed. Writes benchmarks/results/gates.json, or the file of --out.
"""

from __future__ import annotations

import argparse
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
from common import machine, write_result
from rich.console import Console
from rich.table import Table

import distil
from distil.store import Store

GATES: dict[str, dict[str, Any]] = {
    "cloning the demonstrations": {"algorithm.rounds": 1, "learner.num_steps": 8 * 1500},
    "none (DAgger)": {},
    "safe": {"algorithm.gate": {"kind": "safe"}},
    "lazy": {"algorithm.gate": {"kind": "lazy"}},
    "ensemble": {"algorithm.gate": {"kind": "ensemble"}, "policy.ensemble": 5},
    "thrifty": {"algorithm.gate": {"kind": "thrifty"}, "policy.ensemble": 5},
}
SETTINGS: dict[str, Any] = {
    "policy.encoder": {"kind": "mlp", "hidden": [128, 128]},
    "algorithm.rounds": 8,
    "algorithm.episodes_per_round": 10,
    "algorithm.stop.expert_labels": None,
    "algorithm.tuning_episodes": 0,
    "learner.num_steps": 1500,
    "evaluation.episodes": 50,
    "rollouts.num_workers": 0,
    "tracking.enabled": False,
}


def measure(gate: dict[str, Any], demonstrations: int, seed: int) -> dict[str, float]:
    """Train with one gate and seed; return its costs and score."""
    with tempfile.TemporaryDirectory() as folder:
        own = {"seed": seed, "data.episodes": demonstrations, "runs": f"{folder}/runs", "data.path": f"{folder}/data"}
        run = distil.train("lunarlander-dagger", SETTINGS | gate | own)
        episodes = Store.open(f"{folder}/data").snapshot().episodes
        figures = {
            "labels": run.metrics["budget/expert_labels"],
            "normalised": run.metrics["eval/normalised"],
            "wall_s": run.metrics["budget/wall_s"],
        }
        later = episodes.round > 0
        if later.any():
            figures |= {
                "labels_after_round_0": float(episodes.num_labelled[later].sum()),
                "flown_by_expert": float(episodes.num_acted_by_expert[later].sum() / episodes.length[later].sum()),
                "return_while_collecting": float(episodes.total_reward[later].mean()),
            }
        return figures


def main() -> None:
    """Measure, print the table, write the JSON."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--demonstrations", type=int, default=10)
    parser.add_argument("--seeds", nargs="*", type=int, default=[0, 1, 2])
    parser.add_argument("--out", type=Path, default=Path(__file__).parent / "results" / "gates.json")
    args = parser.parse_args()
    table = Table("gate", "labels", "expert acts", "collected return", "normalised (seeds)", "seconds")
    results: dict[str, Any] = {}
    for name, gate in GATES.items():
        runs = [{"seed": seed} | measure(gate, args.demonstrations, seed) for seed in args.seeds]
        means = {key: float(np.mean([run[key] for run in runs])) for key in runs[0] if key != "seed"}
        results[name] = {"mean": means, "runs": runs}
        scores = ", ".join(f"{run['normalised']:.2f}" for run in runs)
        has_rounds = "flown_by_expert" in means
        flown = f"{means['flown_by_expert']:.0%}" if has_rounds else ""
        meanwhile = f"{means['return_while_collecting']:.0f}" if has_rounds else ""
        table.add_row(
            *(name, f"{means['labels']:,.0f}", flown, meanwhile),
            *(f"{means['normalised']:.2f} ({scores})", f"{means['wall_s']:.0f}"),
        )
    Console().print(table)
    write_result(args.out, {"machine": machine(), "results": results})


if __name__ == "__main__":
    main()
