"""MLflow's client, and the databases that it makes on this machine.

MLflow takes seconds to make a database: it replays each migration since its first version. A run may itself take seconds.
"""

from __future__ import annotations

import fcntl
import hashlib
import logging
import os
import re
import signal
import tempfile
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from distil.durable import create_durably, make_folders


def connect(uri: str) -> Any:
    """Return MLflow's client for a tracking URI; whatever MLflow raises if there is no such place.

    A first SQLite database gets its tables from a copy of one that MLflow made before, see `_fill`.
    """
    os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")  # no data about the user's runs leave the machine
    os.environ.setdefault("MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT", "true")  # stdout is for results
    os.environ.setdefault("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "1")  # distil's sender tries again itself, and for longer
    os.environ.setdefault("MLFLOW_HTTP_REQUEST_TIMEOUT", "30")
    with _own_sigint():
        from mlflow.tracking import MlflowClient

    for name in ("alembic", "mlflow.store.db.utils"):  # they tell each of the 50 migrations of a new database
        logging.getLogger(name).setLevel(logging.WARNING)
    database = sqlite_file(uri)
    if database is not None and not database.exists() and database.parent.is_dir():
        _fill(database)
    return MlflowClient(tracking_uri=uri)


@contextmanager
def _own_sigint() -> Iterator[None]:
    """Set Python's handler of SIGINT again: a library that MLflow imports makes Ctrl-C restart what waits, not interrupt it."""
    handler = signal.getsignal(signal.SIGINT)
    yield
    if handler is not None and threading.current_thread() is threading.main_thread():
        signal.signal(signal.SIGINT, handler)


@contextmanager
def alone(uri: str) -> Iterator[None]:
    """Hold a database against the other processes of this machine: MLflow's migrations fail when two make it at once."""
    if uri.startswith(("http://", "https://")):  # a server has made its own
        yield
        return
    database = sqlite_file(uri)
    if database is not None:
        path = database.with_name(f".{database.name}.lock")
    else:
        path = Path(tempfile.gettempdir()) / f"distil-{os.getuid()}-{hashlib.sha256(uri.encode()).hexdigest()[:16]}.lock"
    with path.open("a") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


def artifact_location(uri: str) -> str | None:
    """Return where a new experiment's files go: next to a SQLite database; None: where the server puts them."""
    database = sqlite_file(uri)
    return None if database is None else (database.absolute().parent / "mlartifacts").as_uri()


def sqlite_file(uri: str) -> Path | None:
    """Return the file of a sqlite database; None: it is of another kind."""
    match = re.fullmatch(r"sqlite(?:\+\w+)?:///([^?]+)(?:\?.*)?", uri)
    return Path(match[1].removeprefix("file:")) if match and match[1] != ":memory:" else None


def _fill(database: Path) -> None:
    """Copy MLflow's tables, without a row, to a new database; if they cannot be kept, MLflow makes them there.

    The tables are made once for each version of MLflow, by its own `mlflow db upgrade`, and kept in the user's cache.
    """
    from mlflow.version import VERSION

    folder = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "distil"
    kept = folder / f"mlflow-{VERSION}.db"
    with suppress(OSError):
        if not kept.exists():
            make_folders(folder)
            with tempfile.TemporaryDirectory() as own:
                made = Path(own) / kept.name
                _make_tables(made)
                create_durably(kept, made.read_bytes())
        create_durably(database, kept.read_bytes())


def _make_tables(database: Path) -> None:
    from mlflow.db import upgrade

    upgrade.main([f"sqlite:///{database}"], standalone_mode=False)
