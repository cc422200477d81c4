"""The order of samples: positions in an endless stream of epochs, and which of them a rank's batches hold."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Generator, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from distil.errors import InputError
from distil.store.moments import Moments, block_rows, gather
from distil.store.schema import StoreSpec
from distil.types import Array, Batch

_AHEAD, _AHEAD_BYTES = 32, 1 << 20  # batches fetched in one go: at most this many, while they fit a core's cache


@dataclass(frozen=True, kw_only=True)
class Cursor:
    """A position in the stream of samples: `offset` samples into epoch `epoch`, at any world size."""

    epoch: int = 0
    offset: int = 0

    def advance(self, num: int, num_samples: int) -> Cursor:
        """Return the position `num` samples later, where an epoch has `num_samples`."""
        epochs, offset = divmod(self.offset + num, num_samples)
        return Cursor(epoch=self.epoch + epochs, offset=offset)


class Stream(Protocol):
    """A reader's state in one order of samples."""

    def take(self, position: int, num: int) -> Batch:
        """Return `num` samples from `position` on (counted over all epochs). Ascending positions are cheapest.

        Batches may be views of what the stream holds: after a change to one, don't take its samples again.
        """

    def close(self) -> None:
        """Free what it holds."""


class SampleSource(ABC):
    """Samples of a snapshot, in memory (`Sampler`), streamed (`StreamSampler`) or mixed: the same contract."""

    tier: int  # 1: in memory, 2: streamed
    rows_are_alike = True  # a sample looks the same whichever others are fetched with it
    is_weighted = False  # all batches have weights, or none

    @property
    @abstractmethod
    def num_samples(self) -> int:
        """Number of samples of an epoch: one starts at each labelled transition."""

    @property
    @abstractmethod
    def spec(self) -> StoreSpec:
        """The spaces of the samples."""

    @abstractmethod
    def transitions(self, names: Sequence[str], num_rows: int) -> Iterator[dict[str, Array]]:
        """Yield the transitions that start samples, in the snapshot's order: current observations and labels.

        Args:
            names: of leaves, and "action".
            num_rows: of a block, at most; name -> [<= num_rows, ...], new arrays.
        """

    @abstractmethod
    def stream(self, seed: int) -> Stream:
        """Return the stream whose order `seed` gives."""

    @abstractmethod
    def scan(self, batch_size: int) -> Iterator[Batch]:
        """Yield every sample once, in the snapshot's order; the last batch may be smaller."""

    def batches(
        self,
        *,
        batch_size: int,
        seed: int,
        cursor: Cursor | None = None,
        rank: int = 0,
        world_size: int = 1,
        num_batches: int | None = None,
        convert: Callable[[Batch], Batch] | None = None,
    ) -> Generator[Batch, None, None]:
        """Yield this rank's part of each global batch of the endless stream that starts at `cursor`.

        The stream is one shuffled order of all samples after another, so batches are always full and each epoch has every
        sample once. The same content, seed and cursor give the same batches at any world size.

        Args:
            batch_size: of the global batch, B.
            seed: of the order.
            cursor: where to start; None: at the beginning.
            rank: which slice of each global batch to take.
            world_size: number of slices; InputError unless it divides `batch_size`.
            num_batches: stop after this many; None: never.
            convert: changes what was fetched, several batches at once, before it is cut into batches: rows stay rows.
        """
        if batch_size < 1 or world_size < 1 or batch_size % world_size:
            raise InputError(f"batch_size {batch_size}: should be a multiple of the number of learners, {world_size}")
        assert 0 <= rank < world_size
        start, part = cursor or Cursor(), batch_size // world_size
        position = start.epoch * self.num_samples + start.offset + rank * part
        return self._batches(seed, position, part, batch_size, num_batches, convert)

    def _batches(
        self, seed: int, position: int, part: int, size: int, num: int | None, convert: Callable[[Batch], Batch] | None
    ) -> Generator[Batch, None, None]:
        stream = self.stream(seed)
        left, ahead = num, 1
        try:
            while left is None or left > 0:
                count = ahead if left is None else min(ahead, left)
                block = stream.take(position, part * count)
                # A list: after a training step little is left in the processor's caches, and making a view then takes longer.
                yield from list(parts(block if convert is None else convert(block), part))
                position += size * count
                left = None if left is None else left - count
                if (
                    part == size and self.rows_are_alike
                ):  # one rank's batches follow one another: fetch several small ones at once
                    ahead = max(1, min(_AHEAD, _AHEAD_BYTES * count // _num_bytes(block)))
        finally:
            stream.close()

    def statistics(self, names: Sequence[str] | None = None) -> dict[str, Moments]:
        """Return name -> exact moments over all samples (of images: over the values as they are), in one pass.

        Args:
            names: of leaves, and "action"; None: all.

        Raises:
            InputError: a value isn't finite.
            RunError: a shard is damaged.
        """
        shapes = {leaf.name: leaf.shape for leaf in self.spec.observation.leaves} | {"action": self.spec.action.leaf.shape}
        names = list(shapes) if names is None else names
        return gather(self.transitions(names, block_rows(shapes[name] for name in names))) if names else {}


def _num_bytes(batch: Batch) -> int:
    return int(sum(value.nbytes for value in batch.observations.values()) + batch.actions.nbytes)


def parts(batch: Batch, size: int) -> Iterator[Batch]:
    """Yield views of a batch (or of a kind with more fields), `size` rows each; the last one may be smaller.

    They are made as unpickling makes them, without `__init__`: that would cost more than the views.
    """
    kind, num = type(batch), len(batch)
    new, columns = kind.__new__, [(name, _parts(value, num, size)) for name, value in vars(batch).items()]
    for i in range(-(-num // size)):
        part = new(kind)
        fields = vars(part)
        for name, values in columns:
            fields[name] = values[i]
        yield part


def _parts(value: Any, num: int, size: int) -> list[Any]:
    """Return the value of each part."""
    count, whole = -(-num // size), num // size * size
    if value is None:
        return [None] * count
    if isinstance(value, Mapping):
        columns = [(name, _parts(item, num, size)) for name, item in value.items()]
        return [{name: values[i] for name, values in columns} for i in range(count)]
    full = value[:whole].reshape(num // size, size, *value.shape[1:])  # its rows are views that cost little
    return [*full, value[whole:]] if whole < num else [*full]
