"""With a real tracking server that is away, comes back, and is restarted, and with runs that are killed."""

import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from trackingbed import TrackingServer, free_port, history

from distil.tracking.outbox import Outbox
from distil.tracking.sync import sync

RECIPE = [
    "cartpole-bc",
    "rollouts.num_workers=0",
    "data.episodes=2",
    "learner.num_steps=400",
    "evaluation.episodes=2",
]


def train(folder: Path, *more: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "distil", "train", *RECIPE, *more]
    return subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False, timeout=300)


@contextmanager
def server(folder: Path, port: int) -> Iterator[None]:
    """Run MLflow's server on a port, on the database of a folder."""
    with TrackingServer(folder, port) as found:
        found.wait()
        yield


@pytest.mark.slow
def test_a_server_that_is_away_for_a_whole_run_gets_all_of_it_later(tmp_path: Path) -> None:
    port = free_port()
    done = train(tmp_path, f"tracking.uri=http://127.0.0.1:{port}")
    assert done.returncode == 0, done.stderr
    told = [line for line in done.stderr.splitlines() if "MLflow at" in line]
    assert len(told) == 2
    assert told[0].endswith("the run continues, and its records are sent later")
    assert told[1].endswith("send them with distil sync runs/cartpole-bc-001")
    outbox = Outbox(tmp_path / "runs/cartpole-bc-001")
    assert outbox.left() == len(list(outbox.read(0))) > 5
    with server(tmp_path, port):
        assert sync([tmp_path / "runs"]).num_records > 5
        first = history(tmp_path / "mlflow.db")
    with server(tmp_path, port):  # restarted, and all of it sent again
        outbox.keep(type(outbox.cursor())())
        assert sync([tmp_path / "runs"]).num_records > 5
        assert history(tmp_path / "mlflow.db") == first
    ((_, status, *_),) = first["runs"]
    assert status == "FINISHED"
    recorded = sum(len(record["values"]) for record, _ in outbox.read(0) if record["kind"] == "metrics")
    assert len(first["metrics"]) == recorded
    assert list((tmp_path / "artifacts").rglob("policy.safetensors"))


@pytest.mark.slow
def test_kill_9_loses_no_record_and_the_run_continues_as_the_same_one(tmp_path: Path) -> None:
    uri = f"tracking.uri=http://127.0.0.1:{free_port()}"
    command = [
        sys.executable,
        "-m",
        "distil",
        "train",
        *RECIPE,
        "learner.num_steps=100000",
        "learner.checkpoint_every=200",
        uri,
    ]
    outbox = Outbox(tmp_path / "runs/cartpole-bc-001")
    with subprocess.Popen(command, cwd=tmp_path, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as process:
        deadline = time.monotonic() + 120
        while sum(record["kind"] == "metrics" for record, _ in outbox.read(0)) < 2:
            assert process.poll() is None
            assert time.monotonic() < deadline
            time.sleep(0.05)
        process.kill()
    before = [record for record, _ in outbox.read(0)]
    assert len(before) >= 3
    with subprocess.Popen(
        [*command, "--resume"], cwd=tmp_path, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    ) as process:
        deadline = time.monotonic() + 120
        while sum(1 for _ in outbox.read(0)) < len(before) + 3:
            assert process.poll() is None
            assert time.monotonic() < deadline
            time.sleep(0.05)
        process.send_signal(signal.SIGINT)
        assert process.wait(60) == 130
    records = [record for record, _ in outbox.read(0)]
    assert records[: len(before)] == before
    assert len({record["uid"] for record in records if record["kind"] == "start"}) == 1
    database = tmp_path / "later.db"
    sync([tmp_path / "runs"], uri=f"sqlite:///{database}")
    ((_, status, *_),) = history(database)["runs"]
    assert status == "KILLED"
