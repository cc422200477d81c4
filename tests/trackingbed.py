"""Shared by the tests of tracking: a database, and what is in it."""

from __future__ import annotations

import random
import socket
import sqlite3
from collections.abc import Mapping
from contextlib import closing, suppress
from pathlib import Path
from typing import Any

from distil.tracking import Recorder
from distil.tracking.outbox import Outbox
from distil.tracking.server import Server


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
