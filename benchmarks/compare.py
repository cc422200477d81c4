"""`distil compare` on 100 runs: seconds of the whole command, and bytes of its page.

The runs are made up: 20 methods with 5 seeds each; a run has 20 scores on tuning episodes and one on held-out episodes. They
are read from their folders, and from an MLflow experiment of which the folders are gone.

    python benchmarks/compare.py
"""

from __future__ import annotations

import argparse
import json
import resource
import subprocess
import sys
import tempfile
import time
import warnings
from pathlib import Path
from typing import Any

import numpy as np
from common import machine, write_result

from distil.config import load_recipe, to_yaml, validate
from distil.journal import Journal
from distil.mlflowdb import connect
from distil.recorded import parameters
from distil.runconfig import RunConfig

METHODS, SEEDS, SCORES = 20, 5, 20
RESULTS = Path(__file__).parent / "results" / "compare.json"


def metrics(prefix: str, score: float, labels: int, wall_s: float) -> dict[str, float]:
    """Return the metrics of a report."""
    scores = {"return_mean": score, "return_ci_low": score - 9, "return_ci_high": score + 9, "normalised": score / 500}
    scores |= {"random_return_mean": 0.0, "expert_return_mean": 500.0}
    budget = {"demonstrations": 20, "expert_labels": labels, "env_steps": labels, "gradient_steps": labels, "wall_s": wall_s}
    return {f"{prefix}/{key}": value for key, value in scores.items()} | {
        f"budget/{key}": value for key, value in budget.items()
    }


def run_of(method: int, seed: int) -> tuple[RunConfig, list[dict[str, float]]]:
    """Return a made-up run: its configuration, and its reports."""
    rng = np.random.default_rng((method, seed))
    recipe = load_recipe("cartpole-dagger")
    config = validate(
        RunConfig, {**recipe, "name": f"method-{method}-seed-{seed}", "seed": seed, "data": {"episodes": method + 1}}
    )
    top = 300 + 8 * method + 15 * rng.normal()
    reports = [metrics("tune", top * (1 - 0.8**i) + 9 * rng.normal(), 500 * i, 2.0 * i) for i in range(1, SCORES + 1)]
    return config, [*reports, metrics("eval", top, 500 * SCORES + method, 2.0 * SCORES)]


def write_folder(folder: Path, config: RunConfig, reports: list[dict[str, float]]) -> None:
    """Write a run's folder."""
    folder.mkdir(parents=True)
    (folder / "config.yaml").write_text(to_yaml(config))
    (folder / "versions.json").write_text(json.dumps({"packages": {"distil": "0.1.0"}, "git": {"commit": "0" * 40}}))
    lines = [
        {"kind": "reported", "round": i, "report": {"index": i, "snapshot": 1, "metrics": found}}
        for i, found in enumerate(reports)
    ]
    (folder / "journal.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    (folder / "results.json").write_text(json.dumps(reports[-1]))
    assert len(Journal(folder / "journal.jsonl").entries("reported")) == len(reports)


def record(client: Any, experiment: str, config: RunConfig, reports: list[dict[str, float]]) -> None:
    """Record a run in MLflow."""
    from mlflow.entities import Metric, Param

    run_id = client.create_run(experiment, run_name=config.name).info.run_id
    params = [Param(key, value if isinstance(value, str) else json.dumps(value)) for key, value in parameters(config).items()]
    found = [Metric(key, float(value), 0, int(r["budget/gradient_steps"])) for r in reports for key, value in r.items()]
    client.log_batch(run_id, params=params[:100], metrics=found[:1000])
    client.set_terminated(run_id)


def measure(names: list[str], page: Path) -> dict[str, float]:
    """Run the command; return its seconds, CPU-seconds, and the page's size."""
    before, started = resource.getrusage(resource.RUSAGE_CHILDREN), time.perf_counter()
    command = [sys.executable, "-m", "distil", "compare", *names, "--out", str(page)]
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
    wall_s, after = time.perf_counter() - started, resource.getrusage(resource.RUSAGE_CHILDREN)
    cpu_s = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    return {"wall_s": round(wall_s, 2), "cpu_s": round(cpu_s, 2), "page_bytes": page.stat().st_size}


def main() -> None:
    """Make the runs, measure, print and write the result."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, default=RESULTS)
    args = parser.parse_args()
    warnings.simplefilter("ignore", DeprecationWarning)  # MLflow's own
    with tempfile.TemporaryDirectory() as name:
        root, uri = Path(name), f"sqlite:///{name}/mlflow.db"
        client = connect(uri)
        experiment = client.create_experiment("made-up")
        for method in range(METHODS):
            for seed in range(SEEDS):
                config, reports = run_of(method, seed)
                write_folder(root / "runs" / f"{config.name}-001", config, reports)
                record(client, experiment, config, reports)
        results = {
            "folders": measure([str(root / "runs")], root / "a.html"),
            "mlflow": measure(["made-up", "--uri", uri], root / "b.html"),
        }
    print(json.dumps(results, indent=2))
    write_result(args.out, {"machine": machine(), "runs": METHODS * SEEDS, "results": results})


if __name__ == "__main__":
    main()
