"""The RLlib expert: from observations to actions, in numpy.

Legend: N environments, I network inputs, O network outputs, A action dimensions or factors.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from distil.experts.base import Stateless, every
from distil.experts.inputs import Statistics, encode
from distil.experts.network import NumpyMlp
from distil.experts.rllib.architecture import Architecture
from distil.spaces import Leaf
from distil.types import Array, Labels, Observations


class RllibExpert(Stateless):
    """A module's most likely action: the mean of a Gaussian, squashed as in training, or the best choice.

    The network's outputs are those of the module's `forward_inference`. RLlib's own deterministic action of SAC leaves the
    squashing out (https://github.com/ray-project/ray/issues/51544); this one has it, as all actions in training had.

    Args:
        name: for reports and errors.
        architecture: network and output.
        inputs: the observation leaves that enter the network, in the network's order.
        action: the environment's action space.
        statistics: of the observations, or None.
        rescales: whether [-1, 1] are the action's bounds.
    """

    by_row = True

    def __init__(
        self,
        name: str,
        architecture: Architecture,
        inputs: tuple[Leaf, ...],
        action: Leaf,
        *,
        statistics: Statistics | None,
        rescales: bool,
    ) -> None:
        self.name = name
        self._network, self._output, self._num = NumpyMlp(architecture.layers), architecture.output, architecture.num_actions
        self._leaves, self._action, self._statistics = inputs, action, statistics
        self._bounds = action.bounds() if rescales else None

    def act(self, observations: Observations, *, envs: Sequence[Any] | None = None) -> Labels:
        """Return the policy's actions [N, ...]."""
        out_NO = self.outputs(observations)[:, : self._num]
        return Labels(actions=self._decode(out_NO), mask=every(len(out_NO)))

    def outputs(self, observations: Observations) -> Array:
        """Return the network's outputs [N, O]; the next call overwrites them."""
        inputs_NI = self._network.input(len(observations[self._leaves[0].name]))
        column = 0
        for leaf in self._leaves:
            column = encode(leaf, observations[leaf.name], inputs_NI, column, self._statistics)
        return self._network.forward()

    def _decode(self, out_NO: Array) -> Array:
        if self._output == "best":
            ends = np.cumsum(self._action.nvec)[:-1]
            best = [part.argmax(axis=1) for part in np.split(out_NO, ends, axis=1)]
            return np.stack(best, axis=1).reshape(-1, *self._action.shape)
        actions = np.tanh(out_NO) if self._output == "tanh" else out_NO.copy()
        if self._bounds is None:
            return actions
        low, high = self._bounds
        rescaled: Array = low + (actions + 1) * (high - low) / 2
        return rescaled
