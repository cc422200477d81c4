"""A tracking server that is away for a whole run: the run's time over that of the same run without tracking.

    python benchmarks/tracking.py [--pairs 5] [--steps 60000]

The run is `distil train pendulum-scripted-bc` in one process, as a whole, imports included. It is timed without tracking, with
a server whose port is closed ("away"), and with one that takes connections and never answers ("silent"), in turn. What is left
in the outbox, to be sent later, is counted. Nothing else may run on the machine meanwhile. Writes
benchmarks/results/tracking.json.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import socket
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
from common import machine, write_result

from distil.stats import mean_interval
from distil.tracking.outbox import Outbox

RESULTS = Path(__file__).parent / "results" / "tracking.json"
MODES = ("off", "away", "silent")


def timed(settings: list[str], steps: int) -> dict[str, Any]:
    """Run once; return seconds of wall time and of CPU time, and the number of records that are left in the outbox."""
    fixed = ["rollouts.num_workers=0", f"learner.num_steps={steps}", "evaluation.episodes=10"]
    with tempfile.TemporaryDirectory() as folder:
        before, started = resource.getrusage(resource.RUSAGE_CHILDREN), time.perf_counter()
        subprocess.run(
            [sys.executable, "-m", "distil", "train", "pendulum-scripted-bc", *fixed, *settings],
            cwd=folder,
            env=os.environ | {"OMP_NUM_THREADS": "1"},
            capture_output=True,
            check=True,
        )
        wall_s, after = time.perf_counter() - started, resource.getrusage(resource.RUSAGE_CHILDREN)
        (config,) = Path(folder).glob("runs/*/config.yaml")
        outbox = Outbox(config.parent)
        left = outbox.left() if outbox.path.exists() else 0
    cpu_s = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    return {"wall_s": wall_s, "cpu_s": cpu_s, "left": left}


def main() -> None:
    """Time the runs in turn; write the ratios."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--pairs", type=int, default=5)
    parser.add_argument("--steps", type=int, default=60_000)
    parser.add_argument("--out", type=Path, default=RESULTS)
    args = parser.parse_args()
    with socket.socket() as closed, socket.socket() as silent:
        closed.bind(("127.0.0.1", 0))  # it does not listen
        silent.bind(("127.0.0.1", 0))
        silent.listen(128)
        ports = {"away": closed.getsockname()[1], "silent": silent.getsockname()[1]}
        settings = {mode: [f"tracking.uri=http://127.0.0.1:{port}"] for mode, port in ports.items()}
        settings["off"] = ["tracking.enabled=false"]
        timed(settings["off"], 100)  # files are read for the first time
        runs: dict[str, list[dict[str, Any]]] = {mode: [] for mode in MODES}
        for number in range(args.pairs):
            for mode in MODES[number % 3 :] + MODES[: number % 3]:
                runs[mode].append(timed(settings[mode], args.steps))
                print(mode, json.dumps(runs[mode][-1]), flush=True)
    results: dict[str, Any] = {"runs": runs}
    for mode in MODES[1:]:
        for key in ("wall_s", "cpu_s"):
            ratios = np.array([one[key] / off[key] for one, off in zip(runs[mode], runs["off"], strict=True)])
            results[f"{mode}_{key}_over_off"] = [float(ratios.mean()), *(mean_interval(ratios) or ())]
    print(json.dumps({key: value for key, value in results.items() if key != "runs"}, indent=1))
    write_result(args.out, {"machine": machine(), "results": results})


if __name__ == "__main__":
    main()
