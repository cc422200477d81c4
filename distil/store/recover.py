"""Recovery after a crash: intact files of killed writers are committed, damaged ones are removed."""

from __future__ import annotations

import fcntl
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

from distil.errors import RunError
from distil.store.backend import backend
from distil.store.files import os_fault
from distil.store.footer import describe
from distil.store.gc import referenced, restore_trash
from distil.store.location import Location
from distil.store.relabel import is_being_rewritten, is_rewritten
from distil.store.shard import ShardEntry
from distil.store.shards import ClashError
from distil.store.storage import StoredFile
from distil.store.store import Store
from distil.store.verify import check_shard, check_steps, digest_of

_OPEN, _SHARD = ".open", ".arrow"


@dataclass(frozen=True, kw_only=True)
class RecoverReport:
    """The result of a recovery. With `dry_run`: what it would do."""

    salvaged: tuple[str, ...]  # complete shards that were not renamed yet
    discarded: tuple[str, ...]  # "file: why" of incomplete shards
    writing: tuple[str, ...]  # files that a live writer is writing: left as they are
    committed: tuple[str, ...]  # intact sealed shards that no version listed
    refused: tuple[str, ...]  # "shard: why" of sealed shards that can't be committed: left as they are
    restored: tuple[str, ...]  # shards in use that an interrupted `gc` had moved to the trash
    num_episodes: int  # in the committed shards
    version: int  # of the store afterwards


def recover(store: Store, *, discard: bool = False, dry_run: bool = False) -> RecoverReport:
    """Commit the intact shards of writers that were killed before their commit.

    Safe while writers are active: files that are being written are left as they are, and a writer whose sealed shards were
    committed here continues normally.

    Args:
        store: the store.
        discard: commit nothing; remove unsealed files, and leave sealed shards to `gc`.
        dry_run: change nothing.
    """
    items = backend(store.path).list("data")
    wanted = referenced(store).shards
    restored = () if dry_run else restore_trash(store, items, wanted, float("inf") if discard else 0.0)
    salvaged, discarded, writing = _unsealed(store, discard=discard, dry_run=dry_run)
    orphans = [item for item in backend(store.path).list("data") if _is_orphan(item, wanted)]
    examined, refused = _examined(store, [] if discard else orphans)
    while True:
        sound, num_episodes, clashes = _sift(store, examined)
        try:
            if sound and not dry_run:
                store.commit(sound, "recovered")
        except ClashError:
            continue  # a live writer has just committed a conflicting episode
        break
    return RecoverReport(
        salvaged=tuple(salvaged),
        discarded=tuple(discarded),
        writing=tuple(writing),
        committed=tuple(entry.path for entry in sound),
        refused=(*refused, *clashes),
        restored=restored,
        num_episodes=num_episodes,
        version=store.manifest().version,
    )


def _is_orphan(item: StoredFile, wanted: set[str]) -> bool:
    name = item.key.removeprefix("data/")
    return name.endswith(_SHARD) and not name.startswith(".") and item.key not in wanted


def _unsealed(store: Store, *, discard: bool, dry_run: bool) -> tuple[list[str], list[str], list[str]]:
    """Seal or remove `.open` files; return (salvaged, discarded, being written)."""
    files = backend(store.path)
    salvaged, discarded, writing = list[str](), list[str](), list[str]()
    for path in sorted(files.staging().glob(f".*{_OPEN}")):
        with _lock(path) as free:
            if not free:
                writing.append(path.name)
            elif (fault := "as asked" if discard else _fault(store, path)) is not None:
                discarded.append(f"{path.name}: {fault}")
                if not dry_run:
                    path.unlink(missing_ok=True)
            else:
                salvaged.append(f"data/{path.name.removeprefix('.').removesuffix(_OPEN)}{_SHARD}")
                if not dry_run:
                    files.publish(path, salvaged[-1])
    return salvaged, discarded, writing


@contextmanager
def _lock(path: Path) -> Iterator[bool]:
    """Lock an `.open` file; yield False while a process writes it (see `seal_shard`)."""
    try:
        file = open(path, "r+b")  # noqa: SIM115 - closed below
    except FileNotFoundError:  # sealed a moment ago
        yield False
        return
    except OSError as error:
        raise os_fault(error, path) from None
    with file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            yield False
            return
        yield path.exists()


def _fault(store: Store, path: Path) -> str | None:
    """Return what is wrong with an unsealed file, after reading all of it; None if it is intact."""
    if is_being_rewritten(path.name):
        return "labels for episodes of the store, not finished; run `distil store label` again"
    try:
        _examine(store, path.parent.parent, f"{path.parent.name}/{path.name}", path.stat().st_size)
    except RunError as error:
        return str(error).removeprefix(f"{path}: ")
    return None


def _examine(store: Store, root: Location, key: str, num_bytes: int) -> ShardEntry:
    """Return the entry of a file that no manifest lists, after reading all of it; RunError if it is damaged."""
    entry = describe(root, key, num_bytes)
    entry = replace(entry, digest=digest_of(root, entry))
    check_shard(root, store.spec, entry, {})
    check_steps(root, store.spec, entry)
    return entry


def _examined(store: Store, orphans: Sequence[StoredFile]) -> tuple[list[ShardEntry], list[str]]:
    """Return the entries of intact shards, and "shard: why" of the others."""
    whole, refused = list[ShardEntry](), list[str]()
    for item in sorted(orphans, key=lambda item: item.key):
        if is_rewritten(item.key):
            refused.append(f"{store.path / item.key}: labels that no version lists; for `distil store label`, or else for gc")
            continue
        try:
            whole.append(_examine(store, store.path, item.key, item.num_bytes))
        except FileNotFoundError:
            continue  # another recovery or gc was here
        except RunError as error:
            refused.append(str(error))
    return whole, refused


def _sift(store: Store, entries: Sequence[ShardEntry]) -> tuple[list[ShardEntry], int, list[str]]:
    """Return the entries with new episodes, the number of these, and "shard: why" of conflicting shards.

    Shards whose episodes are all in the newest version (compacted, committed again or labelled) are left to `gc`.
    """
    sound, num_episodes, clashes, sieve = list[ShardEntry](), 0, list[str](), store.sieve(store.manifest())
    for entry in entries:
        try:
            num = int(sieve.take(entry).sum())
        except RunError as error:  # it clashes, or is gone
            clashes.append(str(error))
            continue
        if num:
            sound.append(entry)
            num_episodes += num
    return sound, num_episodes, clashes
