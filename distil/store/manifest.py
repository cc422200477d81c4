"""Manifests: immutable, numbered lists of shards. The highest one is the store."""

from __future__ import annotations

import re
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from distil.errors import RunError
from distil.store.files import create_durably, dump_json, load_json
from distil.store.schema import FORMAT
from distil.store.shard import ShardEntry

_NAME = re.compile(r"v(\d{12})\.json")


@dataclass(frozen=True, kw_only=True)
class Manifest:
    """A version of the store. Version 0, the empty store, has no file."""

    version: int
    store: str  # the store's uuid
    entries: tuple[ShardEntry, ...] = ()
    message: str = ""
    created_s: int = 0  # Unix time

    def to_json(self) -> dict[str, Any]:
        """Return the file's content; the sums are for readers that want no more than them."""
        return {
            "format": FORMAT,
            "store": self.store,
            "version": self.version,
            "message": self.message,
            "created_s": self.created_s,
            "num_episodes": sum(entry.num_episodes for entry in self.entries),
            "num_transitions": sum(entry.num_transitions for entry in self.entries),
            "shards": [entry.to_json() for entry in self.entries],
        }


def manifest_path(root: Path, version: int) -> Path:
    """Return where version `version` of the store in folder `root` stands."""
    return root / "manifests" / f"v{version:012d}.json"


def list_versions(root: Path) -> list[int]:
    """Return the versions that the store has, ascending."""
    matches = (_NAME.fullmatch(path.name) for path in (root / "manifests").iterdir())
    return sorted(int(match[1]) for match in matches if match)


def read_manifest(root: Path, version: int, *, store: str, row_bytes: int) -> Manifest:
    """Return a version's manifest.

    Args:
        root: the store's folder.
        version: which one; FileNotFoundError if there is none.
        store: the uuid it must carry.
        row_bytes: size of a row, which bounds the counts that can be true.
    """
    path = manifest_path(root, version)
    data = load_json(path)
    try:
        return _parse(data, version, store, row_bytes)
    except (KeyError, TypeError, ValueError) as error:
        raise RunError(f"{path}: refused: {error}; restore it from a copy or read an older snapshot") from None


def _parse(data: Mapping[str, Any], version: int, store: str, row_bytes: int) -> Manifest:
    if data["format"] != FORMAT:
        raise ValueError(f"format version {data['format']!r}, this distil reads {FORMAT}")
    if data["version"] != version or data["store"] != store:
        raise ValueError("it belongs to another version or another store")
    entries = tuple(ShardEntry.from_json(item, row_bytes) for item in data["shards"])
    if len({entry.path for entry in entries}) != len(entries):
        raise ValueError("it lists a shard twice")
    created_s, message = data["created_s"], data["message"]
    if type(created_s) is not int or not isinstance(message, str):
        raise ValueError("its date or message is of a wrong type")
    return Manifest(version=version, store=store, entries=entries, message=message, created_s=created_s)


def write_manifest(root: Path, manifest: Manifest) -> Manifest:
    """Write a manifest durably and return it, dated; FileExistsError when another writer took the version."""
    dated = Manifest(**{**manifest.__dict__, "created_s": int(time.time())})
    create_durably(manifest_path(root, manifest.version), dump_json(dated.to_json()))
    return dated
