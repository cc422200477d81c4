"""The numbers of a store's versions: which there are, which is the newest, and which were dropped."""

from __future__ import annotations

import re
from contextlib import suppress

from distil.store.backend import backend
from distil.store.files import dump_json
from distil.store.location import Location
from distil.store.schema import FORMAT

FOLDER = "manifests"
_NAME, _DROPPED = re.compile(r"v(\d{12})\.json"), re.compile(r"v(\d{12})\.dropped")
_MAX_STEPS = 32  # that it's better to ask for, one by one, than to list all versions


def manifest_key(version: int) -> str:
    """Return the key of version `version` in its store."""
    return f"{FOLDER}/v{version:012d}.json"


def dropped_key(version: int) -> str:
    """Return the key of the mark that says a version is dropped."""
    return f"{FOLDER}/v{version:012d}.dropped"


def list_versions(root: Location) -> list[int]:
    """Return the versions that the store at `root` has, ascending; dropped ones are not among them."""
    names = [item.key.removeprefix(f"{FOLDER}/") for item in backend(root).list(FOLDER)]
    dropped = {match[1] for name in names if (match := _DROPPED.fullmatch(name))}
    return sorted(int(match[1]) for name in names if (match := _NAME.fullmatch(name)) and match[1] not in dropped)


def has_version(root: Location, version: int) -> bool:
    """Return whether the store at `root` has a version, which wasn't dropped."""
    return _exists(root, manifest_key(version)) and not _exists(root, dropped_key(version))


def newest_version(root: Location, known: int) -> int:
    """Return the newest version; 0 if there is none.

    Args:
        root: where the store lies.
        known: one that was the newest at some time, or 0. If it is still there, its few successors are looked for one by one,
            so that this costs the same however many versions there are.
    """
    if known and _exists(root, manifest_key(known)):
        for version in range(known, known + _MAX_STEPS):
            if not _exists(root, manifest_key(version + 1)):
                if version == known or has_version(root, version):
                    return version
                break  # the newest ones are gone, which only a person does
    return max(list_versions(root), default=0)


def _exists(root: Location, key: str) -> bool:
    try:
        backend(root).size(key)
    except FileNotFoundError:
        return False
    return True


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
