"""Manifests: immutable, numbered lists of shards. The highest one is the store."""

from __future__ import annotations

import re
import time
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, replace
from typing import Any

from distil.errors import RunError
from distil.store.backend import Location, backend, read_json
from distil.store.files import dump_json
from distil.store.schema import FORMAT, check_format
from distil.store.shard import ShardEntry

FOLDER = "manifests"
_NAME, _DROPPED = re.compile(r"v(\d{12})\.json"), re.compile(r"v(\d{12})\.dropped")


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


def difference(old: Manifest | None, new: Manifest) -> tuple[list[ShardEntry], list[ShardEntry]]:
    """Return the shards that only `old` (None: the empty store) and only `new` lists."""
    had, has = dict.fromkeys(old.entries if old else ()), dict.fromkeys(new.entries)
    return [entry for entry in had if entry not in has], [entry for entry in has if entry not in had]


def manifest_key(version: int) -> str:
    """Return the key of version `version` in its store."""
    return f"{FOLDER}/v{version:012d}.json"


def list_versions(root: Location) -> list[int]:
    """Return the versions that the store at `root` has, ascending; dropped ones are not among them."""
    names = [item.key.removeprefix(f"{FOLDER}/") for item in backend(root).list(FOLDER)]
    dropped = {match[1] for name in names if (match := _DROPPED.fullmatch(name))}
    return sorted(int(match[1]) for name in names if (match := _NAME.fullmatch(name)) and match[1] not in dropped)


def dropped_versions(root: Location) -> list[tuple[int, bool]]:
    """Return the versions that were dropped, and whether their manifests are buried."""
    out = []
    for item in backend(root).list(FOLDER):
        if match := _DROPPED.fullmatch(item.key.removeprefix(f"{FOLDER}/")):
            version = int(match[1])
            try:
                buried = backend(root).size(manifest_key(version)) == len(_grave(version))
            except FileNotFoundError:
                buried = False
            out.append((version, buried))
    return out


def read_manifest(root: Location, version: int, *, store: str, row_bytes: int) -> Manifest:
    """Return a version's manifest.

    Args:
        root: where the store lies.
        version: which one; FileNotFoundError if there is none, or no longer.
        store: the uuid it must carry.
        row_bytes: the least that a row takes, which bounds the counts that can be true.
    """
    key = manifest_key(version)
    data = read_json(root, key)
    if data.get("dropped") is True:
        raise FileNotFoundError(f"{root / key}")
    try:
        return _parse(data, version, store, row_bytes)
    except (KeyError, TypeError, ValueError) as error:
        raise RunError(f"{root / key}: refused: {error}; restore it from a copy or read an older snapshot") from None


def _parse(data: Mapping[str, Any], version: int, store: str, row_bytes: int) -> Manifest:
    check_format(data["format"], "the manifest")
    if data["version"] != version or data["store"] != store:
        raise ValueError("it belongs to another version or another store")
    entries = tuple(ShardEntry.from_json(item, row_bytes) for item in data["shards"])
    if len({entry.path for entry in entries}) != len(entries):
        raise ValueError("it lists a shard twice")
    created_s, message = data["created_s"], data["message"]
    if type(created_s) is not int or not isinstance(message, str):
        raise ValueError("its date or message is of a wrong type")
    return Manifest(version=version, store=store, entries=entries, message=message, created_s=created_s)


def write_manifest(root: Location, manifest: Manifest) -> Manifest:
    """Write a manifest durably and return it, dated; FileExistsError when another writer took the version."""
    dated = replace(manifest, created_s=int(time.time()))
    content, key, files = dump_json(dated.to_json()), manifest_key(manifest.version), backend(root)
    try:
        files.put_if_absent(key, content)
    except FileExistsError:
        try:
            ours = files.get(key) == content  # the answer to an earlier try was lost on its way
        except FileNotFoundError:
            ours = False
        if not ours:
            raise
    return dated


def drop_manifest(root: Location, version: int) -> None:
    """Mark a version as dropped. Its number stays taken: a commit that is behind must not get it."""
    with suppress(FileExistsError):
        backend(root).put_if_absent(dropped_key(version), b"")


def restore_manifest(root: Location, version: int) -> None:
    """Take the mark back."""
    backend(root).delete(dropped_key(version))


def bury_manifest(root: Location, version: int) -> None:
    """Put a short note in place of a dropped version's manifest."""
    backend(root).put(manifest_key(version), _grave(version))


def _grave(version: int) -> bytes:
    return dump_json({"format": FORMAT, "version": version, "dropped": True})


def dropped_key(version: int) -> str:
    """Return the key of the mark that says a version is dropped."""
    return f"{FOLDER}/v{version:012d}.dropped"
