"""A snapshot: one version of a store, or a part of its episodes. What others append never changes it."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import numpy as np
import xxhash
from numpy.typing import ArrayLike, NDArray

from distil.errors import InputError
from distil.store.index import EpisodeIndex
from distil.store.location import Location
from distil.store.manifest import Manifest
from distil.store.order import Cursor
from distil.store.rows import RowReader, Runs
from distil.store.sampler import Sampler
from distil.store.schema import StoreSpec
from distil.store.shard import ShardEntry, open_shard
from distil.store.weights import Weights
from distil.types import Array, Batch, Episode

_STEP_DIGEST_FIELDS = ("seed", "round", "policy_version")


class Content:
    """All shards and episodes of a version; the index of episodes is read when it is first asked for."""

    def __init__(self, manifest: Manifest, read: Callable[[Manifest], EpisodeIndex]) -> None:
        """Hold what `manifest` lists; `read` returns the index of its episodes."""
        self.read, self._manifest = read, manifest

    @property
    def entries(self) -> tuple[ShardEntry, ...]:
        """The shards."""
        return self._manifest.entries

    @cached_property
    def episodes(self) -> EpisodeIndex:
        """The episodes, sorted by uid; RunError if a shard can't be read."""
        return self.read(self._manifest)


@dataclass(frozen=True, kw_only=True, eq=False)
class Snapshot:
    """Episodes of one version of a store, in canonical order (sorted by uid, unless selected otherwise).

    It holds the episode index; steps are read when asked for. To hand it to another process, send `path`, `version`,
    `selection` and `weights`, and rebuild it as `Store.open(path).snapshot(version).select(selection)` with these weights.
    """

    path: Location  # the store's folder or URL
    version: int
    spec: StoreSpec
    content: Content  # of the whole version
    chosen: NDArray[np.int64] | None = None  # [num_episodes] positions in the whole version's canonical order; None: all
    weights: Weights | None = None  # None: all episodes and steps count alike

    @property
    def entries(self) -> tuple[ShardEntry, ...]:
        """The shards of the whole version."""
        return self.content.entries

    @cached_property
    def episodes(self) -> EpisodeIndex:
        """The index of the episodes, in the snapshot's order."""
        return self.content.episodes if self.chosen is None else self.content.episodes.take(self.chosen)

    @cached_property
    def selection(self) -> NDArray[np.int64]:
        """Positions of the episodes in the whole version's canonical order, [num_episodes]."""
        return np.arange(len(self.episodes), dtype=np.int64) if self.chosen is None else self.chosen

    @property
    def num_episodes(self) -> int:
        """Number of episodes."""
        return len(self.episodes)

    @property
    def num_transitions(self) -> int:
        """Number of transitions, labelled or not."""
        return int(self.episodes.length.sum())

    @cached_property
    def digest(self) -> str:
        """Identity of content and weights in hex: equal for equal episodes in equal order, however they lie in shards."""
        digest = xxhash.xxh3_128()
        spec = self.spec.to_json() | {"env": {}}
        digest.update(json.dumps(spec, sort_keys=True).encode())
        for name in ("uid", "source"):
            digest.update("\n".join(getattr(self.episodes, name).tolist()).encode() + b"\n\n")
        for name in (*_STEP_DIGEST_FIELDS, "digest"):
            digest.update(np.ascontiguousarray(getattr(self.episodes, name)).tobytes())
        if self.weights is not None:
            digest.update(self.weights.tobytes())
        return digest.hexdigest()

    def select(self, indices: Sequence[int] | NDArray[Any]) -> Snapshot:
        """Return a view of the episodes at `indices`, in that order; InputError if one doesn't exist or is a duplicate."""
        chosen = np.asarray(indices, dtype=np.int64).reshape(-1)
        if np.any((chosen < 0) | (chosen >= self.num_episodes)):
            raise InputError(f"{self.path}: episodes are numbered 0 to {self.num_episodes - 1}; not all of the selection exist")
        if np.unique(chosen).size != chosen.size:
            raise InputError(f"{self.path}: duplicate episode in the selection; give each number once")
        weights = None if self.weights is None else self.weights.take(chosen)
        return replace(self, chosen=self.selection[chosen], weights=weights)

    def weighted(self, weights: ArrayLike, intervention: float = 1.0) -> Snapshot:
        """Return a view whose samples carry weights (`Batch.weights`), in place of those that it has.

        Args:
            weights: [num_episodes], of the episodes; at least 0.
            intervention: factor of windows that start where the expert acted in an episode in which a learned policy acts.

        Raises:
            InputError: a weight is negative or not finite, all are 0, or there isn't one an episode.
        """
        return replace(self, weights=Weights.checked(weights, intervention, self.num_episodes, str(self.path)))

    def first(self, num: int) -> Snapshot:
        """Return a view of the first `num` episodes; InputError when there are fewer."""
        if not 0 <= num <= self.num_episodes:
            raise InputError(f"{self.path}: {num} episodes requested, {self.num_episodes} available; collect more")
        return self.select(np.arange(num))

    def split(self, validation_fraction: float, seed: int) -> tuple[Snapshot, Snapshot]:
        """Return views (training, validation) of disjoint episodes, each in canonical order.

        An episode is held out if the hash of its uid and the seed, uniform in [0, 1), is below the fraction. So while a store
        grows, what is held out stays so, and what was trained on is never held out; how many there are varies about the
        fraction. Two exceptions serve small stores: of the labelled episodes of the first round, the one with the largest hash
        is always trained on; and if no labelled episode is held out, the one with the smallest hash is, until there is a
        smaller one.

        Args:
            validation_fraction: in [0, 1).
            seed: picks the episodes.
        """
        if not 0 <= validation_fraction < 1:
            raise InputError(f"validation_fraction {validation_fraction}: should be at least 0 and less than 1")
        hashes = np.array([xxhash.xxh3_64_intdigest(f"{seed} {uid}".encode()) for uid in self.episodes.uid.tolist()], np.uint64)
        out = hashes / 2.0**64 < validation_fraction
        labelled = self.episodes.num_labelled > 0
        candidates = np.flatnonzero(labelled) if labelled.any() else np.arange(len(out))
        if len(candidates):
            rounds = self.episodes.round[candidates]
            first = candidates[rounds == rounds.min()]
            kept = first[hashes[first].argmax()]
            out[kept] = False
            others = candidates[candidates != kept]
            if validation_fraction and len(others) and not out[others].any():
                out[others[hashes[others].argmin()]] = True
        return self.select(np.flatnonzero(~out)), self.select(np.flatnonzero(out))

    def episode(self, index: int) -> Episode:
        """Return a copy of the episode at `index`."""
        if not 0 <= index < self.num_episodes:
            raise InputError(f"{self.path}: episodes are numbered 0 to {self.num_episodes - 1}; there is no {index}")
        facts, first, num = self.episodes, int(self.episodes.first_row[index]), int(self.episodes.length[index])
        leaves = {leaf.name: leaf for leaf in self.spec.observation.leaves}
        values = self.select([index]).columns([*leaves, "action", "reward", "expert_action", "labelled", "acted_by_expert"])
        infos = None
        if self.spec.infos:
            with open_shard(self.path, self.entries[facts.shard[index]], self.spec) as shard:
                infos = shard.infos(first, num)
        return Episode(
            observations={name: values[name].astype(leaf.dtype, copy=False) for name, leaf in leaves.items()},
            actions=values["action"][:num],
            rewards=values["reward"][:num],
            terminated=bool(facts.terminated[index]),
            truncated=bool(facts.truncated[index]),
            expert_actions=values["expert_action"][:num],
            labelled=values["labelled"][:num],
            acted_by_expert=values["acted_by_expert"][:num],
            policy_version=int(facts.policy_version[index]),
            round=int(facts.round[index]),
            seed=int(facts.seed[index]),
            uid=str(facts.uid[index]),
            source=str(facts.source[index]),
            success=None if facts.success[index] < 0 else bool(facts.success[index]),
            infos=infos,
        )

    def columns(self, names: Sequence[str], dtypes: Mapping[str, Any] | None = None) -> dict[str, Array]:
        """Return fixed-width columns as contiguous arrays [rows, ...] of all episodes, T+1 rows each, in order.

        Args:
            names: columns; the last row of an episode is zero in all but the observations and `step`.
            dtypes: name -> type to cast to while copying.
        """
        rows = self.episodes.length + 1
        known = {column.name: column for column in self.spec.columns()}
        out = {}
        for name in names:
            if name not in known:
                raise InputError(f"{self.path}: no column {name!r}; there are {', '.join(known)}")
            column = known[name]
            out[name] = np.empty((int(rows.sum()), *column.shape), (dtypes or {}).get(name, column.dtype))
        self.copy_rows(out, first=np.cumsum(rows) - rows, rows=rows)
        return out

    def copy_rows(self, out: Mapping[str, Array], *, first: NDArray[np.int64], rows: NDArray[np.int64]) -> None:
        """Copy the first `rows[i]` rows of episode i to `out[name][first[i]:]`, cast to the type of `out[name]`."""
        facts = self.episodes
        runs = Runs(shard=facts.shard, source=facts.first_row, target=first, count=rows)
        RowReader(self.path, self.entries, self.spec).copy(runs, out)

    def batches(
        self,
        *,
        batch_size: int,
        seed: int,
        obs_horizon: int = 1,
        chunk: int = 1,
        cursor: Cursor | None = None,
        num_batches: int | None = None,
    ) -> Iterator[Batch]:
        """Yield shuffled batches, as `Sampler.batches` does; endless unless `num_batches` is given."""
        sampler = Sampler(self, obs_horizon=obs_horizon, chunk=chunk)
        return sampler.batches(batch_size=batch_size, seed=seed, cursor=cursor or Cursor(), num_batches=num_batches)
