"""What a job costs: `distil submit` to the first collected episode, and a submitted run against the same run started locally.

A Ray cluster is started on this machine first, and kept: all runs use it. Runs alternate, each with folders of its own.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import time
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from common import machine, write_result

RECIPE = ["pendulum-scripted-bc", "evaluation.episodes=20", "rollouts.num_workers=2", "data.episodes=100"]
POLL_S = 0.02


def timed(words: list[str], folder: Path, store: Path, environment: dict[str, str]) -> tuple[float, float]:
    """Run a command; return the seconds to its end, and to the first file of the store's data."""
    started, first = time.perf_counter(), 0.0
    with subprocess.Popen(words, cwd=folder, env=environment, stdout=subprocess.DEVNULL) as process:
        while process.poll() is None:
            if not first and any(store.glob("data/*") if store.is_dir() else ()):
                first = time.perf_counter() - started
            time.sleep(POLL_S)
    if process.returncode:
        raise SystemExit(f"{' '.join(words)} failed")
    return time.perf_counter() - started, first


def measure(root: Path, gcs: str, dashboard: str, steps: int) -> dict[str, float]:
    """Run the recipe locally on the cluster and as a job; return the seconds."""
    folder = root / "project"
    folder.mkdir()
    distil, found = [sys.executable, "-m", "distil"], {}
    environment = {**os.environ, "RAY_ADDRESS": gcs}
    job = {key: value for key, value in os.environ.items() if key != "RAY_ADDRESS"}
    for name in ("local", "job"):
        home = root / name
        words = ["train", *RECIPE, f"learner.num_steps={steps}", f"data.path={home}/demos", f"runs={home}/runs"]
        words.append(f"tracking.uri=sqlite:///{home}/mlflow.db")
        home.mkdir()
        submit = [*distil, "submit", "--address", dashboard, "--python", sys.executable, "--", *words]
        is_local = name == "local"
        end, first = timed([*distil, *words] if is_local else submit, folder, home / "demos", environment if is_local else job)
        found |= {f"{name}_s": end, f"{name}_first_step_s": first}
        print(f"{name}: {end:.1f} s, first episode after {first:.1f} s", flush=True)
    return found


def main() -> None:
    """Measure, and write the result."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--steps", type=int, default=20_000, help="gradient steps of a run")
    parser.add_argument("--out", type=Path, default=Path(__file__).parent / "results/jobs.json")
    arguments = parser.parse_args()
    import ray

    with TemporaryDirectory(prefix="d", dir="/tmp") as folder:
        context: Any = ray.init(address="local", num_cpus=4, _temp_dir=f"{folder}/ray", log_to_driver=False)
        address, dashboard = context.address_info["gcs_address"], f"http://{context.dashboard_url}"
        rows = []
        for repeat in range(arguments.repeats + 1):  # the first one warms the cluster
            root = Path(folder) / str(repeat)
            root.mkdir()
            rows.append(measure(root, address, dashboard, arguments.steps))
        ray.shutdown()
    rows = rows[1:]
    mean = {key: sum(row[key] for row in rows) / len(rows) for key in rows[0]}
    allowed_s = 0.05 * mean["local_s"] + 10
    result = {"machine": machine(), "steps": arguments.steps, "runs": rows, "mean": mean}
    result |= {"overhead_s": mean["job_s"] - mean["local_s"], "allowed_overhead_s": allowed_s}
    write_result(arguments.out, result)
    print(f"overhead {result['overhead_s']:.1f} s of {allowed_s:.1f} s")
    print(f"first episode after {mean['job_first_step_s']:.1f} s of 30 s")


if __name__ == "__main__":
    main()
