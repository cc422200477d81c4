"""Pins: the versions that unfinished runs need. A pinned version can't be dropped, so its shards stay.

A pin counts until it is released, or until the folder that it names is gone from the machine where it was made.
"""

from __future__ import annotations

import re
import socket
import time
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import xxhash

from distil.errors import InputError, RunError
from distil.store.backend import backend, read_json
from distil.store.files import dump_json
from distil.store.location import Location
from distil.store.versions import has_version

PINS = "pins"
_FILE = re.compile(rf"{PINS}/([0-9a-f]{{16}})-v(\d{{12}})\.json")


@dataclass(frozen=True, kw_only=True)
class Pin:
    """A version that a run needs."""

    version: int
    name: str  # the run's folder
    host: str  # where that folder is
    created_s: int  # Unix time

    @property
    def is_stale(self) -> bool:
        """Whether it is for a folder of this machine that is gone."""
        folder = Path(self.name)
        return self.host == socket.gethostname() and folder.is_absolute() and not folder.exists()


def _key(name: str, version: int) -> str:
    return f"{PINS}/{xxhash.xxh3_64_hexdigest(name.encode())}-v{version:012d}.json"


def set_pin(root: Location, version: int, name: str) -> None:
    """Keep a version from being dropped; see `Store.pin`."""
    if version == 0:
        return  # it is nothing, and always there
    data = {"version": version, "name": name, "host": socket.gethostname(), "created_s": int(time.time())}
    key, files = _key(name, version), backend(root)
    with suppress(FileExistsError):
        files.put_if_absent(key, dump_json(data))
    if not has_version(root, version):  # dropped meanwhile: a drop that comes later will see the pin
        files.delete(key)
        raise InputError(f"{root}: version {version} has been dropped, or never was; {name} can't keep it")


def release_pins(root: Location, name: str) -> tuple[int, ...]:
    """Release all that `name` has pinned, and return the versions."""
    begin, released = _key(name, 0).split("-")[0], list[int]()
    for match in _matches(root):
        if f"{PINS}/{match[1]}" == begin:
            backend(root).delete(match[0])
            released.append(int(match[2]))
    return tuple(sorted(released))


def list_pins(root: Location) -> list[Pin]:
    """Return the pins that count, by version; RunError if one is damaged."""
    return [pin for _, pin in _all(root) if not pin.is_stale]


def forget_stale_pins(root: Location) -> None:
    """Remove the pins that don't count any more."""
    for key, pin in _all(root):
        if pin.is_stale:
            backend(root).delete(key)


def _matches(root: Location) -> Iterator[re.Match[str]]:
    return (match for item in backend(root).list(PINS) if (match := _FILE.fullmatch(item.key)))


def _all(root: Location) -> list[tuple[str, Pin]]:
    out = []
    for match in _matches(root):
        try:
            data = read_json(root, match[0])
        except FileNotFoundError:
            continue  # released meanwhile
        name, host, created_s = data.get("name"), data.get("host"), data.get("created_s")
        if not isinstance(name, str) or not isinstance(host, str) or type(created_s) is not int:
            raise RunError(f"{root / match[0]}: invalid; delete it if no unfinished run needs version {int(match[2])}")
        out.append((match[0], Pin(version=int(match[2]), name=name, host=host, created_s=created_s)))
    return sorted(out, key=lambda item: (item[1].version, item[1].name))
