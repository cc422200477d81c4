"""What a job costs: `distil submit` to the first collected episode, and a submitted run against the same run started locally.

A Ray cluster is started on this machine first, and kept: all runs use it. Runs alternate, each with folders of its own.
"""

from __future__ import annotations

import argparse
import os
import secrets
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory

import ray
from common import machine, write_result

RECIPE = ["pendulum-scripted-bc", "evaluation.episodes=20", "rollouts.num_workers=2", "data.episodes=100"]
POLL_S = 0.02
DISTIL = [sys.executable, "-m", "distil"]


def timed(words: list[str], folder: Path, store: Path, environment: dict[str, str]) -> tuple[float, float]:
    """Run a command; return the seconds to its end, and to the first file of the store's data."""
    started, first = time.perf_counter(), 0.0
    output = folder / "output"
    with output.open("w") as file, subprocess.Popen(words, cwd=folder, env=environment, stdout=file, stderr=file) as process:
        while process.poll() is None:
            if not first and any(store.glob("data/*") if store.is_dir() else ()):
                first = time.perf_counter() - started
            time.sleep(POLL_S)
    if process.returncode:
        raise SystemExit(f"{' '.join(words)} failed:\n{output.read_text()}")
    return time.perf_counter() - started, first


@contextmanager
def cluster(folder: Path) -> Iterator[tuple[str, str]]:
    """Start a Ray cluster with `ray start`; yield its address and its dashboard's URL.

    A cluster of `ray.init` would not do: on a machine with several, Ray gives its jobs the address of any of them.
    """
    ports = [free_port() for _ in range(3)]
    names = ("port", "dashboard-port", "dashboard-agent-listen-port")
    options = [f"--{name}={port}" for name, port in zip(names, ports, strict=True)]
    command = [
        str(Path(sys.executable).with_name("ray")),
        *("start", "--head", "--block", "--num-cpus=4", "--disable-usage-stats"),
    ]
    host, url = ray.util.get_node_ip_address(), f"http://127.0.0.1:{ports[1]}"
    head = subprocess.Popen([*command, *options, f"--temp-dir={folder}"], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        while subprocess.run([*DISTIL, "submit", "list", "--address", url], capture_output=True).returncode:
            time.sleep(1)
        yield f"{host}:{ports[0]}", url
    finally:
        head.terminate()
        head.wait()


def free_port() -> int:
    """Return a port that nothing listens at."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        return int(server.getsockname()[1])


def measure(root: Path, gcs: str, dashboard: str, steps: int) -> dict[str, float]:
    """Run the recipe locally on the cluster and as a job; return the seconds."""
    folder = root / "project"
    folder.mkdir()
    found: dict[str, float] = {}
    for name in ("local", "job"):
        home = root / name
        words = ["train", *RECIPE, f"learner.num_steps={steps}", f"data.path={home}/demos", f"runs={home}/runs"]
        words.append(f"tracking.uri=sqlite:///{home}/mlflow.db")
        home.mkdir()
        submit = [*DISTIL, "submit", "--address", dashboard, "--python", sys.executable, "--", *words]
        is_local = name == "local"
        more = {"RAY_ADDRESS": gcs} if is_local else {}
        end, first = timed([*DISTIL, *words] if is_local else submit, folder, home / "demos", os.environ | more)
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
    os.environ |= {"RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN": secrets.token_hex(16)}
    os.environ.pop("RAY_ADDRESS", None)
    with TemporaryDirectory(prefix="d", dir="/tmp") as folder, cluster(Path(folder) / "ray") as (address, dashboard):
        rows = []
        for repeat in range(arguments.repeats + 1):  # the first one warms the cluster
            root = Path(folder) / str(repeat)
            root.mkdir()
            rows.append(measure(root, address, dashboard, arguments.steps))
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
