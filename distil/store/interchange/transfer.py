"""A store from other data, and other data from a store: what `distil store import` and `export` do."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from distil.errors import InputError, RunError
from distil.spaces import Leaf
from distil.store.interchange.base import Exporter, Importer
from distil.store.interchange.episodes import Finding, Report, content_digest, fit, sift
from distil.store.schema import StoreSpec
from distil.store.shard import ShardEntry
from distil.store.snapshot import Snapshot
from distil.store.store import Store
from distil.types import Array, Episode


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
    path: str | Path,
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
    findings: list[Finding] = []

    def note(finding: Finding) -> None:
        findings.append(finding)
        if report is not None:
            report(finding)

    given, episodes = importer.read(source, skip_bad=skip_bad, report=note)
    store, present = _open(path, given if spec is None else replace(spec, infos=given.infos, env=dict(spec.env) or given.env))
    convert = _conversion(given, store.spec, str(source))
    loaders = ((episode.uid, _loader(convert, episode)) for episode in episodes)
    stem = source.name
    fitted = sift(loaders, spec=store.spec, file=str(source), stem=stem, skip_bad=skip_bad, report=note)
    entries, num_added, num_present = _write(store, fitted, present, target_bytes)
    if not num_added and not num_present:
        raise RunError(f"{source}: no episode in it can be taken; see what was reported, nothing was imported")
    snapshot = store.commit(entries, f"import {importer.kind} {source.name}")
    return ImportResult(snapshot=snapshot, num_added=num_added, num_present=num_present, findings=tuple(findings))


def export_store(exporter: Exporter, snapshot: Snapshot, target: Path, *, report: Report | None = None) -> list[Finding]:
    """Write a snapshot's episodes to `target`, which must not exist; return what the format can't hold."""
    if not snapshot.num_episodes:
        raise InputError(f"{snapshot.path}: no episodes to export")
    findings: list[Finding] = []

    def note(finding: Finding) -> None:
        findings.append(finding)
        if report is not None:
            report(finding)

    exporter.write(snapshot, target, report=note)
    return findings


def _open(path: str | Path, spec: StoreSpec) -> tuple[Store, dict[str, int]]:
    """Return the store, and uid -> position of the episodes in it."""
    try:
        store = Store.open(path)
    except InputError as error:
        if "no store there" not in str(error):
            raise
        store = Store.create(path, spec)
    if store.spec.infos != spec.infos:
        raise InputError(f"{path}: the store has infos {list(store.spec.infos)}, not {list(spec.infos)}; give infos=[...]")
    return store, {str(uid): i for i, uid in enumerate(store.snapshot().episodes.uid)}


def _write(
    store: Store, episodes: Iterable[Episode], present: dict[str, int], target_bytes: int
) -> tuple[list[ShardEntry], int, int]:
    writer, before = store.writer("import", target_bytes), store.snapshot()
    entries, num_added, num_present = [], 0, 0
    for episode in episodes:
        if episode.uid in present:
            if content_digest(before.episode(present[episode.uid])) != content_digest(episode):
                raise RunError(
                    f"episode {episode.uid}: the store has one of this uid with other content; import to another store"
                )
            num_present += 1
            continue
        writer.add(episode)
        num_added += 1
        if writer.is_full and (entry := writer.seal()):
            entries.append(entry)
    if entry := writer.seal():
        entries.append(entry)
    return entries, num_added, num_present


def _loader(convert: Callable[[Episode], Episode], episode: Episode) -> Callable[[], Episode]:
    return lambda: convert(episode)


def _conversion(given: StoreSpec, wanted: StoreSpec, where: str) -> Callable[[Episode], Episode]:
    """Return what makes an episode of `given` spaces one of `wanted`: other bounds, types, and the name of a sole leaf."""
    if given.observation == wanted.observation and given.action == wanted.action:
        return lambda episode: episode
    ours = {leaf.name: leaf for leaf in wanted.observation.leaves}
    theirs = {leaf.name: leaf for leaf in given.observation.leaves}
    names = {next(iter(ours)): next(iter(theirs))} if len(ours) == len(theirs) == 1 else {name: name for name in ours}
    pairs: list[tuple[Leaf, Leaf | None]] = [(leaf, theirs.get(names[name])) for name, leaf in ours.items()]
    pairs.append((wanted.action.leaf, given.action.leaf))
    if len(ours) != len(theirs) or any(leaf is None or _size(leaf) != _size(want) for want, leaf in pairs):
        raise InputError(
            f"{where}: observations {given.observation.describe()} and actions {given.action.describe()} don't fit the "
            f"store's {wanted.observation.describe()} and {wanted.action.describe()}; choose other observations=[...]"
        )

    def convert(episode: Episode) -> Episode:
        action, num = wanted.action.leaf, episode.length
        return replace(
            episode,
            observations={name: fit(episode.observations[names[name]], leaf, num + 1) for name, leaf in ours.items()},
            actions=fit(episode.actions, action, num),
            expert_actions=_labels(episode, action),
        )

    return convert


def _labels(episode: Episode, leaf: Leaf) -> Array:
    labels = fit(episode.expert_actions, leaf, episode.length)
    blank = np.zeros_like(labels)
    return np.where(episode.labelled.astype(bool).reshape(-1, *[1] * len(leaf.shape)), labels, blank)


def _size(leaf: Leaf) -> tuple[int, ...]:
    return tuple(n for n in leaf.shape if n != 1)


def episodes_of(snapshot: Snapshot) -> Iterator[Episode]:
    """Yield a snapshot's episodes in its order, one at a time."""
    for index in range(snapshot.num_episodes):
        yield snapshot.episode(index)
