"""Turns steps of N slots into episodes: one write per step for all slots, one short copy per slot every 64 steps.

Legend: N slots, T steps of an episode.
"""

from __future__ import annotations

from collections import defaultdict

import numpy as np

from distil.envs import EnvSpec
from distil.rollouts.agents import Acted
from distil.types import Array, Observations

_BLOCK = 64  # steps that are buffered for all slots together


class Recorder:
    """Growing buffers of unfinished episodes: each takes memory for its own length only."""

    def __init__(self, spec: EnvSpec, num_slots: int) -> None:
        action = spec.action.leaf
        self._names = [leaf.name for leaf in spec.observation.leaves]
        shape, size = action.shape, (_BLOCK, num_slots)
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
        self._parts: dict[int, dict[str, list[Array]]] = {}  # slot -> column -> pieces

    def start(self, slot: int) -> None:
        """Start an episode in `slot` with the next step."""
        self._first[slot] = self._at
        self._parts[slot] = defaultdict(list)

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
        if self._at == _BLOCK:
            for slot in self._first:
                self._keep(slot)
                self._first[slot] = 0
            self._at = 0

    def finish(self, slot: int, final: Observations) -> dict[str, Array]:
        """Return the columns of the slot's episode: observations [T+1, ...] with the `final` row, the others [T, ...]."""
        rows = slice(self._first.pop(slot), self._at)
        parts = self._parts.pop(slot)
        columns: dict[str, Array] = {}
        for name, column in self._block.items():
            pieces = [*parts[name], column[rows, slot]]
            if name in final:
                pieces.append(final[name][slot][None])
            columns[name] = np.concatenate(pieces, dtype=column.dtype, casting="same_kind")
        if not columns["labelled"].all():
            columns["expert_action"][columns["labelled"] == 0] = 0
        return columns

    def _keep(self, slot: int) -> None:
        rows = slice(self._first[slot], self._at)
        for name, column in self._block.items():
            self._parts[slot][name].append(column[rows, slot].copy())
