"""Sweeps: what Ray Tune costs, what two cores gain, the shipped sweep from end to end, and a driver that is killed.

    python benchmarks/sweep.py [--only overhead speed whole kills]

overhead: the CPU-seconds of the same trials on Ray Tune, one at a time, over those of a loop in one process. speed: the wall
time of 16 cloning trials one after another over that of two at a time. whole: the shipped sweep of Pendulum, its time, its
ranking, and the winner's policies on 200 fresh episodes. kills: a small sweep whose driver gets ten SIGKILLs, the first one as
soon as a trial is past its last rung, the others at random moments, compared with an undisturbed one: which trials ended and
how, each trial's steps, and what the store holds.

CPU-seconds include Ray's processes. Linux only.
Writes benchmarks/results/sweep.json.
"""

from __future__ import annotations

import argparse
import ctypes
import json
import os
import random
import signal
import subprocess
import sys
import tempfile
import time
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
import psutil
from common import machine, write_result

RESULTS = Path(__file__).parent / "results" / "sweep.json"
LONG = {"learner.num_steps": 55000, "tracking.enabled": False}  # about 30 seconds a trial
_SUBREAPER = 36  # PR_SET_CHILD_SUBREAPER of <linux/prctl.h>
PARTS = ("overhead", "speed", "whole", "kills")
NUM_KILLS = 10


def child(code: str, folder: Path, **keys: Any) -> tuple[float, float]:
    """Run code in a process of its own, with `keys` as `settings`; return wall time, and CPU-seconds of all that it starts."""
    assert ctypes.CDLL(None).prctl(_SUBREAPER, 1) == 0  # orphans become children of this process
    words = [sys.executable, "-c", f"import json; settings = json.loads({json.dumps(keys)!r})\n{code}"]
    started, used = time.perf_counter(), dict[tuple[int, float], float]()
    with subprocess.Popen(words, cwd=folder, env=os.environ | {"OMP_NUM_THREADS": "1"}, stdout=subprocess.DEVNULL) as process:
        wall_s = None
        while running := psutil.Process().children(recursive=True):
            for one in running:
                with suppress(psutil.Error):
                    times = one.cpu_times()
                    used[one.pid, one.create_time()] = times.user + times.system
            if wall_s is None and process.poll() is not None:
                wall_s = time.perf_counter() - started
            for one in running:
                with suppress(psutil.Error, ChildProcessError):
                    if one.pid != process.pid and one.ppid() == os.getpid():
                        os.waitpid(one.pid, os.WNOHANG)
            time.sleep(0.1)  # Ray's node does not wait for its processes: the system forgets their times when they end
    assert process.returncode == 0, process.returncode
    return wall_s or time.perf_counter() - started, sum(used.values())


SWEEP = """
from distil.sweep.config import load_sweep
from distil.sweep.sweep import run_sweep
run_sweep(load_sweep("pendulum", settings))
"""
LOOP = """
from pathlib import Path
from distil.config import public
from distil.session import Session
from distil.sweep.config import load_sweep
from distil.sweep.families import families, trial_config
from distil.sweep.search import num_trials, propose
from distil.sweep.prepare import share
from distil.sweep.trial import Work, carry_out
sweep = load_sweep("pendulum", settings)
family = families(sweep)[0]
with Session(family.config) as session:
    granted = share(sweep, [family], session, sweep.seed).granted["bc"]
Path("trials").mkdir()
for number in range(num_trials(sweep, family.space)):
    values = propose(sweep, "bc", family.space, number, [])
    config = trial_config(sweep, family.config, values, where="trial", more=dict(granted))
    where = {"name": "t", "folder": f"trials/{number}", "parent": ""}
    carry_out(Work(config=public(config), metric="tune/normalised", sign=1.0, **where), print)
"""


def cloning(num: int, **keys: Any) -> dict[str, Any]:
    """Return the settings of a sweep of cloning alone, without confirmations."""
    return {"families": {"bc": {}}, "searcher.trials": num, "scheduler.kind": "none", "confirm.best": 0, "set": LONG, **keys}


def overhead() -> dict[str, Any]:
    """Compare trials on Ray Tune with the same ones in a loop."""
    num = 6
    with tempfile.TemporaryDirectory() as one, tempfile.TemporaryDirectory() as other:
        _, loop_s = child(LOOP, Path(one), **cloning(num))
        _, tune_s = child(SWEEP, Path(other), **cloning(num, concurrent=1))
    return {"trials": num, "loop_cpu_s": loop_s, "tune_cpu_s": tune_s, "overhead": tune_s / loop_s - 1}


def speed() -> dict[str, Any]:
    """Compare two trials at a time with one at a time."""
    walls = {}
    for concurrent in (1, 2):
        with tempfile.TemporaryDirectory() as folder:
            walls[concurrent], _ = child(SWEEP, Path(folder), **cloning(16, concurrent=concurrent))
    return {"trials": 16, "one_s": walls[1], "two_s": walls[2], "ratio": walls[1] / walls[2]}


