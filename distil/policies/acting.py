"""A policy in N environment slots: observation history, action queue and noise of each slot, numpy where it can.

Each slot's episode depends on the weights and its seed only: not on the slot, nor on what the other slots do. For that the
network always sees exactly N rows. Nothing here imports torch unless the policy needs it.

Legend: N slots, H observation horizon, E executed actions of a chunk, T action chunk, A action dimension, K noise.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Protocol

import numpy as np

from distil.policies.actions import Decoder
from distil.policies.noise import SlotNoise
from distil.policies.numpy_policy import NumpyPolicy, supports
from distil.spaces import space_from_json
from distil.types import Array, Observations, PolicyRef


class Planner(Protocol):
    """The network's forward pass for N rows."""

    @property
    def noise_kind(self) -> str:
        """What samples are drawn with: "none", "normal" or "uniform"."""

    @property
    def noise_size(self) -> int:
        """K."""

    def plan(self, windows: Mapping[str, Array], noise: Array | None) -> Array:
        """Return head actions [N, T, A] of windows [N, H, ...]; they may live in a buffer that is used again."""


class Acting:
    """See `acting`."""

    def __init__(self, ref: PolicyRef, planner: Planner, num_envs: int, *, deterministic: bool) -> None:
        config = ref.spec["config"]
        self._planner, self._num = planner, num_envs
        self._decode = Decoder(space_from_json(ref.spec["action"]).leaf, ref.arrays)
        self._horizon, self._execute = int(config["obs_horizon"]), int(config["execute"] or config["chunk"])
        self._history: dict[str, Array] = {}
        self._fresh = np.ones(num_envs, np.bool_)
        self._any_fresh = True
        self._rows = np.arange(num_envs)
        self._queue: Array | None = None  # [N, E, A] head actions
        self._used = np.full(num_envs, self._execute)
        random = not deterministic and planner.noise_kind != "none"
        self._noise = SlotNoise(num_envs, planner.noise_size, planner.noise_kind) if random else None

    def begin(self, slot: int, seed: int) -> None:
        """Start a new episode in `slot`: its history and queued actions are dropped, its noise follows `seed`."""
        self._fresh[slot] = self._any_fresh = True
        self._used[slot] = self._execute
        if self._noise is not None:
            self._noise.begin(slot, seed)

    def act(self, observations: Observations) -> Array:
        """Return the actions of one step, a new array [N, ...] in the environment's space, dtype and bounds.

        Args:
            observations: leaf name -> [N, ...], all slots, idle ones included (their rows are ignored by the others).
        """
        windows = observations if self._horizon == 1 else self._push(observations)
        if self._execute == 1:
            noise = None if self._noise is None else self._noise.take()
            return self._decode(self._planner.plan(windows, noise)[:, 0])
        return self._decode(self._from_queue(windows))

    def _push(self, observations: Observations) -> dict[str, Array]:
        if not self._history:
            shape = (self._num, self._horizon)
            self._history = {name: np.empty((*shape, *v.shape[1:]), v.dtype) for name, v in observations.items()}
        for name, window in self._history.items():
            value = observations[name]
            window[:, :-1] = window[:, 1:]
            window[:, -1] = value
            if self._any_fresh:
                window[self._fresh] = value[self._fresh][:, None]
        self._fresh[:] = self._any_fresh = False
        return self._history

    def _from_queue(self, windows: Mapping[str, Array]) -> Array:
        empty = self._used >= self._execute
        if empty.any():
            noise = None if self._noise is None else self._noise.take(empty)
            chunk = self._planner.plan(windows, noise)[:, : self._execute]
            if self._queue is None:
                self._queue = np.zeros_like(chunk)
            self._queue[empty] = chunk[empty]
            self._used[empty] = 0
        assert self._queue is not None
        actions: Array = self._queue[self._rows, self._used]
        self._used += 1
        return actions


def acting(ref: PolicyRef, num_envs: int, *, deterministic: bool = True) -> Acting:
    """Return the policy ready to act in `num_envs` slots.

    Args:
        ref: the policy.
        num_envs: N, the number of rows of every call.
        deterministic: take the mode; otherwise sample, from noise that depends on the episode's seed only.

    Raises:
        InputError: the ref's arrays don't fit its spec.
    """
    planner: Any
    if supports(ref.spec):
        planner = NumpyPolicy(ref, num_envs)
    else:
        from distil.policies.torch_planner import TorchPlanner

        planner = TorchPlanner(ref)
    return Acting(ref, planner, num_envs, deterministic=deterministic)
