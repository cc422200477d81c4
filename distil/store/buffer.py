"""The episodes that wait to be sealed: checked, and copied once into columns that are written as they are."""

from __future__ import annotations

from collections.abc import Container, Sequence
from itertools import accumulate
from typing import Any

import numpy as np
import pyarrow as pa
import xxhash

from distil.errors import RunError
from distil.store import codec
from distil.store.schema import INDEX_SCHEMA, MAX_UID_LENGTH, UNKNOWN_SUCCESS, Column, StoreSpec
from distil.types import Array, Episode

_DERIVED = ("terminated", "truncated", "episode", "step")  # the last columns: they follow from an episode's length and end
_FACTS = ("first_row", "length", "terminated", "truncated")  # what they follow from
_ENDS = b"\0\0", b"\1\0"  # a flag of the last step and of the row after it
_BOOL, _BYTE = np.dtype(np.bool_), np.dtype(np.uint8)


class EpisodeBuffer:
    """Rows of complete episodes, column by column. Its memory is kept and used again after `clear`."""

    def __init__(self, spec: StoreSpec, target_bytes: int) -> None:
        """Prepare for about `target_bytes`; more fits too."""
        self._spec, columns = spec, spec.columns()
        self._leaves = {leaf.name for leaf in spec.observation.leaves}
        self._columns = [column for column in columns if column.name not in _DERIVED]  # in the order of `_values`
        self._row_bytes = sum(column.row_bytes for column in columns if column.codec == codec.RAW)
        rows = max(1024, min(target_bytes, 1 << 30) * 5 // (4 * max(1, spec.row_bytes)))
        self._rows: dict[str, Array] = {  # untouched memory costs nothing
            column.name: np.empty((rows, *column.shape), column.dtype) for column in self._columns if column.codec == codec.RAW
        }
        self._steps = np.arange(1024, dtype=np.int32)
        self.clear()

    def clear(self) -> None:
        """Forget all episodes."""
        self.num_bytes = 0
        self._encoded: dict[str, list[pa.Array]] = {c.name: [] for c in self._columns if c.codec != codec.RAW}
        self._infos: list[str] = []
        self._facts: dict[str, tuple[Any, ...]] = {}  # uid -> a row of the index. What isn't here doesn't count

    def __len__(self) -> int:
        return len(self._facts)

    @property
    def num_rows(self) -> int:
        """Number of rows."""
        if not self._facts:
            return 0
        _, first, length, *_ = self._facts[next(reversed(self._facts))]
        return int(first) + int(length) + 1

    @property
    def num_transitions(self) -> int:
        """Number of actions."""
        return self.num_rows - len(self)

    def add(self, *episodes: Episode) -> None:
        """Copy the T+1 rows of each episode; RunError names a uid and the leaf that doesn't fit, and nothing is added then."""
        if not episodes:
            return
        values, uids = [], set[str]()
        for episode in episodes:
            self._check_facts(episode, uids)
            uids.add(episode.uid)
            values.append(self._fitting(episode))
        ends = list(accumulate((episode.length + 1 for episode in episodes), initial=self.num_rows))
        self._reserve(ends[-1])
        self._forget_interrupted(ends[0])
        digests = self._copy(list(zip(*values, strict=True)), ends)
        facts = {}
        for episode, first, digest in zip(episodes, ends, digests, strict=False):
            self._finish(episode, digest)
            facts[episode.uid] = _fact(episode, first, digest.digest())
        self.num_bytes += (ends[-1] - ends[0]) * self._row_bytes
        self._facts |= facts  # last, in one go: an interrupt leaves all of them or none

    def _forget_interrupted(self, num_rows: int) -> None:
        """Drop what an `add` that was interrupted has left behind."""
        del self._infos[num_rows:]
        for arrays in self._encoded.values():
            del arrays[len(self) :]

    def _copy(self, columns: Sequence[Sequence[Array]], ends: Sequence[int]) -> list[Any]:
        """Copy what each column has of each episode to rows [ends[0], ends[1]), ...; return the episodes' digests so far."""
        digests = [xxhash.xxh3_128() for _ in ends[1:]]
        for column, parts in zip(self._columns, columns, strict=True):
            if column.codec != codec.RAW:
                self._encode(column, parts, digests)
                continue
            rows = self._rows[column.name][ends[0] : ends[-1]]
            self._join(column, parts, rows)
            data, size = rows.data.cast("B"), column.row_bytes
            for digest, begin, end in zip(digests, ends, ends[1:], strict=False):
                digest.update(data[(begin - ends[0]) * size : (end - ends[0]) * size])
        return digests

    def _join(self, column: Column, parts: Sequence[Array], out: Array) -> None:
        """Put parts of a column behind one another; where a part has T rows, a row of zeros comes last."""
        if column.name not in self._leaves:
            zeros = np.zeros((1, *column.shape), column.dtype)
            parts = [rows for part in parts for rows in (part, zeros)]
        np.concatenate(parts, out=out)

    def _encode(self, column: Column, parts: Sequence[Array], digests: Sequence[Any]) -> None:
        for part, digest in zip(parts, digests, strict=True):
            rows = np.empty((len(part) + (column.name not in self._leaves), *column.shape), column.dtype)
            self._join(column, [part], rows)
            digest.update(rows.data)
            self._encoded[column.name].append(column.to_arrow(rows))
            self.num_bytes += self._encoded[column.name][-1].nbytes

    def _finish(self, episode: Episode, digest: Any) -> None:
        """Add what follows from an episode's length and end, and its infos, to its digest."""
        num, before = episode.length, bytes(episode.length - 1)
        digest.update(before + _ENDS[bool(episode.terminated)] + before + _ENDS[bool(episode.truncated)])
        digest.update(self._steps_of(num + 1).data)
        infos = [*(episode.infos or ()), ""] if self._spec.infos else []
        for info in infos:
            digest.update(info.encode() + b"\n")
        self._infos += infos
        self.num_bytes += sum(len(info) + 8 for info in infos)

    def columns(self) -> dict[str, Array | pa.Array | list[str]]:
        """Return all rows, as `seal_shard` takes them: views, except of columns with a codec."""
        out: dict[str, Array | pa.Array | list[str]] = {name: rows[: self.num_rows] for name, rows in self._rows.items()}
        self._forget_interrupted(self.num_rows)
        out |= {name: pa.concat_arrays(arrays) for name, arrays in self._encoded.items()}
        return out | self._derived() | ({"infos": self._infos} if self._spec.infos else {})

    def _derived(self) -> dict[str, Array]:
        facts = list(zip(*self._facts.values(), strict=True))
        first, length, terminated, truncated = (np.array(facts[INDEX_SCHEMA.get_field_index(name)]) for name in _FACTS)
        flags = np.zeros((2, self.num_rows), np.uint8)
        flags[:, first + length - 1] = terminated, truncated
        episode = np.repeat(np.arange(len(first), dtype=np.int32), length + 1)
        step = np.arange(self.num_rows, dtype=np.int32) - np.repeat(first.astype(np.int32), length + 1)
        return dict(zip(_DERIVED, (*flags, episode, step), strict=True))

    def index(self) -> pa.RecordBatch:
        """Return the index of the episodes."""
        columns = zip(*self._facts.values(), strict=True)
        arrays = [pa.array(values, kind) for values, kind in zip(columns, INDEX_SCHEMA.types, strict=True)]
        return pa.record_batch(arrays, schema=INDEX_SCHEMA)

    def _fitting(self, episode: Episode) -> list[Array]:
        """Return what the episode has for each of the columns that are copied; RunError for another type or shape."""
        leaves, num = [episode.observations[leaf.name] for leaf in self._spec.observation.leaves], episode.length
        steps = [episode.actions, episode.expert_actions, episode.rewards, episode.labelled, episode.acted_by_expert]
        values = [np.asarray(value) for value in leaves + steps]
        for column, value in zip(self._columns, values, strict=True):
            want = (num + (column.name in self._leaves), *column.shape)
            if value.shape != want or (value.dtype != column.dtype and (value.dtype, column.dtype) != (_BOOL, _BYTE)):
                have = f"{value.dtype} {list(value.shape)}, the store takes {column.dtype} {list(want)}"
                raise RunError(f"episode {episode.uid}: {column.name} is {have}; check the environment's spaces")
        return values

    def _steps_of(self, num_rows: int) -> Array:
        if len(self._steps) < num_rows:
            self._steps = np.arange(2 * num_rows, dtype=np.int32)
        return self._steps[:num_rows]

    def _reserve(self, num_rows: int) -> None:
        if num_rows <= len(self._rows["reward"]):  # all columns have the same capacity
            return
        for name, rows in self._rows.items():
            grown = np.empty((max(num_rows, 2 * len(rows)), *rows.shape[1:]), rows.dtype)
            grown[: self.num_rows] = rows[: self.num_rows]
            self._rows[name] = grown

    def _check_facts(self, episode: Episode, others: Container[str]) -> None:
        uid = episode.uid
        if uid in self._facts or uid in others:
            raise RunError(f"episode {uid}: added twice; give each episode its own uid")
        if not 0 < len(uid) <= MAX_UID_LENGTH or not uid.isprintable():
            raise RunError(f"episode {uid!r}: its uid must have 1 to {MAX_UID_LENGTH} printable characters")
        if len(episode.source) > MAX_UID_LENGTH or not episode.source.isprintable():
            raise RunError(f"episode {uid}: its source must have at most {MAX_UID_LENGTH} printable characters")
        for name in ("seed", "round", "policy_version"):
            if not -(1 << 63) <= getattr(episode, name) < 1 << 63:
                raise RunError(f"episode {uid}: {name} {getattr(episode, name)} doesn't fit 64 bits; use one below 2**63")
        if np.ndim(episode.rewards) != 1 or episode.length < 1:
            raise RunError(f"episode {uid}: reward must be [T] with T >= 1, not {np.shape(episode.rewards)}")
        if episode.observations.keys() != self._leaves:
            have, want = sorted(episode.observations), sorted(self._leaves)
            raise RunError(f"episode {uid}: it has observations {have}, the store {want}")
        if self._spec.infos and (episode.infos is None or len(episode.infos) != episode.length):
            raise RunError(f"episode {uid}: infos must hold one JSON text for each of its {episode.length} steps")


def _fact(episode: Episode, first: int, digest: bytes) -> tuple[Any, ...]:
    """Return the episode's row in the index, in the order of `INDEX_SCHEMA`."""
    return (
        episode.uid,
        first,
        episode.length,
        episode.seed,
        episode.round,
        episode.total_reward,
        int(episode.terminated),
        int(episode.truncated),
        episode.policy_version,
        int(np.count_nonzero(episode.labelled)),
        int(np.count_nonzero(episode.acted_by_expert)),
        episode.source,
        digest,
        UNKNOWN_SUCCESS if episode.success is None else int(episode.success),
    )