def whole() -> dict[str, Any]:
    """Run the shipped sweep; score the winner's policies on fresh episodes."""
    import distil
    from distil.policies.predict import Predictor
    from distil.seeding import Purpose
    from distil.session import Session

    with tempfile.TemporaryDirectory() as folder:
        wall_s, cpu_s = child(SWEEP, Path(folder), runs=folder, set={"tracking.enabled": False})
        found = json.loads((Path(folder) / "pendulum" / "results.json").read_text())
        winner, fresh = found["confirmed"][0], list[float]()
        config = distil.open_run(winner["runs"][0]).config
        with Session(config) as session:
            baselines = session.baselines(200, Purpose.TUNE)
            assert baselines is not None
            for path in winner["runs"]:
                policy: Predictor = distil.open_run(path).policy()
                result = session.evaluate("policy", 200, policy.ref, Purpose.TUNE)
                fresh.append(float(baselines.normalise(result.mean) or np.nan))
    low, high = winner["interval"]
    return {
        "wall_s": wall_s,
        "cpu_s": cpu_s,
        "verdict": found["verdict"],
        "confirmed": [
            {key: one[key] for key in ("trial", "values", "mean", "interval", "scores", "searched")}
            for one in found["confirmed"]
        ],
        "trials": [{key: one[key] for key in ("name", "score", "ended")} for one in found["trials"]],
        "fresh": fresh,
        "fresh_mean": float(np.mean(fresh)),
        "fresh_is_in_the_interval": bool(low <= np.mean(fresh) <= high),
    }


def kills() -> dict[str, Any]:
    """Kill a sweep's driver past a trial's last rung and at random moments; compare the end with that of an undisturbed one."""
    keys = {"searcher.trials": 4, "confirm.best": 0, "budget.steps": 5000, "concurrent": 1, "set": {"tracking.enabled": False}}
    rng, folders = random.Random(0), [tempfile.mkdtemp(), tempfile.mkdtemp()]
    undisturbed_s, _ = child(SWEEP, Path(folders[0]), **keys)
    command = [sys.executable, "-m", "distil", "sweep", "pendulum", *(f"{k}={json.dumps(v)}" for k, v in keys.items())]
    num, quiet = 0, {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
    for attempt in range(100):
        resume = ["--resume"] if attempt else []
        with subprocess.Popen([*command, *resume], cwd=folders[1], **quiet) as driver:
            try:
                if num == 0:
                    wait_for_last_rung(driver, Path(folders[1]) / "runs" / "pendulum")
                wait = None if num == NUM_KILLS else rng.uniform(10, 10 + undisturbed_s / 3)
                driver.wait(wait if num else 0)
                if driver.returncode == 0:
                    break
                raise SystemExit(f"the sweep failed with code {driver.returncode}")
            except subprocess.TimeoutExpired:
                driver.send_signal(signal.SIGKILL)
                num += 1
    return {"kills": num, "undisturbed_s": undisturbed_s} | compare(*(Path(folder) / "runs" / "pendulum" for folder in folders))


def wait_for_last_rung(driver: subprocess.Popen[bytes], folder: Path) -> None:
    """Wait until a trial is past its last rung and before its end, or the driver has ended."""
    from distil.sweep.state import SweepDir
    from distil.sweep.stopping import rungs

    while driver.poll() is None:
        state = SweepDir(folder)  # its journal is read once
        trials = state.trials().values() if state.is_sweep else ()
        reached = [trial.looks[-1]["fraction"] for trial in trials if trial.ended is None and trial.looks]
        if reached and max(rungs(state.config.scheduler)) <= max(reached) < 1:
            return
        time.sleep(0.02)


def compare(undisturbed: Path, killed: Path) -> dict[str, Any]:
    """Return what must be equal, and whether it is."""
    from distil.rundir import RunDir
    from distil.store import Store
    from distil.sweep.state import SweepDir

    states = [SweepDir(path) for path in (undisturbed, killed)]
    ends = [[(t.name, t.values, t.score, t.ended) for t in state.trials().values()] for state in states]
    named = [line["trial"] for line in states[1].journal.entries("ended")]
    steps = [
        {
            t.name: RunDir(state.path / t.folder).reports()[-1].spent.gradient_steps
            for t in state.trials().values()
            if t.ended == "done"
        }
        for state in states
    ]
    uids = Store.open(killed / "demos").snapshot().episodes.uid.tolist()
    return {
        "trials": len(ends[0]),
        "same_ends_and_scores": ends[0] == ends[1],
        "each_ended_once": sorted(named) == sorted({*named}),
        "same_gradient_steps": steps[0] == steps[1],
        "no_episode_twice": len(uids) == len(set(uids)),
    }


def main() -> None:
    """Measure what is asked for."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", nargs="*", choices=PARTS, default=list(PARTS))
    parser.add_argument("--out", type=Path, default=RESULTS)
    args = parser.parse_args()
    for name in args.only:
        results = json.loads(args.out.read_text())["results"] if args.out.exists() else {}
        results[name] = globals()[name]()
        print(name, json.dumps(results[name], indent=1), flush=True)
        write_result(args.out, {"machine": machine(), "results": results})


if __name__ == "__main__":
    main()
