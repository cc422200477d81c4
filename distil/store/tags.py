"""Tags: names for versions. A tagged version can't be dropped, so its shards stay."""

from __future__ import annotations

import re
import time
from dataclasses import dataclass

from distil.errors import InputError, RunError
from distil.store.backend import backend, read_json
from distil.store.files import dump_json
from distil.store.location import Location
from distil.store.versions import has_version

_FOLDER = "tags"
_NAME = re.compile(r"(?=.*[^0-9])[A-Za-z0-9_][A-Za-z0-9_.-]{0,80}")
_FILE = re.compile(rf"{_FOLDER}/({_NAME.pattern})\.json")


@dataclass(frozen=True, kw_only=True)
class Tag:
    """A name for a version."""

    name: str
    version: int
    created_s: int  # Unix time


def _key(name: str) -> str:
    if not _NAME.fullmatch(name):
        raise InputError(f"tag {name!r}: use up to 80 letters, digits, '_', '-' and '.', and not only digits")
    return f"{_FOLDER}/{name}.json"


def read_tag(root: Location, name: str) -> Tag:
    """Return a tag of the store at `root`; InputError if it has none of that name, RunError if the file is damaged."""
    key = _key(name)
    try:
        data = read_json(root, key)
    except FileNotFoundError:
        known = ", ".join(tag.name for tag in list_tags(root)) or "none yet"
        raise InputError(f"{root}: no tag {name!r}; there is {known}") from None
    version, created_s = data.get("version"), data.get("created_s")
    if type(version) is not int or version < 0 or type(created_s) is not int:
        raise RunError(f"{root / key}: invalid; delete it and tag again")
    return Tag(name=name, version=version, created_s=created_s)


def list_tags(root: Location) -> list[Tag]:
    """Return the tags of the store at `root`, by name."""
    matches = (_FILE.fullmatch(item.key) for item in backend(root).list(_FOLDER))
    return [read_tag(root, name) for name in sorted(match[1] for match in matches if match)]


def set_tag(root: Location, name: str, version: int, *, move: bool = False) -> Tag:
    """Name a version that exists; see `Store.tag`."""
    tag = Tag(name=name, version=version, created_s=int(time.time()))
    content, files = dump_json({"version": version, "created_s": tag.created_s}), backend(root)
    try:
        if move:
            files.put(_key(name), content)
        else:
            files.put_if_absent(_key(name), content)
    except FileExistsError:
        at = read_tag(root, name).version
        raise InputError(f"{root}: tag {name!r} is at version {at}; delete it, or --move it") from None
    if version and not has_version(root, version):  # dropped meanwhile: a drop that comes later will see the tag
        files.delete(_key(name))
        raise InputError(f"{root}: version {version} has just been dropped")
    return tag


def delete_tag(root: Location, name: str) -> None:
    """Remove a tag; the version stays. InputError if there is none of that name."""
    read_tag(root, name)
    backend(root).delete(_key(name))
