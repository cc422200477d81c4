"""Writing shards: episodes are checked, buffered, and sealed together into a file that never changes again."""

from __future__ import annotations

import re
import secrets
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import xxhash

from distil.errors import InputError, RunError
from distil.store.files import fsync_folder, os_fault
from distil.store.schema import INDEX_SCHEMA, MAX_UID_LENGTH, StoreSpec
from distil.store.shard import ShardEntry, file_digest, write_shard
from distil.types import Array, Episode

_NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,80}")


@dataclass(frozen=True)
class _Buffered:
    columns: dict[str, Array]  # [T+1, ...] each, without `episode`
    infos: list[str]
    index: dict[str, Any]
    num_bytes: int


class ShardWriter:
    """One writer's stream of shards into a store's folder. Any number of writers may work in one store.

    Nothing is visible to readers before `Store.commit` has the entries that `seal` returned.
    """

    def __init__(self, root: Path, spec: StoreSpec, name: str, target_bytes: int = 128 << 20) -> None:
        """Prepare to write.

        Args:
            root: the store's folder.
            spec: the store's spec.
            name: of the writer, the beginning of its files' names; it needn't be unique.
            target_bytes: `is_full` once so much is buffered.
        """
        if not _NAME.fullmatch(name):
            raise InputError(f"writer name {name!r}: use up to 80 letters, digits, '_', '-' and '.'")
        self._root, self._spec, self._target_bytes = root, spec, target_bytes
        self._stem, self._num_sealed = f"{name}-{secrets.token_hex(6)}", 0
        self._episodes: dict[str, _Buffered] = {}
        self._buffered_bytes = 0

    @property
    def buffered_bytes(self) -> int:
        """Bytes that wait for `seal`."""
        return self._buffered_bytes

    @property
    def is_full(self) -> bool:
        """Whether the target size is reached, so that it's time to seal."""
        return self._buffered_bytes >= self._target_bytes

    def add(self, episode: Episode) -> None:
        """Buffer a copy of a complete episode; RunError names its uid and the leaf that doesn't fit."""
        if episode.uid in self._episodes:
            raise RunError(f"episode {episode.uid}: added twice; give each episode its own uid")
        buffered = _rows(self._spec, episode)
        self._episodes[episode.uid] = buffered
        self._buffered_bytes += buffered.num_bytes

    def seal(self) -> ShardEntry | None:
        """Write what is buffered as one shard and return its entry, or None when there is nothing.

        Raises:
            RunError: the disk is full or refuses. The buffer is kept, and no part of the file stays behind.
        """
        if not self._episodes:
            return None
        name = f"{self._stem}-{self._num_sealed:06d}"
        opened, sealed = (self._root / "data" / file for file in (f".{name}.open", f"{name}.arrow"))
        episodes = list(self._episodes.values())
        try:
            write_shard(opened, self._spec, self._columns(episodes), _index(episodes))
            digest, num_bytes = file_digest(opened), opened.stat().st_size
            opened.rename(sealed)
            fsync_folder(sealed.parent)
        except OSError as error:
            raise os_fault(error, sealed) from None
        finally:
            opened.unlink(missing_ok=True)
        self._num_sealed += 1
        self._episodes, self._buffered_bytes = {}, 0
        num_transitions = sum(episode.index["length"] for episode in episodes)
        return ShardEntry(
            path=f"data/{name}.arrow",
            num_bytes=num_bytes,
            num_rows=num_transitions + len(episodes),
            num_episodes=len(episodes),
            num_transitions=num_transitions,
            digest=digest,
        )

    def _columns(self, episodes: list[_Buffered]) -> dict[str, Array | list[str]]:
        columns: dict[str, Array | list[str]] = {
            name: np.concatenate([episode.columns[name] for episode in episodes]) for name in episodes[0].columns
        }
        rows = [episode.index["length"] + 1 for episode in episodes]
        columns["episode"] = np.repeat(np.arange(len(episodes), dtype=np.int32), rows)
        if self._spec.infos:
            columns["infos"] = [info for episode in episodes for info in episode.infos]
        return columns


