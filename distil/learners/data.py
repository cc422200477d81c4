"""What an update trains on: the episodes of one store, or of several in proportion to weights; and how much each counts."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import xxhash

from distil.errors import InputError
from distil.plans import UpdatePlan
from distil.store.mixture import MixedSampler, MixtureConfig, split
from distil.store.order import SampleSource
from distil.store.reading import Reader

if TYPE_CHECKING:
    from distil.store.snapshot import Snapshot


@dataclass(frozen=True, kw_only=True)
class Data:
    """Episodes to train on. Several parts are a mixture; they may be of one store, and overlap."""

    parts: tuple[Snapshot, ...]
    mixture: MixtureConfig | None = None

    @staticmethod
    def of(plan: UpdatePlan, snapshot: Snapshot | None) -> Data:
        """Return the data of `plan`: those of its mixture, or else of `snapshot`; weighted as the plan wants."""
        if plan.mixture is not None:
            return Data(parts=plan.weights.apply(*plan.mixture.resolve()), mixture=plan.mixture)
        assert snapshot is not None
        return Data(parts=plan.weights.apply(snapshot))

    @property
    def digest(self) -> str:
        """Identity of what is learned, in hex: the content, its weights and, of a mixture, the parts' shares."""
        if self.mixture is None:
            return self.parts[0].digest
        facts = [[part.digest, weight] for part, weight in zip(self.parts, self.mixture.weights, strict=True)]
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
        if self.mixture is None:
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
        return sources[0] if self.mixture is None else MixedSampler(sources, self.mixture.weights)

    def _held_out(self, found: Sequence[Sequence[SampleSource]]) -> SampleSource | None:
        sources = [source for part in found for source in part]
        if not sources:
            return None
        return sources[0] if self.mixture is None else MixedSampler(sources, [1.0] * len(sources))  # only scanned


def _is_labelled(snapshot: Snapshot) -> bool:
    return bool(snapshot.episodes.num_labelled.any())


def _nothing(part: Snapshot) -> str:
    if _is_labelled(part):
        return (
            f"{part.path}: all labelled episodes of this part are held out; choose more, or set learner.validation_fraction=0"
        )
    return f"{part.path}: no labelled transition to train on; collect demonstrations first (distil collect)"
