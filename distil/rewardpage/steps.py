"""The steps of a run's episodes as arrays: what its reward is looked at along.

Legend: N steps, F features, A action features.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from distil.errors import InputError
from distil.rewards.function import RewardFunction
from distil.spaces import Leaf
from distil.store import Snapshot
from distil.types import Array

_MOST_STEPS, _MOST_BYTES = 10_000, 2e8  # of one source: enough for a picture
_FAR = 5.0  # standard deviations


@dataclass(frozen=True, kw_only=True)
class Seen:
    """Steps of complete episodes, one episode after another."""

    source: str  # "demonstrations" or "the run's own policies"
    before: Mapping[str, Array]  # leaf name -> [N, ...]
    after: Mapping[str, Array]  # the next observations
    actions: Array  # [N, ...]
    true: Array  # [N] the environment's rewards
    learned: Array  # [N]
    terminated: Array  # [N] bool: the step ended the task
    episode: Array  # [N] int: number of its episode

    def __len__(self) -> int:
        return len(self.true)

    @property
    def num_episodes(self) -> int:
        """Number of episodes."""
        return int(self.episode[-1]) + 1


def seen(snapshot: Snapshot, source: str, function: RewardFunction, *, last: bool = False) -> Seen:
    """Return the first episodes, or those of the last rounds, with about 10,000 steps at most.

    Args:
        snapshot: at least one episode.
        source: whose they are.
        function: the learned reward.
        last: take the last rounds' episodes.

    Raises:
        InputError: the episodes are not of the reward's spaces.
    """
    part, leaves = _few(snapshot, function.observation.leaves, last=last), [leaf.name for leaf in function.observation.leaves]
    known = {leaf.name for leaf in part.spec.observation.leaves}
    if lost := [name for name in leaves if name not in known]:
        raise InputError(f"{part.path}: its episodes have no {lost[0]}, which the reward reads: use the run's own store")
    columns, length = part.columns([*leaves, "action", "reward"]), part.episodes.length
    is_step = np.ones(int((length + 1).sum()), np.bool_)
    is_step[np.cumsum(length + 1) - 1] = False
    rows, terminated = np.flatnonzero(is_step), np.zeros(int(length.sum()), np.bool_)
    terminated[np.cumsum(length) - 1] = part.episodes.terminated == 1
    before, after = ({name: columns[name][at] for name in leaves} for at in (rows, rows + 1))
    actions = columns["action"][rows]
    return Seen(
        source=source,
        before=before,
        after=after,
        actions=actions,
        true=columns["reward"][rows].astype(np.float64),
        learned=function.of_leaves(before, actions, after).astype(np.float64),
        terminated=terminated,
        episode=np.repeat(np.arange(len(length)), length),
    )


def _few(snapshot: Snapshot, leaves: Sequence[Leaf], *, last: bool) -> Snapshot:
    """Return complete episodes up to the limit, in their order; at least one."""
    order = np.argsort(snapshot.episodes.round, kind="stable")
    order = order[::-1] if last else order
    size = sum(2 * np.dtype(leaf.dtype).itemsize * int(np.prod(leaf.shape)) for leaf in leaves)
    most = min(_MOST_STEPS, int(_MOST_BYTES / max(size, 1)))
    num = max(1, int((np.cumsum(snapshot.episodes.length[order]) <= most).sum()))
    return snapshot.select(np.sort(order[:num]))


def joined(parts: Sequence[Seen]) -> Seen:
    """Return all steps together."""
    offsets = np.cumsum([0, *(part.num_episodes for part in parts[:-1])])
    return Seen(
        source=" and ".join(part.source for part in parts),
        before={name: np.concatenate([part.before[name] for part in parts]) for name in parts[0].before},
        after={name: np.concatenate([part.after[name] for part in parts]) for name in parts[0].after},
        actions=np.concatenate([part.actions for part in parts]),
        true=np.concatenate([part.true for part in parts]),
        learned=np.concatenate([part.learned for part in parts]),
        terminated=np.concatenate([part.terminated for part in parts]),
        episode=np.concatenate([part.episode + offset for part, offset in zip(parts, offsets, strict=True)]),
    )


def features(leaves: Sequence[Leaf], columns: Mapping[str, Array], others: Mapping[str, Array]) -> tuple[Array, Array]:
    """Return `columns` and `others` standardised by `columns`, [N, F] each; choices are one-hot, images are left out."""
    both = [_flat(leaf, columns[leaf.name], others[leaf.name]) for leaf in leaves if not leaf.is_image]
    if not both:
        return np.empty((len(next(iter(columns.values()))), 0)), np.empty((len(next(iter(others.values()))), 0))
    one, other = (np.concatenate([pair[i] for pair in both], 1) for i in (0, 1))
    mean, std = one.mean(0), one.std(0)
    std = np.where(std <= 1e-6 * np.abs(one).max(0), 1.0, std)
    return ((one - mean) / std).clip(-_FAR, _FAR), ((other - mean) / std).clip(-_FAR, _FAR)


def _flat(leaf: Leaf, *columns: Array) -> list[Array]:
    rows = [column.reshape(len(column), -1).astype(np.float64) for column in columns]
    if leaf.kind == "box":
        return rows
    return [
        np.concatenate([x[:, [i]] - leaf.start == np.arange(num) for i, num in enumerate(leaf.nvec)], 1).astype(np.float64)
        for x in rows
    ]
