"""The data of an update's streams: for each, the episodes of one store, or of several in proportion to shares."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np
import xxhash
from numpy.typing import NDArray

from distil.errors import InputError
from distil.plans import DEMOS
from distil.store.mixture import MixedSampler, split
from distil.store.order import SampleSource
from distil.store.reading import Reader

if TYPE_CHECKING:
    from distil.store.snapshot import Snapshot
    from distil.store.weighting import WeightConfig
    from distil.store.windows import WindowOptions


@dataclass(frozen=True, kw_only=True)
class TrainingData:
    """Pinned episodes of a stream. Several parts are a mixture; parts may come from the same store and overlap."""

    parts: tuple[Snapshot, ...]
    shares: tuple[float, ...] | None = None  # of a mixture: each part's share of the samples; None: there is one part

    def weighted(self, weights: WeightConfig) -> TrainingData:
        """Return the same episodes with a plan's sample weights."""
        return replace(self, parts=weights.apply(*self.parts))

    @property
    def digest(self) -> str:
        """Digest of the training data, in hex: content, weights and, of a mixture, the parts' shares."""
        if self.shares is None:
            return self.parts[0].digest
        facts = [[part.digest, share] for part, share in zip(self.parts, self.shares, strict=True)]
        return xxhash.xxh3_128_hexdigest(json.dumps(facts).encode())

    def split(self, validation_fraction: float, seed: int) -> list[tuple[Snapshot, Snapshot]]:
        """Return (training, held-out episodes) of each part; no part trains on what another one holds out."""
        if self.shares is None:
            return [self.parts[0].split(validation_fraction, seed)]
        return split(self.parts, validation_fraction, seed)

    def mix(self, sources: Sequence[SampleSource]) -> SampleSource:
        """Return one source of the parts' samples, in proportion to their shares."""
        return sources[0] if self.shares is None else MixedSampler(sources, self.shares)

    def chain(self, sources: Sequence[SampleSource]) -> SampleSource:
        """Return one source of the parts' samples, to be scanned."""
        return sources[0] if self.shares is None else MixedSampler(sources, [1.0] * len(sources))


Streams = Mapping[str, TrainingData]


def demos(*parts: Snapshot, shares: Sequence[float] | None = None) -> Streams:
    """Return the streams of an update on demonstrations only: one snapshot, or several with the given shares."""
    return {DEMOS: TrainingData(parts=parts, shares=None if shares is None else tuple(shares))}


def digest_of(streams: Streams) -> str:
    """Return the digest, in hex, of the training data of all streams."""
    if len(streams) == 1 and DEMOS in streams:
        return streams[DEMOS].digest  # as in checkpoints of versions that had one stream only
    facts = sorted((name, data.digest) for name, data in streams.items())
    return xxhash.xxh3_128_hexdigest(json.dumps(facts).encode())


@dataclass(frozen=True, kw_only=True)
class Sources:
    """The sources of samples of an update."""

    training: Mapping[str, SampleSource]  # by stream
    held_out: SampleSource | None  # of the main stream; None: nothing is held out. Without weights

    @property
    def tier(self) -> int:
        """1: all streams are in memory, 2: one is streamed."""
        return max(source.tier for source in self.training.values())


def open_sources(
    streams: Streams, needs: Mapping[str, WindowOptions], reader: Reader, *, validation_fraction: float, seed: int
) -> Sources:
    """Return the sources of the streams in `needs`, the main one first. No stream trains on what the main one holds out.

    Args:
        streams: by name.
        needs: name -> what a sample of that stream holds.
        reader: reads all of them within one budget.
        validation_fraction: of the episodes of each part of the main stream, about (see `Snapshot.split`).
        seed: picks the held-out episodes.

    Raises:
        InputError: there is no such stream; a part has nothing to train on; chunks are longer than all episodes; the reader's
            budget is too small.
    """
    if missing := [name for name in needs if name not in streams]:
        raise InputError(f"the objective needs a stream {missing[0]!r}, the plan has {', '.join(streams)}; fix `needs`")
    main = next(iter(needs))
    halves = streams[main].split(validation_fraction, seed)
    out = np.concatenate([held_out.episodes.digest for _, held_out in halves])
    stores: list[list[Snapshot]] = []
    windows: list[WindowOptions] = []
    for name, options in needs.items():
        data, every = streams[name], options.get("every", False)
        pairs = halves if name == main else [(_without(part, out), None) for part in data.parts]
        for part, (training, held_out) in zip(data.parts, pairs, strict=True):
            if not _has_samples(training, every):
                raise InputError(_nothing(part, every))
            unweighted = [] if held_out is None else [replace(held_out, weights=None)]
            stores.append([training, *(half for half in unweighted if _has_samples(half, every))])
            windows.append(options)
        require_chunks([training for training, _ in pairs], options.get("chunk", 1))
    opened = iter(reader.mixture(stores, windows))
    parts = {name: [next(opened) for _ in streams[name].parts] for name in needs}
    held = [source for part in parts[main] for source in part[1:]]
    return Sources(
        training={name: streams[name].mix([part[0] for part in found]) for name, found in parts.items()},
        held_out=streams[main].chain(held) if held else None,
    )


def require_chunks(parts: Sequence[Snapshot], chunk: int) -> None:
    """Raise InputError if no episode of a stream's parts is as long as a chunk: its last actions would never be learned."""
    longest = max((int(part.episodes.length.max(initial=0)) for part in parts), default=0)
    if longest < chunk:
        raise InputError(
            f"{parts[0].path}: policy.chunk={chunk} is longer than each of the episodes to learn from, of {longest} steps at "
            "most: lower it, or take longer episodes"
        )


def _without(snapshot: Snapshot, digests: NDArray[Any]) -> Snapshot:
    """Return the episodes whose steps have none of these digests."""
    return snapshot.select(np.flatnonzero(~np.isin(snapshot.episodes.digest, digests))) if len(digests) else snapshot


def _has_samples(snapshot: Snapshot, every: bool) -> bool:
    return bool(snapshot.num_episodes if every else snapshot.episodes.num_labelled.any())


def _nothing(part: Snapshot, every: bool) -> str:
    if _has_samples(part, every):
        return (
            f"{part.path}: all labelled episodes of this part are held out; select more, or set learner.validation_fraction=0"
        )
    what = "episode" if every else "labelled transition"
    return f"{part.path}: no {what} to train on; collect demonstrations first (distil collect)"
