"""Where a job's data, runs and records live. A job's own folder is temporary: what stays has an absolute path or a URL."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from distil.errors import InputError
from distil.mlflowdb import sqlite_file
from distil.redaction import redact
from distil.runconfig import RunConfig
from distil.tracking.config import DEFAULT_URI

URI = "MLFLOW_TRACKING_URI"
_PLAIN = ("file", "databricks", "databricks-uc", "uc")  # MLflow's addresses without ://
Move = Callable[[str, str], str]  # a key and a relative path -> the path at its home


class Homes:
    """Gives relative paths a home below a root. Mutable: it remembers what has none, for one message.

    Args:
        root: an absolute folder that all nodes see; None: nothing has a home.
    """

    def __init__(self, root: str | None) -> None:
        if root is not None and not Path(root).is_absolute():
            raise InputError(f"--root {root}: give an absolute path, of a folder that all nodes see")
        self._root = root
        self.homeless: dict[str, str] = {}  # key -> its path

    def __call__(self, key: str, path: str) -> str:
        """Return a path below the root; absolute ones stay as they are."""
        if Path(path).is_absolute():
            return path
        normal = os.path.normpath(path)
        if self._root is None or normal.startswith(".."):
            self.homeless[key] = path
            return path
        return os.path.join(self._root, normal)

    def require(self) -> None:
        """Raise InputError if a path has no home."""
        if self.homeless:
            shown = ", ".join(f"{key}={redact(path)}" for key, path in self.homeless.items())
            example = next(iter(self.homeless))
            raise InputError(
                f"{shown}: relative paths end in the job's temporary folder: give them a home with --root /shared, a folder "
                f"that all nodes see, or set absolute paths ({example}=/...)"
            )


def homes(config: RunConfig, move: Move, travels: Sequence[str] = ()) -> dict[str, Any]:
    """Return the overrides that give a run's relative paths a home.

    Args:
        config: of the run.
        move: gives a path its home.
        travels: the names of the environment variables that the job gets from here.
    """
    found: dict[str, Any] = {}
    if (runs := move("runs", config.runs)) != config.runs:
        found["runs"] = runs
    if config.data.mixture is not None:
        parts = [(part, _moved("data.mixture", part.path, move)) for part in config.data.mixture.parts]
        if any(part.path != path for part, path in parts):
            found["data.mixture.parts"] = [part.model_dump(mode="json") | {"path": path} for part, path in parts]
    elif (path := _moved("data.path", str(config.store_path), move)) != str(config.store_path):
        found["data.path"] = path
    if config.tracking.enabled and (uri := _tracking(config, move, travels)) is not None:
        found["tracking.uri"] = uri
    return found


def _moved(key: str, path: str, move: Move) -> str:
    return path if "://" in path else move(key, path)


def _tracking(config: RunConfig, move: Move, travels: Sequence[str]) -> str | None:
    """Return MLflow's address with an absolute path; None: it is one already."""
    given = os.environ.get(URI) if URI in travels and config.tracking.uri is None else None
    uri = config.tracking.uri or given or DEFAULT_URI
    move = move if given is None else _only_absolute
    if (database := sqlite_file(uri)) is not None:
        home = uri.replace(f":///{database}", f":///{move('tracking.uri', str(database))}", 1)
    elif uri.startswith("file:") and not uri.startswith("file:/"):
        home = f"file:{move('tracking.uri', uri.removeprefix('file:'))}"
    elif "://" not in uri and uri.partition(":")[0] not in _PLAIN:
        home = move("tracking.uri", uri)
    else:
        return None
    return None if home == uri else home


def stays(found: Mapping[str, Any], travels: Sequence[str]) -> list[str]:
    """Return a note if MLflow's address is set here, and the job records elsewhere."""
    if "tracking.uri" not in found or URI in travels or URI not in os.environ:
        return []
    return [f"{URI} is set here and does not travel: the job records in {found['tracking.uri']}; pass it with --env {URI}"]


def _only_absolute(key: str, path: str) -> str:
    if not Path(path).is_absolute():
        raise InputError(f"--env {URI}: {path} is relative and would end in the job's temporary folder: set an absolute path")
    return path


def override_words(overrides: Mapping[str, Any]) -> list[str]:
    """Return overrides as arguments of the command line."""
    return [f"{key}={_text(value)}" for key, value in overrides.items()]


def _text(value: Any) -> str:
    is_plain = isinstance(value, str) and re.fullmatch(r"([a-z0-9+]+:)?/[\w./+@=~-]*", value)
    return str(value) if is_plain else json.dumps(value)  # JSON is YAML
