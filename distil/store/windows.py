"""What a sample holds, and how rows lie in memory so that a batch of samples is one gather a column.

Rows of pieces (an episode, or a part of one) follow one another in one array a column, with a gap of G = max(H, T, n) - 1
rows before each piece and after the last. A gap repeats the episode's first observation backwards and its last action
forwards, so every window is one block of memory that needs no clamping: the sample whose transition is row q has its
observations at [q - H + 1, q] and its actions at [q, q + T - 1]. What lies further ahead (the observation n steps later, the
goal) is stored behind the piece, and found through an offset a row.

Single transitions (G = 0, nothing ahead) are packed, observation next to action, so that a sample is one read of memory; but
not wide ones, such as images, which are then read from a file to where they stay.

Legend: B batch, H observation horizon, T action chunk, n steps of return, P rows with gaps, N pieces.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Any, Literal, TypedDict

import numpy as np
from numpy.typing import NDArray

from distil.errors import InputError
from distil.store.codec import RAW
from distil.store.heap import BLOCK
from distil.store.schema import Column, StoreSpec
from distil.types import Batch

LABEL, EXECUTED, REWARD, LABELLED = "expert_action", "action", "reward", "labelled"
TERMINATED, TRUNCATED = "terminated", "truncated"
_WIDE_BYTES = 1 << 11
PAD, NEXT, GOAL = "is_pad", "next", "goal"  # columns that only memory has: [P] bool, [P] int32 rows ahead


class WindowOptions(TypedDict, total=False):
    """The fields of `Windows`, as keyword arguments."""

    obs_horizon: int
    chunk: int
    n_step: int | None
    goal: int | Literal["end"] | None
    every: bool
    rewards: bool
    float_dtype: str


@dataclass(frozen=True, kw_only=True)
class Windows:
    """What a sample holds besides the current observation and its label."""

    obs_horizon: int = 1  # H observations, the last one is the current
    chunk: int = 1  # T actions, the first one is the current
    n_step: int | None = None  # also the rewards of n steps and the observation after them: `TransitionBatch`
    goal: int | Literal["end"] | None = None  # also leaves goal/NAME: the observation so far ahead, or the episode's last
    every: bool = False  # samples start at each transition, not only at labelled ones
    rewards: bool = True  # with `n_step`: read the environment's rewards
    float_dtype: str = "float32"  # of boxes of floats; integers keep their type

    def __post_init__(self) -> None:
        """Raise InputError for sizes below 1."""
        sizes = {"obs_horizon": self.obs_horizon, "chunk": self.chunk, "n_step": self.n_step, "goal": self.goal}
        for name, size in sizes.items():
            if isinstance(size, int) and size < 1:
                raise InputError(f"{name} {size}: should be at least 1")

    @property
    def gap(self) -> int:
        """Rows G before each piece."""
        return max(self.obs_horizon, self.chunk, self.n_step or 1) - 1

    @property
    def ahead(self) -> int:
        """Rows that must follow a transition, as far as its episode has them, for what is looked up ahead."""
        return max(self.n_step or 0, self.goal if isinstance(self.goal, int) else 0)


@dataclass(frozen=True, kw_only=True)
class TransitionBatch(Batch):
    """A batch with what happened after the current observation, for `Windows.n_step`.

    A value bootstraps from `next_observations` unless `terminated`, and also where the episode was truncated.
    """

    executed: Any  # [B, 1, A...] the action that was executed, by the expert or the policy
    rewards: Any  # [B, n] float32, zeros beyond the episode's end; None: they were not read
    num_steps: Any  # [B] int64: n, or what is left of the episode
    next_observations: Any  # leaf name -> [B, 1, ...] after `num_steps` steps; the episode's final one at its end
    terminated: Any  # [B] bool: the task ended within these steps
    truncated: Any  # [B] bool: a limit cut the episode after these steps


@dataclass(frozen=True)
class Field:
    """A column in memory: what is stored, [P, *shape] of `dtype` (of a compressed one: where its rows lie in a heap)."""

    name: str
    column: Column | None  # where it is from; None: it is computed
    dtype: np.dtype[Any]
    shape: tuple[int, ...]
    is_observation: bool = False

    @property
    def is_compressed(self) -> bool:
        """Whether it is decoded at batch time."""
        return self.dtype == BLOCK

    @property
    def value_shape(self) -> tuple[int, ...]:
        """Shape of a value, decoded."""
        return self.column.shape if self.is_compressed and self.column else self.shape

    @property
    def value_dtype(self) -> np.dtype[Any]:
        """Type of a value, decoded."""
        return self.column.dtype if self.is_compressed and self.column else self.dtype

    @property
    def is_wide(self) -> bool:
        """Whether a row, such as an image, is worth a read of its own."""
        return self.row_bytes > _WIDE_BYTES

    @property
    def row_bytes(self) -> int:
        """Bytes of a row, without the heap."""
        return self.dtype.itemsize * int(np.prod(self.shape, dtype=object))


@dataclass(frozen=True)
class Layout:
    """The columns in memory that samples of `windows` need."""

    spec: StoreSpec
    windows: Windows

    @cached_property
    def fields(self) -> dict[str, Field]:
        """The columns by name."""
        leaves = [leaf.name for leaf in self.spec.observation.leaves]
        ahead = {EXECUTED, TERMINATED, TRUNCATED, *([REWARD] if self.windows.rewards else [])}
        wanted = {*leaves, LABEL} | (ahead if self.windows.n_step else set())
        out = {c.name: self._field(c, c.name in leaves) for c in self.spec.columns() if c.name in wanted}
        out[PAD] = Field(PAD, None, np.dtype(np.bool_), ())
        for name, wants in ((NEXT, self.windows.n_step), (GOAL, self.windows.goal)):
            if wants is not None:
                out[name] = Field(name, None, np.dtype(np.int32), ())
        return out

    def _field(self, column: Column, is_observation: bool) -> Field:
        if column.codec != RAW:
            return Field(column.name, column, BLOCK, (), is_observation)
        is_float = np.issubdtype(column.dtype, np.floating) and column.name != REWARD
        dtype = np.dtype(np.float32 if column.name == REWARD else self.windows.float_dtype if is_float else column.dtype)
        return Field(column.name, column, dtype, column.shape, is_observation)

    @cached_property
    def observations(self) -> tuple[Field, ...]:
        """The observation's leaves."""
        return tuple(field for field in self.fields.values() if field.is_observation)

    @cached_property
    def compressed(self) -> tuple[str, ...]:
        """Names of the columns that are held compressed."""
        return tuple(field.name for field in self.fields.values() if field.is_compressed)

    @property
    def is_packed(self) -> bool:
        """Whether observation and label lie side by side. Wide rows don't: they are many reads of memory anyway."""
        return self.is_single and self.packed_dtype.itemsize <= _WIDE_BYTES

    @property
    def is_laid(self) -> bool:
        """Whether streamed samples are read to where their order has them: wide ones, that are used as they are stored."""
        wide = [field for field in self.fields.values() if field.is_wide]
        return self.is_single and not self.is_packed and all(x.column and x.dtype == x.column.dtype for x in wide)

    @property
    def is_single(self) -> bool:
        """Whether a sample is one transition: an observation and its label."""
        windows = self.windows
        return windows.gap == 0 and windows.n_step is None and windows.goal is None and not windows.every

    @cached_property
    def packed_dtype(self) -> np.dtype[Any]:
        """The type of a packed row."""
        names = [*(field.name for field in self.observations), LABEL]
        fields = [self.fields[name] for name in names]
        return np.dtype([(field.name, field.dtype, (1, *field.shape)) for field in fields], align=True)

    @cached_property
    def row_bytes(self) -> int:
        """Bytes of a row in memory, without heaps."""
        if self.is_single:  # also of wide rows: the order of streamed samples depends on it
            return self.packed_dtype.itemsize + 1
        return sum(field.row_bytes for field in self.fields.values())


