"""Mixtures: batches that draw from several stores in given proportions, each store in its own shuffled order.

Positions of the mixed stream come in cycles. A cycle gives each part a fixed number of positions, its weight's share by
largest remainders, in an order that is a permutation of (seed, cycle). So a part's own position follows from the mixed one by
arithmetic: any cursor resumes, and ranks take slices, as for a single store.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from functools import lru_cache
from itertools import chain
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pydantic import Field, model_validator

from distil.config import Config
from distil.errors import InputError
from distil.seeding import generator, integer
from distil.store.order import SampleSource, Stream
from distil.store.schema import StoreSpec
from distil.store.selection import SelectionConfig
from distil.store.snapshot import Snapshot
from distil.store.store import Store
from distil.types import Array, Batch

_CYCLE = 1000


class PartConfig(Config):
    """One store of a mixture."""

    path: str  # folder or URL
    version: int | str | None = None  # or tag; None: the newest
    weight: float = Field(default=1.0, gt=0)  # share of the samples, relative to the other parts'
    select: SelectionConfig = SelectionConfig()


class MixtureConfig(Config):
    """`data.mixture:` several stores with equal spaces, sampled in proportion to their weights."""

    parts: tuple[PartConfig, ...] = Field(min_length=1)

    @model_validator(mode="after")
    def _consistent(self) -> MixtureConfig:
        _counts(self.weights)
        return self

    @property
    def weights(self) -> tuple[float, ...]:
        """The parts' weights."""
        return tuple(part.weight for part in self.parts)

    def resolve(self) -> list[Snapshot]:
        """Return each part's chosen episodes; InputError, naming both spaces, if they differ."""
        stores = [Store.open(part.path) for part in self.parts]
        for store, part in zip(stores[1:], self.parts[1:], strict=True):
            store.spec.require_spaces(stores[0].spec.observation, stores[0].spec.action, part.path, "first part")
        return [part.select.resolve(store.snapshot(part.version)) for store, part in zip(stores, self.parts, strict=True)]

    def pin(self, versions: Sequence[int] | None = None) -> MixtureConfig:
        """Return the mixture that stays the same when others write to the stores, and in any working folder.

        Args:
            versions: of the parts, from an earlier `pin`; None: those that the parts name now.
        """
        stores = [Store.open(part.path) for part in self.parts]
        if versions is None:
            versions = [store.snapshot(part.version).version for store, part in zip(stores, self.parts, strict=True)]
        facts = [{"path": str(store.path.resolve()), "version": at} for store, at in zip(stores, versions, strict=True)]
        parts = tuple(part.model_copy(update=new) for part, new in zip(self.parts, facts, strict=True))
        return self.model_copy(update={"parts": parts})


def distinct(parts: Sequence[Snapshot]) -> list[Snapshot]:
    """Return of each part the episodes whose steps no earlier part has: parts may overlap, or be copies of one another."""
    out, seen = [], np.empty(0, "V16")
    for part in parts:
        out.append(part.select(np.flatnonzero(~np.isin(part.episodes.digest, seen))))
        seen = np.concatenate([seen, part.episodes.digest])
    return out


def split(parts: Sequence[Snapshot], validation_fraction: float, seed: int) -> list[tuple[Snapshot, Snapshot]]:
    """Return (training, validation) of each part, as `Snapshot.split` does; no part trains on what another one holds out.

    An episode of several parts is split where it comes first, and held out at most once. As the stores grow, what is held out
    stays so.
    """
    held_out = [new.split(validation_fraction, seed)[1] for new in distinct(parts)]
    digests = np.concatenate([part.episodes.digest for part in held_out])
    kept = [part.select(np.flatnonzero(~np.isin(part.episodes.digest, digests))) for part in parts]
    return list(zip(kept, held_out, strict=True))


