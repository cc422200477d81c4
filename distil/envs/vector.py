"""The user's own gymnasium.vector.VectorEnv as slots: final observations are kept, automatic resets are never recorded.

Where Gymnasium's `reset_mask` works, each slot is reset by itself. Otherwise all are reset together once all are idle: an
episode always starts from its own seed, never from one that an autoreset draws.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from gymnasium.vector import AsyncVectorEnv, AutoresetMode, SyncVectorEnv

from distil.envs.config import EnvSpec, ImportEnvConfig, make_vector
from distil.envs.faults import FAULTS, close_quietly
from distil.envs.slots import StepResult, as_slot_error, check_leaves, check_numbers
from distil.errors import InputError
from distil.types import Array


class VectorSlots:
    """A vector environment in any of Gymnasium's autoreset modes (DISABLED, NEXT_STEP, SAME_STEP)."""

    envs: Sequence[Any] | None = None

    def __init__(self, config: ImportEnvConfig, num: int, spec: EnvSpec) -> None:
        self.num_slots = num
        self._spec, self._name = spec.observation, config.name
        self._env: Any = make_vector(config, num)
        self._mode = AutoresetMode(self._env.metadata.get("autoreset_mode", AutoresetMode.NEXT_STEP))
        inner = self._env.unwrapped
        self.resets_together = self._mode is not AutoresetMode.DISABLED and not isinstance(
            inner, SyncVectorEnv | AsyncVectorEnv
        )
        if isinstance(inner, AsyncVectorEnv) and self._mode is AutoresetMode.NEXT_STEP and not inner.shared_memory:
            raise InputError(
                f"{config.target}: without shared memory, AsyncVectorEnv needs autoreset_mode=AutoresetMode.DISABLED"
            )
        self._ended = np.zeros(num, np.bool_)
        self._is_fresh = True  # no environment has been reset yet

    def prepare(self, seeds: Sequence[int]) -> None:
        """Do nothing: the environments draw from their seeds themselves."""

    def reset(self, slots: Sequence[int], seeds: Sequence[int]) -> dict[str, Array]:
        """Start episodes; return the first observations, leaf -> [K, ...]."""
        rows = list(slots)
        try:
            return {name: column[rows] for name, column in self._reset(rows, seeds).items()}
        except FAULTS as error:
            if self._is_fresh and self._takes_one_seed():
                raise InputError(
                    f"{self._name}: reset takes one seed for all its environments, but each episode needs its own: accept a "
                    "list of seeds in reset, or omit env.vectorised and name the single environment"
                ) from error
            raise as_slot_error(rows[0] if len(rows) == 1 else None, error) from error

    def _takes_one_seed(self) -> bool:
        try:
            self._env.reset(seed=0)
        except FAULTS:
            return False
        return True

    def _reset(self, rows: list[int], seeds: Sequence[int]) -> dict[str, Array]:
        every = [0] * self.num_slots
        for slot, seed in zip(rows, seeds, strict=True):
            every[slot] = seed
        options: dict[str, Any] | None = None
        if not self.resets_together and not self._is_fresh:
            mask = np.zeros(self.num_slots, np.bool_)
            mask[rows] = True
            options = {"reset_mask": mask}
            self._ended[rows] = False
        value, _ = self._env.reset(seed=every, options=options)  # first reset all: none can be stepped before
        self._is_fresh = False
        leaves = self._spec.flatten(value)
        check_leaves(self._spec, leaves, (self.num_slots,))
        return leaves

    def step(self, actions: Array, active: Array) -> StepResult:
        """Step the slots where `active` [N] bool; `actions` [N, ...] are in the environment's action space."""
        try:
            idle = np.flatnonzero(self._ended).tolist()
            if idle and self._mode is AutoresetMode.DISABLED:
                self._reset(idle, [0] * len(idle))  # an ended environment must not be stepped; this reset is not recorded
            value, rewards, terminated, truncated, infos = self._env.step(actions.copy())
            leaves = self._spec.flatten(value)
            check_leaves(self._spec, leaves, (self.num_slots,))
            for what, values in (("rewards", rewards), ("terminated", terminated), ("truncated", truncated)):
                check_numbers(None, what, values, (self.num_slots,))
            leaves = {name: np.array(leaf) for name, leaf in leaves.items()}
            self._ended = np.logical_or(terminated, truncated)
            per_slot = _split(infos, self.num_slots) if infos else None
            if self._mode is AutoresetMode.SAME_STEP and per_slot is not None:
                self._keep_final(leaves, per_slot)
        except FAULTS as error:
            raise as_slot_error(None, error) from error
        return StepResult(
            observations=leaves,
            rewards=np.array(rewards, np.float64),
            terminated=np.array(terminated, np.bool_),
            truncated=np.array(truncated, np.bool_),
            infos=per_slot,
        )

    def _keep_final(self, leaves: dict[str, Array], per_slot: list[dict[str, Any]]) -> None:
        """Replace the reset observations and infos of SAME_STEP mode with the final ones."""
        for slot in np.flatnonzero(self._ended).tolist():
            final = self._spec.flatten(per_slot[slot]["final_obs"])
            check_leaves(self._spec, final)
            for name, value in final.items():
                leaves[name][slot] = value
            per_slot[slot] = dict(per_slot[slot].get("final_info", {}))

    def close(self) -> None:
        """Close the environments."""
        close_quietly(self._env)


def _split(infos: Any, num: int) -> list[dict[str, Any]]:
    """Return one infos mapping per slot, from Gymnasium's mapping of arrays with `_key` masks or its list of mappings."""
    if not isinstance(infos, Mapping):
        return [dict(info) for info in infos]
    out: list[dict[str, Any]] = [{} for _ in range(num)]
    for key, value in infos.items():
        if key.startswith("_"):
            continue
        mask = infos.get(f"_{key}", np.ones(num, np.bool_))
        parts: Any = _split(value, num) if isinstance(value, Mapping) and key != "final_obs" else value
        if isinstance(parts, str) or not hasattr(parts, "__len__") or len(parts) != num:
            parts = [value] * num  # one for all
        for slot in np.flatnonzero(mask).tolist():
            out[slot][key] = parts[slot]
    return out
