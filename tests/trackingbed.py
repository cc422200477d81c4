"""Shared by the tests of tracking: a database, and what is in it."""

from __future__ import annotations

import os
import random
import signal
import socket
import sqlite3
import subprocess
import sys
import time
from collections.abc import Mapping
from contextlib import closing, suppress
from pathlib import Path
from typing import Any, Self
from urllib.request import urlopen

from distil.tracking import Recorder
from distil.tracking.outbox import Outbox
from distil.tracking.server import Server

_STARTS_S = 120.0


class TrackingServer:
    """MLflow's server on the database of a folder; a context that ends it.

    Args:
        folder: of the database, and of the artifacts.
        port: where it listens; None: any.
    """

    def __init__(self, folder: Path, port: int | None = None) -> None:
        self._port = free_port() if port is None else port
        self.uri = f"http://127.0.0.1:{self._port}"
        self._store = ["--backend-store-uri", f"sqlite:///{folder}/mlflow.db", "--artifacts-destination", f"{folder}/artifacts"]
        self.start()

    def start(self) -> None:
        """Start it; it answers some seconds later."""
        command = [sys.executable, "-m", "mlflow", "server", "--port", str(self._port), "--workers", "1", *self._store]
        quiet: dict[str, Any] = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL, "start_new_session": True}
        env = os.environ | {"MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false"}  # seven processes that poll
        self._process = subprocess.Popen(command, env=env, **quiet)

    def wait(self) -> None:
        """Return once it answers."""
        deadline = time.monotonic() + _STARTS_S
        while self._process.poll() is None:
            with suppress(OSError):
                urlopen(f"{self.uri}/health", timeout=5).close()
                return
            assert time.monotonic() < deadline, f"MLflow's server does not answer after {_STARTS_S:.0f} s"
            time.sleep(0.2)
        raise AssertionError(f"MLflow's server has ended with {self._process.returncode}")

    def close(self) -> None:
        """Kill all its processes."""
        with suppress(ProcessLookupError):  # it has ended by itself
            os.killpg(self._process.pid, signal.SIGKILL)
        self._process.wait()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        self.close()


def rows(database: Path, query: str, *values: object) -> list[tuple[Any, ...]]:
    with closing(sqlite3.connect(database)) as connection:
        return connection.execute(query, values).fetchall()


def record(
    folder: Path,
    uri: str,
    experiment: str,
    name: str = "a",
    params: Mapping[str, Any] | None = None,
    **options: Any,
) -> Recorder:
    """Return a started tracker, which sends nothing itself unless it has a sender."""
    folder.mkdir(exist_ok=True, parents=True)
    tracker = Recorder(
        Outbox(folder), Server(uri).name, experiment, options.pop("sender", None), is_parent=options.pop("is_parent", False)
    )
    tracker.start(name, params or {}, **options)
    return tracker


def run_of(database: Path, uid: str) -> str:
    """Return MLflow's id of a run."""
    ((found,),) = rows(database, "SELECT run_uuid FROM tags WHERE key = 'distil.uid' AND value = ?", uid)
    return str(found)


def history(database: Path) -> dict[str, list[tuple[Any, ...]]]:
    """Return all that is recorded, but for ids."""
    join = "JOIN runs r USING (run_uuid) ORDER BY r.name"
    return {
        "runs": rows(database, "SELECT name, status, start_time, end_time FROM runs ORDER BY name"),
        "params": rows(database, f"SELECT r.name, key, value FROM params {join}, key"),
        "tags": rows(database, f"SELECT r.name, key, value FROM tags {join}, key"),
        "metrics": rows(database, f"SELECT r.name, key, value, timestamp, step FROM metrics {join}, key, timestamp, step"),
        "datasets": rows(database, "SELECT name, digest FROM datasets ORDER BY name, digest"),
        "inputs": rows(database, "SELECT count(*) FROM inputs"),
    }


def free_port() -> int:
    """Return a port that nobody takes meanwhile: Linux gives out those from 32,768 on, Ray those from 10,002 to 19,999."""
    for port in random.sample(range(20_000, 32_768), 100):
        with closing(socket.socket()) as found, suppress(OSError):
            found.bind(("127.0.0.1", port))
            return port
    raise AssertionError("no port is free")
