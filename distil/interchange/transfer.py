"""A store from other data, and other data from a store: what `distil store import` and `export` do."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from distil.errors import InputError, RunError
from distil.interchange.base import Contents, Exporter, Importer
from distil.interchange.conversion import Conversion
from distil.interchange.episodes import Finding, Report, content_digest, opening, sift
from distil.interchange.observing import observed
from distil.store.backend import backend
from distil.store.location import Location, location
from distil.store.schema import StoreSpec, environment
from distil.store.shard import ShardEntry
from distil.store.snapshot import Snapshot
from distil.store.store import Store
from distil.store.writer import ShardWriter
from distil.types import Episode


@dataclass(frozen=True, kw_only=True)
class ImportResult:
    """What came of an import."""

    snapshot: Snapshot  # the store after it
    num_added: int
    num_present: int  # episodes that the store had already
    findings: tuple[Finding, ...]

    @property
    def num_skipped(self) -> int:
        """Number of bad episodes left out."""
        return sum(finding.skipped for finding in self.findings)


def import_store(
    importer: Importer,
    source: Path,
    path: str | Location,
    *,
    skip_bad: bool = False,
    spec: StoreSpec | None = None,
    report: Report | None = None,
    target_bytes: int = 128 << 20,
) -> ImportResult:
    """Read `source` into the store at `path`, made if it isn't there, in one commit: all of it or nothing.

    Data seldom says all of its spaces (bounds, number of choices). An existing store's spaces are kept, and the data must
    fit them; for a new store give `spec`, from the environment, to have its spaces.

    Args:
        importer: the format and its options.
        source: the data.
        path: the store.
        skip_bad: leave out episodes with bad rows; otherwise the first one is a RunError.
        spec: spaces for a new store; default: what the data says.
        report: told each finding at once; all of them are in the result.
        target_bytes: size of a shard.

    Raises:
        InputError: the data isn't in this format or doesn't fit the store's spaces.
        RunError: a bad row, or an episode that the store has with other content.
    """
    note = Notes(report)
    with opening(importer.kind, source):
        contents = importer.read(source, note)
    message = f"import {importer.kind} {source.name}"
    return add_contents(
        contents,
        path,
        where=str(source),
        message=message,
        note=note,
        images=importer.images,
        observe=importer.observe,
        skip_bad=skip_bad,
        spec=spec,
        target_bytes=target_bytes,
    )


class Notes:
    """Keeps what is reported, and hands it on."""

    def __init__(self, report: Report | None = None) -> None:
        """Hand on to `report`, if there is one."""
        self.findings: list[Finding] = []
        self._report = report

    def __call__(self, finding: Finding) -> None:
        """Keep it and hand it on."""
        self.findings.append(finding)
        if self._report is not None:
            self._report(finding)


def add_contents(
    contents: Contents,
    target: Store | Location | str,
    *,
    where: str,
    message: str,
    note: Notes,
    images: str = "as_is",
    observe: str = "",
    skip_bad: bool = False,
    spec: StoreSpec | None = None,
    target_bytes: int = 128 << 20,
) -> ImportResult:
    """Add what an importer found to a store; see `import_store`. `where` names the data, `message` the commit.

    An open store reads only what is new since its last use, so that adding to it again and again costs the same each time.
    """
    path = target.path if isinstance(target, Store) else target
    store = None if not Store.exists(path) else target if isinstance(target, Store) else Store.open(path)
    wanted = _wanted(store, contents.spec, spec, where, note)
    if observe:
        contents = observed(contents, observe, wanted.observation if wanted else None, where)
    convert = Conversion(contents.spec, wanted, images=images, where=where, report=note)
    fitted = sift(
        contents.episodes,
        spec=contents.spec,
        file=str(contents.file or where),
        stem=contents.stem,
        skip_bad=skip_bad,
        report=note,
        convert=convert,
    )
    entries, num_added, num_present = _write(path, store, fitted, convert, target_bytes)
    if not num_added and not num_present:
        raise RunError(f"{where}: none of its episodes can be imported; see the findings above")
    assert convert.spec is not None
    store = store or (Store.open(path) if Store.exists(path) else Store.create(path, convert.spec))
    snapshot = store.commit(entries, message)
    return ImportResult(snapshot=snapshot, num_added=num_added, num_present=num_present, findings=tuple(note.findings))


def export_store(exporter: Exporter, snapshot: Snapshot, target: Path, *, report: Report | None = None) -> list[Finding]:
    """Write a snapshot's episodes to `target`, which must not exist; return what the format can't hold."""
    if not snapshot.num_episodes:
        raise InputError(f"{snapshot.path}: no episodes to export")
    note = Notes(report)
    exporter.write(snapshot, target, report=note)
    return note.findings


def _wanted(store: Store | None, given: StoreSpec, spec: StoreSpec | None, where: str, report: Report) -> StoreSpec | None:
    """Return the spaces that the episodes must fit: the store's, if there is one, else `spec` if that is given.

    Data of one environment in a store of another are reported; an environment named by the user must be the store's.
    """
    wanted = None if spec is None else replace(spec, infos=given.infos, env=dict(spec.env) or given.env)
    ours, theirs = environment((store.spec if store else wanted or given).env), environment(given.env)
    if ours and theirs and ours != theirs:
        report(Finding(file=where, what=f"says that its environment is {theirs}, the store's is {ours}"))
    if store is None:
        (wanted or given).check()
        return wanted
    if store.spec.infos != given.infos:
        raise InputError(
            f"{store.path}: the store has infos {list(store.spec.infos)}, not {list(given.infos)}; give infos=[...]"
        )
    if wanted is not None:
        store.spec.require_spaces(wanted.observation, wanted.action, str(store.path))
        store.spec.require_environment(wanted.env, str(store.path))
    return store.spec


def _write(
    path: str | Location, store: Store | None, episodes: Iterable[Episode], convert: Conversion, target_bytes: int
) -> tuple[list[ShardEntry], int, int]:
    """Seal the episodes that the store hasn't; return the shards, which no version lists yet, and what was counted.

    A store that isn't there is made only after this, so that an import that fails leaves none behind.
    """
    present = store.uids() if store is not None else frozenset[str]()
    writer: ShardWriter | None = None
    entries: list[ShardEntry] = []
    num_added, num_present = 0, 0
    try:
        for episode in episodes:
            if store is not None and episode.uid in present:
                if content_digest(_find(store.snapshot(), episode.uid)) != content_digest(episode):
                    has = "the store has one of this uid with other content"
                    raise RunError(f"episode {episode.uid}: {has}; import to another store")
                num_present += 1
                continue
            assert convert.spec is not None
            writer = writer or ShardWriter(location(path), convert.spec, "import", target_bytes)
            writer.add(episode)
            num_added += 1
            if writer.is_full and (entry := writer.seal()):
                entries.append(entry)
        if writer and (entry := writer.seal()):
            entries.append(entry)
    except BaseException:
        for entry in entries:
            backend(location(path)).delete(entry.path)
        raise
    return entries, num_added, num_present


def _find(snapshot: Snapshot, uid: str) -> Episode:
    return snapshot.episode(int(np.searchsorted(snapshot.episodes.uid, uid)))
