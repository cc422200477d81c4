"""The episodes that wait to be sealed: checked, and copied once into columns that are written as they are."""

from __future__ import annotations

from typing import Any

import numpy as np
import pyarrow as pa
import xxhash

from distil.errors import RunError
from distil.store import codec
from distil.store.schema import INDEX_SCHEMA, MAX_UID_LENGTH, UNKNOWN_SUCCESS, StoreSpec
from distil.types import Array, Episode

_WHOLE = ("step",)  # columns that, like observations, have a value in an episode's last row
_ENDS = ("terminated", "truncated")
_BYTES = np.dtype(np.uint8)


class EpisodeBuffer:
    """Rows of complete episodes, column by column. Its memory is kept and used again after `clear`."""

    def __init__(self, spec: StoreSpec, target_bytes: int) -> None:
        """Prepare for about `target_bytes`; more fits too."""
        self._spec = spec
        self._columns = [column for column in spec.columns() if column.name != "episode"]
        self._leaves = {leaf.name for leaf in spec.observation.leaves}
        rows = max(1024, min(target_bytes, 1 << 30) * 5 // (4 * max(1, spec.row_bytes)))
        self._rows: dict[str, Array] = {  # untouched memory costs nothing
            column.name: np.empty((rows, *column.shape), column.dtype) for column in spec.columns() if column.codec == codec.RAW
        }
        self._steps = np.arange(1024, dtype=np.int32)
        self.clear()

    def clear(self) -> None:
        """Forget all episodes."""
        self.num_rows, self.num_bytes = 0, 0
        self._encoded: dict[str, list[pa.Array]] = {c.name: [] for c in self._columns if c.codec != codec.RAW}
        self._infos: list[str] = []
        self._facts: dict[str, tuple[Any, ...]] = {}  # uid -> a row of the index

    def __len__(self) -> int:
        return len(self._facts)

    @property
    def num_transitions(self) -> int:
        """Number of actions."""
        return self.num_rows - len(self)

    def add(self, episode: Episode) -> None:
        """Copy an episode's T+1 rows; RunError names its uid and the leaf that doesn't fit, and nothing is added then."""
        self._check_facts(episode)
        num, first, size = episode.length, self.num_rows, 0
        self._reserve(first + num + 1)
        values = self._values(episode)
        digest, encoded = xxhash.xxh3_128(), {}
        for column in self._columns:
            name = column.name
            raw = column.codec == codec.RAW
            rows = self._rows[name][first : first + num + 1] if raw else np.empty((num + 1, *column.shape), column.dtype)
            if name in _ENDS:
                rows[:] = 0
                rows[num - 1] = values[name]
            elif name in self._leaves or name in _WHOLE:
                _copy_checked(rows, values[name], name, episode.uid)
            else:
                _copy_checked(rows[:num], values[name], name, episode.uid)
                rows[num] = 0
            digest.update(rows.data)
            if raw:
                size += rows.nbytes
            else:
                encoded[name] = column.to_arrow(rows)
                size += encoded[name].nbytes
        self._rows["episode"][first : first + num + 1] = len(self)
        infos = [*(episode.infos or ()), ""] if self._spec.infos else []
        for info in infos:
            digest.update(info.encode() + b"\n")
        for name, array in encoded.items():
            self._encoded[name].append(array)
        self._infos += infos
        self._facts[episode.uid] = self._fact(episode, digest.digest())
        self.num_rows += num + 1
        self.num_bytes += size + 4 * (num + 1) + sum(len(info) + 8 for info in infos)

    def columns(self) -> dict[str, Array | pa.Array | list[str]]:
        """Return all rows, as `write_shard` takes them: views, except of columns with a codec."""
        out: dict[str, Array | pa.Array | list[str]] = {name: rows[: self.num_rows] for name, rows in self._rows.items()}
        out |= {name: pa.concat_arrays(arrays) for name, arrays in self._encoded.items()}
        return out | ({"infos": self._infos} if self._spec.infos else {})

    def index(self) -> pa.RecordBatch:
        """Return the index of the episodes."""
        columns = zip(*self._facts.values(), strict=True)
        arrays = [pa.array(values, kind) for values, kind in zip(columns, INDEX_SCHEMA.types, strict=True)]
        return pa.record_batch(arrays, schema=INDEX_SCHEMA)

    def _values(self, episode: Episode) -> dict[str, Any]:
        if len(self._steps) <= episode.length:
            self._steps = np.arange(2 * episode.length, dtype=np.int32)
        return {
            **episode.observations,
            "action": episode.actions,
            "expert_action": episode.expert_actions,
            "reward": episode.rewards,
            "labelled": episode.labelled,
            "acted_by_expert": episode.acted_by_expert,
            "terminated": episode.terminated,
            "truncated": episode.truncated,
            "step": self._steps[: episode.length + 1],
        }

    def _reserve(self, num_rows: int) -> None:
        if num_rows <= len(self._rows["episode"]):  # all columns have the same capacity
            return
        for name, rows in self._rows.items():
            grown = np.empty((max(num_rows, 2 * len(rows)), *rows.shape[1:]), rows.dtype)
            grown[: self.num_rows] = rows[: self.num_rows]
            self._rows[name] = grown

    def _fact(self, episode: Episode, digest: bytes) -> tuple[Any, ...]:
        """Return the episode's row in the index, in the order of `INDEX_SCHEMA`."""
        return (
            episode.uid,
            self.num_rows,
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

    def _check_facts(self, episode: Episode) -> None:
        uid = episode.uid
        if uid in self._facts:
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


def _copy_checked(rows: Array, value: Any, name: str, uid: str) -> None:
    array = np.asarray(value)
    dtype = _BYTES if array.dtype == np.bool_ else array.dtype
    if array.shape != rows.shape or dtype != rows.dtype:
        raise RunError(
            f"episode {uid}: {name} is {array.dtype} {list(array.shape)}, the store takes {rows.dtype} {list(rows.shape)}; "
            "check the environment's spaces"
        )
    rows[...] = array
