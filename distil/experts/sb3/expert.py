"""The Stable-Baselines3 expert: from observations to actions, in numpy.

Legend: N environments, I network inputs, O network outputs, A action factors.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from distil.experts.base import every
from distil.experts.inputs import Statistics, encode
from distil.experts.sb3.architecture import Architecture
from distil.experts.sb3.fit import TIME_LEAVES
from distil.spaces import Leaf
from distil.types import Array, Labels, Observations


class Sb3Expert:
    """A deterministic policy with a numpy network; equal to Stable-Baselines3's `predict(..., deterministic=True)`.

    Args:
        name: for reports and errors.
        architecture: network and output.
        inputs: the observation leaves that enter the network, in the network's order.
        action: the environment's action space.
        statistics: the statistics of VecNormalize, or None.
        time_limit: append 1 - t / time_limit to the observed vector; None: append nothing.
    """

    needs_env = False

    def __init__(
        self,
        name: str,
        architecture: Architecture,
        inputs: tuple[Leaf, ...],
        action: Leaf,
        *,
        statistics: Statistics | None = None,
        time_limit: int | None = None,
    ) -> None:
        self.name, self.stateful = name, time_limit is not None
        self._layout, self._leaves, self._action = architecture, inputs, action
        self._statistics, self._time_limit = statistics, time_limit
        self._ages: dict[int, int] = {}  # slot -> steps since its episode began
        if action.kind == "box":
            self._low, self._high = action.bounds()

    def begin(self, slot: int, seed: int) -> None:
        """Reset the slot's step counter to 0."""
        self._ages[slot] = 0

    def act(self, observations: Observations, *, envs: Sequence[Any] | None = None) -> Labels:
        """Return the policy's deterministic actions [N, ...]."""
        num = len(observations[self._leaves[0].name])
        network = self._layout.network
        inputs_NI = network.input(num)
        if self._time_limit is not None:
            place = next(leaf for leaf in TIME_LEAVES if leaf in observations)
            longer = np.column_stack([observations[place], self._clock(num, self._time_limit)])
            observations = {**observations, place: longer}
        column = 0
        for leaf in self._leaves:
            column = encode(leaf, observations[leaf.name], inputs_NI, column, self._statistics)
        return Labels(actions=self._decode(network.forward()), mask=every(num))

    def _clock(self, num: int, limit: int) -> Array:
        ages_N = np.array([self._ages.get(slot, 0) for slot in range(num)])
        for slot in self._ages:
            self._ages[slot] += 1
        return 1 - ages_N / limit

    def _decode(self, out_NO: Array) -> Array:
        if self._layout.output == "best":
            return self._choose(out_NO).reshape(-1, *self._action.shape)
        if self._layout.output == "identity":
            return out_NO.reshape(-1, *self._action.shape).copy()
        if self._layout.mean_clip is not None:
            np.clip(out_NO, -self._layout.mean_clip, self._layout.mean_clip, out=out_NO)
        scaled = np.tanh(out_NO).reshape(-1, *self._action.shape)
        rescaled: Array = self._low + 0.5 * (scaled + 1) * (self._high - self._low)
        return rescaled

    def _choose(self, out_NO: Array) -> Array:
        """Return the best choice of each factor [N, A]."""
        if self._layout.num_quantiles > 1:
            out_NO = out_NO.reshape(len(out_NO), self._layout.num_quantiles, -1).mean(axis=1)
        if self._action.kind == "multi_binary":
            return (out_NO > 0).astype(np.int64)  # the mode of a Bernoulli given its logit
        ends = np.cumsum(self._action.nvec)[:-1]
        return np.stack([part.argmax(axis=1) for part in np.split(out_NO, ends, axis=1)], axis=1)