@dataclass(frozen=True, kw_only=True)
class Pieces:
    """N parts of episodes: transitions [begin, end) of an episode of `length`, whose rows start at `row` of `shard`."""

    shard: NDArray[np.int64]
    row: NDArray[np.int64]
    length: NDArray[np.int64]
    begin: NDArray[np.int64]
    end: NDArray[np.int64]
    full: NDArray[np.bool_]  # whether all of the episode's transitions are labelled

    def __len__(self) -> int:
        return len(self.shard)

    @property
    def num(self) -> NDArray[np.int64]:
        """Transitions of each piece."""
        return self.end - self.begin

    def take(self, indices: NDArray[np.int64]) -> Pieces:
        """Return the pieces at `indices`."""
        return Pieces(**{name: values[indices] for name, values in self.__dict__.items()})


@dataclass(frozen=True, kw_only=True)
class Places:
    """Where pieces lie in memory."""

    first: NDArray[np.int64]  # [N] row of the first transition
    after: NDArray[np.int64]  # [N] observation rows stored behind the last transition
    extra: NDArray[np.int64]  # [N] 1 where the episode's last observation is stored behind those
    end: int  # row after the last piece and its gap


def place(pieces: Pieces, windows: Windows, start: int = 0) -> Places:
    """Return where `pieces` go in memory from row `start` on, where the gap before the first piece begins."""
    left = pieces.length + 1 - pieces.end  # observations of the episode behind the piece
    after = np.minimum(windows.ahead, left)
    extra = np.zeros_like(left)
    if windows.goal == "end":
        after = np.where(left == 1, 1, after)
        extra = (after < left).astype(np.int64)
    size = windows.gap + pieces.num + after + extra
    ends = start + np.cumsum(size)
    end = int(ends[-1]) + windows.gap if len(ends) else start
    return Places(first=ends - size + windows.gap, after=after, extra=extra, end=end)
