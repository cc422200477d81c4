"""The operations on the store at a location, whether it is a local folder or a prefix in an object store."""

from __future__ import annotations

from functools import lru_cache
from pathlib import Path
from typing import Any

from distil.errors import RunError
from distil.store.files import MAX_JSON_BYTES, parse_json
from distil.store.folder import FolderBackend
from distil.store.location import Location, Url
from distil.store.objects import ObjectBackend
from distil.store.storage import Backend


def backend(root: Location) -> Backend:
    """Return the operations on the store at `root`."""
    return FolderBackend(root) if isinstance(root, Path) else _objects(root)


@lru_cache(maxsize=64)
def _objects(root: Url) -> Backend:
    return ObjectBackend(root)


def read_json(root: Location, key: str) -> dict[str, Any]:
    """Return the content of a file that `dump_json` made; FileNotFoundError without one, RunError if it is damaged."""
    return parse_json(read_small(root, key), root / key)


def read_small(root: Location, key: str) -> bytes:
    """Return a file that is JSON; FileNotFoundError without one, RunError if it is too large for that."""
    files = backend(root)
    if files.size(key) > MAX_JSON_BYTES:
        raise RunError(f"{root / key}: larger than any file of this kind; restore it from a copy")
    return files.get(key)
