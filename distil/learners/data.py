"""What a stream of an update draws from: the episodes of one store, or of several in proportion to shares."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import xxhash

from distil.errors import InputError
from distil.plans import DEMOS
from distil.store.mixture import MixedSampler, split
from distil.store.order import SampleSource
from distil.store.reading import Reader

if TYPE_CHECKING:
    from distil.store.snapshot import Snapshot
    from distil.store.weights import WeightConfig


@dataclass(frozen=True, kw_only=True)
class TrainingData:
    """Pinned episodes. Several parts are a mixture; they may be of one store, and overlap."""

    parts: tuple[Snapshot, ...]
    shares: tuple[float, ...] | None = None  # of a mixture: each part's, of the samples; None: there is one part

    def weighted(self, weights: WeightConfig) -> TrainingData:
        """Return the same episodes with the weights of samples that a plan wants."""
        return replace(self, parts=weights.apply(*self.parts))

    @property
    def digest(self) -> str:
        """Identity of what is learned, in hex: the content, its weights and, of a mixture, the parts' shares."""
        if self.shares is None:
            return self.parts[0].digest
        facts = [[part.digest, share] for part, share in zip(self.parts, self.shares, strict=True)]
        return xxhash.xxh3_128_hexdigest(json.dumps(facts).encode())

    def sources(
        self, reader: Reader, *, validation_fraction: float, seed: int, obs_horizon: int, chunk: int
    ) -> tuple[SampleSource, SampleSource | None]:
        """Return the sources of the training and the held-out episodes; None if nothing is held out. These have no weights.

        Args:
            reader: reads all of them within one budget.
            validation_fraction: of the episodes of each part, about (see `Snapshot.split`).
            seed: picks the held-out episodes.
            obs_horizon: observations of a window.
            chunk: actions of a window.

        Raises:
            InputError: a part has no labelled transition to train on; the reader's budget is too small.
        """
        if self.shares is None:
            halves = [self.parts[0].split(validation_fraction, seed)]
        else:
            halves = split(self.parts, validation_fraction, seed)
        for part, (training, _) in zip(self.parts, halves, strict=True):
            if not _is_labelled(training):
                raise InputError(_nothing(part))
        halves = [(training, replace(held_out, weights=None)) for training, held_out in halves]
        labelled = [[half for half in pair if _is_labelled(half)] for pair in halves]
        found = reader.mixture(labelled, obs_horizon=obs_horizon, chunk=chunk)
        return self._mix([parts[0] for parts in found]), self._held_out([parts[1:] for parts in found])

    def _mix(self, sources: Sequence[SampleSource]) -> SampleSource:
        return sources[0] if self.shares is None else MixedSampler(sources, self.shares)

    def _held_out(self, found: Sequence[Sequence[SampleSource]]) -> SampleSource | None:
        sources = [source for part in found for source in part]
        if not sources:
            return None
        return sources[0] if self.shares is None else MixedSampler(sources, [1.0] * len(sources))  # only scanned


Streams = Mapping[str, TrainingData]


def demos(*parts: Snapshot, shares: Sequence[float] | None = None) -> Streams:
    """Return the streams of an update that learns from demonstrations alone: one snapshot, or several in given shares."""
    return {DEMOS: TrainingData(parts=parts, shares=None if shares is None else tuple(shares))}


def _is_labelled(snapshot: Snapshot) -> bool:
    return bool(snapshot.episodes.num_labelled.any())


def _nothing(part: Snapshot) -> str:
    if _is_labelled(part):
        return (
            f"{part.path}: all labelled episodes of this part are held out; choose more, or set learner.validation_fraction=0"
        )
    return f"{part.path}: no labelled transition to train on; collect demonstrations first (distil collect)"