class MixedSampler(SampleSource):
    """Samples of several sources. An epoch of it is as many samples as all of them have; small parts repeat in it.

    If a source has weights of samples, those of the others are 1; a source's share of a batch doesn't depend on them.
    """

    def __init__(self, sources: Sequence[SampleSource], weights: Sequence[float]) -> None:
        """Mix `sources` (of equal spaces and windows) in proportion to `weights`, all positive."""
        assert len(sources) == len(weights) > 0
        self._sources = tuple(sources)
        self._counts = _counts(weights)
        self.tier = max(source.tier for source in sources)
        self.is_weighted = any(source.is_weighted for source in sources)

    @property
    def num_samples(self) -> int:
        """Number of samples of all sources."""
        return sum(source.num_samples for source in self._sources)

    @property
    def spec(self) -> StoreSpec:
        """The spaces of the samples."""
        return self._sources[0].spec

    def transitions(self, names: Sequence[str], num_rows: int) -> Iterator[dict[str, Array]]:
        """Yield the transitions that start samples of all sources, one source after another, as in `SampleSource`."""
        return chain.from_iterable(source.transitions(names, num_rows) for source in self._sources)

    def stream(self, seed: int) -> Stream:
        """Return the stream whose order `seed` gives."""
        return _Mixed(self._sources, self._counts, seed, is_weighted=self.is_weighted)

    def scan(self, batch_size: int) -> Iterator[Batch]:
        """Yield every sample of every source once; the last batch of each source may be smaller."""
        for source in self._sources:
            for batch in source.scan(batch_size):
                yield _with_weights(batch) if self.is_weighted else batch


class _Mixed:
    def __init__(self, sources: Sequence[SampleSource], counts: NDArray[np.int64], seed: int, *, is_weighted: bool) -> None:
        self._is_weighted = is_weighted
        self._streams = [source.stream(integer(seed, "part", i)) for i, source in enumerate(sources)]
        self._counts, owners = counts, np.repeat(np.arange(len(counts)), counts)
        self._cycle = lru_cache(maxsize=4)(lambda cycle: generator(seed, "cycle", cycle).permutation(owners))

    def take(self, position: int, num: int) -> Batch:
        cycle, offset = divmod(position, _CYCLE)
        cycles = range(cycle, (position + num - 1) // _CYCLE + 1)
        owners = np.concatenate([self._cycle(c) for c in cycles])
        before = cycle * self._counts + np.bincount(owners[:offset], minlength=len(self._counts))
        owners = owners[offset : offset + num]
        parts = []
        for part, stream in enumerate(self._streams):
            rows = np.flatnonzero(owners == part)
            if len(rows):
                batch = stream.take(int(before[part]), len(rows))
                parts.append((rows, _with_weights(batch) if self._is_weighted else batch))
        return _interleave(parts, num)

    def close(self) -> None:
        for stream in self._streams:
            stream.close()


def _with_weights(batch: Batch) -> Batch:
    """Return the batch with ones for weights if it has none: all batches have them, or learners would wait for each other."""
    return batch if batch.weights is not None else replace(batch, weights=np.ones(len(batch), np.float32))


def _interleave(parts: Sequence[tuple[NDArray[np.int64], Batch]], num: int) -> Batch:
    """Return one batch with each part's samples at its rows."""

    def join(values: Sequence[Array]) -> Array:
        out = np.empty((num, *values[0].shape[1:]), values[0].dtype)
        for (rows, _), value in zip(parts, values, strict=True):
            out[rows] = value
        return out

    batches = [batch for _, batch in parts]
    fields: dict[str, Any] = {}
    for name, value in batches[0].__dict__.items():
        values = [getattr(batch, name) for batch in batches]
        if isinstance(value, Mapping):
            fields[name] = {key: join([item[key] for item in values]) for key in value}
        else:
            fields[name] = None if value is None else join(values)
    return type(batches[0])(**fields)


def _counts(weights: Sequence[float]) -> NDArray[np.int64]:
    """Return how many positions of a cycle each part gets."""
    counts = _shares(weights, _CYCLE)
    if (counts == 0).any():
        raise InputError(f"weights {list(weights)} of a mixture: the smallest is below 1/{_CYCLE} of the sum; raise it")
    return counts


def _shares(weights: Sequence[float], total: int) -> NDArray[np.int64]:
    """Return integers that sum to `total`, in proportion to `weights`, by largest remainders."""
    exact = np.asarray(weights, np.float64) / np.sum(weights) * total
    out: NDArray[np.int64] = np.floor(exact).astype(np.int64)
    out[np.argsort(out - exact, kind="stable")[: total - int(out.sum())]] += 1
    return out
