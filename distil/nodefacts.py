"""What a node of a Ray cluster says about itself. This module is sent to nodes as code, since their distil may be another one.

So it uses the standard library only.
"""

from __future__ import annotations

import hashlib
import importlib.metadata
import importlib.util
import os
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

_PACKAGES = ("distil", "ray", "torch", "numpy", "pyarrow", "gymnasium")


def facts(marks: Sequence[tuple[str, str]], patience_s: float = 0.0) -> dict[str, Any]:
    """Return versions, a digest of distil's code, the time, and how the node sees each file.

    Args:
        marks: files and what they should hold.
        patience_s: how long to wait for files: a network file system may show a new one late.
    """
    return {
        "python": sys.version.split()[0],
        "packages": {name: _version(name) for name in _PACKAGES},
        "code": _code(),
        "seen": [_seen(Path(path), content, time.monotonic() + patience_s) for path, content in marks],
        "time": time.time(),
    }


def _version(package: str) -> str | None:
    try:
        return importlib.metadata.version(package).partition("+")[0]  # +cpu and +cu128 are the same torch
    except importlib.metadata.PackageNotFoundError:
        return None


def _code() -> str | None:
    """Return a digest of distil's files; None if it isn't installed."""
    found = importlib.util.find_spec("distil")
    if found is None or not found.submodule_search_locations:
        return None
    digest, top = hashlib.sha256(), Path(found.submodule_search_locations[0])
    for path in sorted(top.rglob("*.py")):
        digest.update(os.fsencode(path.relative_to(top)) + b"\0" + path.read_bytes() + b"\0")
    return digest.hexdigest()[:8]


def _seen(path: Path, content: str, until: float) -> str:
    while True:
        try:
            return "same" if path.read_text(encoding="utf-8", errors="replace") == content else "another one"
        except OSError as error:
            if time.monotonic() >= until:
                return "other files" if path.parent.is_dir() else str(error.strerror or error)
            time.sleep(0.5)