def _rows(spec: StoreSpec, episode: Episode) -> _Buffered:
    """Return the episode's T+1 rows; the last one has only an observation, zeros elsewhere."""
    _check_facts(spec, episode)
    num = episode.length
    values: dict[str, Any] = {
        **episode.observations,
        "action": episode.actions,
        "expert_action": episode.expert_actions,
        "reward": episode.rewards,
        "labelled": episode.labelled,
        "acted_by_expert": episode.acted_by_expert,
        "step": np.arange(num + 1, dtype=np.int32),
    }
    columns: dict[str, Array] = {}
    digest = xxhash.xxh3_128()
    for column in spec.columns():
        if column.name == "episode":
            continue
        rows = np.zeros((num + 1, *column.shape), column.dtype)
        if column.name in ("terminated", "truncated"):
            rows[num - 1] = getattr(episode, column.name)
        else:
            whole = column.name == "step" or column.name in episode.observations
            _copy_checked(rows if whole else rows[:num], values[column.name], column.name, episode.uid)
        digest.update(rows.data)
        columns[column.name] = rows
    infos = [*(episode.infos or ()), ""] if spec.infos else []
    for info in infos:
        digest.update(info.encode() + b"\n")
    num_bytes = sum(rows.nbytes for rows in columns.values()) + sum(len(info) + 8 for info in infos)
    return _Buffered(columns, infos, _facts(episode, columns, digest.digest()), num_bytes)


def _facts(episode: Episode, columns: dict[str, Array], digest: bytes) -> dict[str, Any]:
    """Return the episode's row in the index; the shard gives it its first row."""
    return {
        "uid": episode.uid,
        "length": episode.length,
        "seed": episode.seed,
        "round": episode.round,
        "total_reward": episode.total_reward,
        "terminated": int(episode.terminated),
        "truncated": int(episode.truncated),
        "policy_version": episode.policy_version,
        "num_labelled": int(np.count_nonzero(columns["labelled"])),
        "num_acted_by_expert": int(np.count_nonzero(columns["acted_by_expert"])),
        "source": episode.source,
        "digest": digest,
    }


def _check_facts(spec: StoreSpec, episode: Episode) -> None:
    uid = episode.uid
    if not 0 < len(uid) <= MAX_UID_LENGTH or not uid.isprintable():
        raise RunError(f"episode {uid!r}: its uid must have 1 to {MAX_UID_LENGTH} printable characters")
    if len(episode.source) > MAX_UID_LENGTH or not episode.source.isprintable():
        raise RunError(f"episode {uid}: its source must have at most {MAX_UID_LENGTH} printable characters")
    if np.ndim(episode.rewards) != 1 or episode.length < 1:
        raise RunError(f"episode {uid}: reward must be [T] with T >= 1, not {np.shape(episode.rewards)}")
    leaves = {leaf.name for leaf in spec.observation.leaves}
    if set(episode.observations) != leaves:
        raise RunError(f"episode {uid}: it has observations {sorted(episode.observations)}, the store {sorted(leaves)}")
    if spec.infos and (episode.infos is None or len(episode.infos) != episode.length):
        raise RunError(f"episode {uid}: infos must hold one JSON text for each of its {episode.length} steps")


def _copy_checked(rows: Array, value: Any, name: str, uid: str) -> None:
    array = np.asarray(value)
    dtype = np.dtype(np.uint8) if array.dtype == np.bool_ else array.dtype
    if array.shape != rows.shape or dtype != rows.dtype:
        raise RunError(
            f"episode {uid}: {name} is {array.dtype} {list(array.shape)}, the store takes {rows.dtype} {list(rows.shape)}; "
            "check the environment's spaces"
        )
    rows[...] = array


def _index(episodes: list[_Buffered]) -> pa.RecordBatch:
    first_row, items = 0, []
    for episode in episodes:
        items.append(episode.index | {"first_row": first_row})
        first_row += episode.index["length"] + 1
    return pa.RecordBatch.from_pylist(items, INDEX_SCHEMA)
