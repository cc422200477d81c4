"""Turns steps of N slots into episodes: one write per step for all slots, and one copy per column for all that ended.

    block       step 0  1  2  3  4  5 ...   a step is a row of all slots; episodes end and start anywhere
    slot 0      | a  a  a | b  b  b         `take` copies the rows of the ended episodes behind one another: a, c, d, ...
    slot 1      | c  c | d  d | e  e        and what is unfinished, such as b and e, to the parts of its slot

Legend: N slots, T steps of an episode, R rows.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence

import numpy as np

from distil.envs import EnvSpec
from distil.rollouts.agents import Acted
from distil.types import Array, Observations

_BLOCK = 64  # steps that are buffered for all slots together
Parts = dict[str, list[Array]]  # column -> earlier rows of an unfinished episode


class Recorder:
    """Growing buffers of unfinished episodes: each takes memory for its own length only."""

    def __init__(self, spec: EnvSpec, num_slots: int) -> None:
        action = spec.action.leaf
        self._names = [leaf.name for leaf in spec.observation.leaves]
        shape, size = action.shape, (_BLOCK, num_slots)
        self._num_slots = num_slots
        self._block: dict[str, Array] = {
            leaf.name: np.zeros((*size, *leaf.shape), leaf.dtype) for leaf in spec.observation.leaves
        }
        self._block |= {
            "action": np.zeros((*size, *shape), action.dtype),
            "expert_action": np.zeros((*size, *shape), action.dtype),
            "labelled": np.zeros(size, np.uint8),
            "acted_by_expert": np.zeros(size, np.uint8),
            "reward": np.zeros(size, np.float64),
        }
        self._at = 0
        self._first: dict[int, int] = {}  # active slot -> first row of the block that belongs to its episode
        self._parts: dict[int, Parts] = {}  # active slot -> earlier rows
        self._ended: list[tuple[int, int, int, Parts]] = []  # slot, its rows of the block, its earlier rows
        self._finals: dict[str, list[Array]] = {name: [] for name in self._names}

    @property
    def is_full(self) -> bool:
        """Whether `take` must be called before the next step."""
        return self._at == _BLOCK

    def start(self, slots: Sequence[int]) -> None:
        """Start episodes in `slots` with the next step."""
        for slot in slots:
            self._first[slot] = self._at
            self._parts[slot] = {}

    def add(self, observations: Observations, acted: Acted, rewards: Array) -> None:
        """Add a step of all slots: observations [N, ...], what the agent did, rewards [N]."""
        block, at = self._block, self._at
        for name in self._names:
            block[name][at] = observations[name]
        block["action"][at] = acted.actions
        block["acted_by_expert"][at] = acted.acted_by_expert
        block["reward"][at] = rewards
        if acted.expert_actions is None:
            block["labelled"][at] = 0
        else:
            labelled = True if acted.labelled is None else acted.labelled
            block["expert_action"][at] = acted.expert_actions
            block["labelled"][at] = labelled
        self._at += 1

    def finish(self, slots: Sequence[int], final: Observations) -> None:
        """End the episodes of `slots` after the last step; their last observations are in `final` [N, ...]."""
        for name, rows in self._finals.items():
            rows.append(final[name][slots])
        self._ended += [(slot, self._first.pop(slot), self._at, self._parts.pop(slot)) for slot in slots]  # last: now it counts

    def take(self) -> list[dict[str, Array]]:
        """Return the columns of the episodes that ended since the last call, in the order of `finish`.

        Observations are [T+1, ...] with the final row, the other columns [T, ...].
        """
        block = self._block
        block["expert_action"][: self._at][block["labelled"][: self._at] == 0] = 0
        episodes = self._copy_ended() if self._ended else []
        for slot, first in self._first.items():
            if first < self._at:
                parts = self._parts[slot] = self._parts[slot] or defaultdict(list)
                for name, column in block.items():
                    parts[name].append(column[first : self._at, slot].copy())
            self._first[slot] = 0
        self._at = 0
        return episodes

    def _copy_ended(self) -> list[dict[str, Array]]:
        slots, firsts, lasts, parts = zip(*self._ended, strict=True)
        counts = np.array(lasts) - firsts + 1  # one row more each, for the final observation
        ends = np.cumsum(counts)
        begins = ends - counts
        steps = np.arange(ends[-1]) - np.repeat(begins - firsts, counts)
        rows = np.minimum(steps, self._at - 1) * self._num_slots + np.repeat(slots, counts)
        columns = {name: column.reshape(-1, *column.shape[2:]).take(rows, 0) for name, column in self._block.items()}
        for name, finals in self._finals.items():
            columns[name][ends - 1] = np.concatenate(finals)[: len(ends)]  # without those of an interrupted `finish`
            finals.clear()
        self._ended.clear()
        items = [(name, values, 0 if name in self._finals else 1) for name, values in columns.items()]
        out = []
        for begin, end, earlier in zip(begins.tolist(), ends.tolist(), parts, strict=True):
            episode = {name: values[begin : end - less] for name, values, less in items}
            if earlier:
                episode = {name: np.concatenate([*earlier[name], rows]) for name, rows in episode.items()}
            out.append(episode)
        return out
