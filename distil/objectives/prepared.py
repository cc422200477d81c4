"""Samples in memory with fields that were computed once for an update, such as advantages."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from distil.errors import InputError
from distil.seeding import generator
from distil.store.order import SampleSource, Stream
from distil.store.schema import StoreSpec
from distil.store.windows import TransitionBatch
from distil.types import Array, Batch


@dataclass(frozen=True, kw_only=True)
class PreparedBatch(TransitionBatch):
    """Transitions with fields of one number a sample."""

    extras: Mapping[str, Any]  # name -> [B] float32


class PreparedSource(SampleSource):
    """All samples of another source, in its order, with further fields.

    Args:
        rows: every sample once.
        extras: name -> one number a sample.
        spec: the spaces.
    """

    tier = 1

    def __init__(self, rows: TransitionBatch, extras: Mapping[str, Array], spec: StoreSpec) -> None:
        self._rows, self._spec = PreparedBatch(**vars(rows), extras=dict(extras)), spec

    @property
    def num_samples(self) -> int:
        """Number of samples of an epoch."""
        return len(self._rows)

    @property
    def spec(self) -> StoreSpec:
        """The spaces of the samples."""
        return self._spec

    def transitions(self, names: Sequence[str], num_rows: int) -> Iterator[dict[str, Array]]:
        """Statistics are fitted before anything is prepared."""
        raise InputError("prepared samples give no statistics")

    def stream(self, seed: int) -> Stream:
        """Return the stream whose order `seed` gives."""
        return _Shuffled(self._rows, seed)

    def scan(self, batch_size: int) -> Iterator[Batch]:
        """Yield every sample once, in order."""
        for start in range(0, self.num_samples, batch_size):
            yield _take(self._rows, np.arange(start, min(start + batch_size, self.num_samples)))


class _Shuffled:
    """A stream of permutations of all samples."""

    def __init__(self, rows: PreparedBatch, seed: int) -> None:
        self._rows, self._seed = rows, seed
        self._epoch, self._order = -1, np.empty(0, np.int64)

    def take(self, position: int, num: int) -> Batch:
        wanted: list[Array] = []
        while num:
            epoch, offset = divmod(position, len(self._rows))
            if epoch != self._epoch:
                self._epoch, self._order = epoch, generator(self._seed, "epoch", epoch).permutation(len(self._rows))
            wanted.append(self._order[offset : offset + num])
            position, num = position + len(wanted[-1]), num - len(wanted[-1])
        return _take(self._rows, np.concatenate(wanted))

    def close(self) -> None:
        self._order = np.empty(0, np.int64)
        self._epoch = -1


def _take(rows: PreparedBatch, indices: Array) -> PreparedBatch:
    def pick(value: Any) -> Any:
        if value is None:
            return None
        return {name: item[indices] for name, item in value.items()} if isinstance(value, Mapping) else value[indices]

    return PreparedBatch(**{name: pick(value) for name, value in vars(rows).items()})
