"""N environments stepped together, each reset with its own seed, never by itself.

Legend: N slots (environments), K slots that are reset. An observation is a mapping leaf name -> [N, ...].
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np

from distil.envs.config import EnvSpec, GymEnvConfig, ImportEnvConfig, make
from distil.envs.faults import FAULTS, close_quietly, told
from distil.spaces import Leaf, SpaceSpec
from distil.types import Array

_API = (
    "Gymnasium's API is: reset(seed=..., options=...) returns (observation, info), step (observation, reward, terminated, "
    "truncated, info); Gym's old API isn't supported"
)
_NUMBERS = (float, int, np.number)
_FLAGS = (bool, np.bool_)


class SlotError(Exception):
    """An environment failed in one slot, or in an unknown active slot (`slot` None). The message says how."""

    def __init__(self, slot: int | None, text: str) -> None:
        super().__init__(text)
        self.slot = slot


@dataclass(frozen=True, kw_only=True)
class StepResult:
    """The result of a step. Rows of idle slots are stale and meaningless, even if they are finite."""

    observations: dict[str, Array]  # leaf -> [N, ...]; at an episode's end: the final observation. The caller owns them
    rewards: Array  # [N] float64
    terminated: Array  # [N] bool
    truncated: Array  # [N] bool
    infos: Sequence[Mapping[str, Any]] | None  # [N], or None if no environment returned any


class Slots(Protocol):
    """N environments. Only the owner resets a slot, so an episode's seed is always known."""

    num_slots: int
    resets_together: bool  # all slots must be reset in one call, once all of them are idle
    envs: Sequence[Any] | None  # the unwrapped environments, for experts that read the simulator's state

    def prepare(self, seeds: Sequence[int]) -> None:
        """Take note of seeds that will be reset, for work that is cheaper together."""

    def reset(self, slots: Sequence[int], seeds: Sequence[int]) -> dict[str, Array]:
        """Start episodes; return the first observations, leaf -> [K, ...]."""

    def step(self, actions: Array, active: Array) -> StepResult:
        """Step the slots where `active` [N] bool; `actions` [N, ...] are in the environment's action space."""

    def close(self) -> None:
        """Close the environments."""


class ListSlots:
    """Plain environments stepped in a loop; works with every environment."""

    resets_together = False

    def __init__(self, config: GymEnvConfig | ImportEnvConfig, num: int, spec: EnvSpec) -> None:
        self.num_slots = num
        self._spec = spec.observation
        self._envs = [make(config) for _ in range(num)]
        self.envs: Sequence[Any] | None = [env.unwrapped for env in self._envs]
        self._observations = empty_observations(spec.observation, num)
        self._rewards = np.zeros(num, np.float64)
        self._terminated = np.zeros(num, np.bool_)
        self._truncated = np.zeros(num, np.bool_)
        self._infos: list[Mapping[str, Any]] = [{}] * num
        self._to_scalar = spec.action.leaf.kind == "discrete"
        single = self._spec.tree if isinstance(self._spec.tree, str) else None
        self._single = self._observations[single] if single else None
        self._known: dict[str, set[Any]] = {leaf.name: {np.dtype(leaf.dtype)} for leaf in self._spec.leaves}  # dtypes that fit

    def prepare(self, seeds: Sequence[int]) -> None:
        """Do nothing: environments are reset one by one."""

    def reset(self, slots: Sequence[int], seeds: Sequence[int]) -> dict[str, Array]:
        """Start episodes; return the first observations, leaf -> [K, ...]."""
        for slot, seed in zip(slots, seeds, strict=True):
            try:
                value = _first(slot, self._envs[slot].reset(seed=seed))
                leaves = self._spec.flatten(value)
                check_leaves(self._spec, leaves)
                self._write(slot, value)
            except FAULTS as error:
                raise as_slot_error(slot, error) from error
        rows = list(slots)
        return {name: column[rows] for name, column in self._observations.items()}

    def step(self, actions: Array, active: Array) -> StepResult:
        """Step the slots where `active` [N] bool; `actions` [N, ...] are in the environment's action space."""
        items = actions.tolist() if self._to_scalar else actions.copy()  # an environment may modify its action in place
        rewards, terminated, truncated, infos = self._rewards, self._terminated, self._truncated, self._infos
        any_info, slot = False, 0
        try:
            for slot in active.nonzero()[0].tolist():
                value, reward, is_terminal, is_cut, info = self._envs[slot].step(items[slot])
                if not isinstance(reward, _NUMBERS):
                    check_numbers(slot, "a reward", reward, ())
                if is_terminal.__class__ not in _FLAGS or is_cut.__class__ not in _FLAGS:
                    check_numbers(slot, "terminated", is_terminal, ())
                    check_numbers(slot, "truncated", is_cut, ())
                if info.__class__ is not dict:
                    info = _checked_info(slot, info)
                rewards[slot], terminated[slot], truncated[slot] = reward, is_terminal, is_cut
                self._write(slot, value)
                infos[slot] = info
                any_info = any_info or bool(info)
        except FAULTS as error:
            raise as_slot_error(slot, error) from error
        return StepResult(
            observations={name: column.copy() for name, column in self._observations.items()},
            rewards=rewards.copy(),
            terminated=terminated.copy(),
            truncated=truncated.copy(),
            infos=list(infos) if any_info else None,
        )

    def _write(self, slot: int, value: Any) -> None:
        if self._single is not None:
            row = self._single[slot]
            if np.shape(value) != row.shape:
                raise SlotError(slot, _shape_fault(self._spec.leaf, value))
            leaf = self._spec.leaf
            if getattr(value, "dtype", value.__class__) not in self._known[leaf.name]:
                value = self._fit(slot, leaf, value)
            self._single[slot] = value
            return
        parts = self._spec.flatten(value)
        for leaf in self._spec.leaves:
            part = parts[leaf.name]
            if part.shape != leaf.shape:
                raise SlotError(slot, _shape_fault(leaf, part))
            self._observations[leaf.name][slot] = part if part.dtype in self._known[leaf.name] else self._fit(slot, leaf, part)

    def _fit(self, slot: int, leaf: Leaf, value: Any) -> Any:
        """Return a value of another dtype cast to its space's dtype; SlotError if that cannot hold the values."""
        array = np.asarray(value)
        if np.can_cast(array.dtype, leaf.dtype, "same_kind"):
            if value.__class__ is not list:
                self._known[leaf.name].add(getattr(value, "dtype", value.__class__))
            return value
        with np.errstate(invalid="ignore"):
            cast = array.astype(leaf.dtype) if array.dtype.kind in "fiub" else None
        if cast is None or not np.array_equal(cast, array):
            raise SlotError(slot, f"returned {array.dtype} in {leaf.name} that does not fit {leaf.dtype}, its space's dtype")
        return cast

    def close(self) -> None:
        """Close the environments."""
        for env in self._envs:
            close_quietly(env)


def empty_observations(spec: SpaceSpec, num: int) -> dict[str, Array]:
    """Return leaf -> zeros [num, ...]."""
    return {leaf.name: np.zeros((num, *leaf.shape), leaf.dtype) for leaf in spec.leaves}


def check_leaves(spec: SpaceSpec, leaves: Mapping[str, Array], batch: tuple[int, ...] = ()) -> None:
    """Raise SlotError if a leaf has another shape than its space, or a dtype that does not fit it."""
    for leaf in spec.leaves:
        value = leaves[leaf.name]
        if value.shape != batch + leaf.shape:
            raise SlotError(None, _shape_fault(leaf, value))
        if not np.can_cast(value.dtype, leaf.dtype, "same_kind"):
            raise SlotError(None, f"returned dtype {value.dtype} in {leaf.name}, but its space has {leaf.dtype}")


def check_numbers(slot: int | None, what: str, values: Any, shape: tuple[int, ...]) -> None:
    """Raise SlotError unless `values`, from one environment or a vector of them, are numbers of that shape."""
    found = np.asarray(values)
    if found.shape != shape:
        raise SlotError(slot, f"returned {what} of shape {found.shape}, expected {f'shape {shape}' if shape else 'a number'}")
    if found.dtype.kind not in "fiub":
        raise SlotError(slot, f"returned {what} of type {type(values).__name__}, expected {'numbers' if shape else 'a number'}")


def _checked_info(slot: int, info: Any) -> Mapping[str, Any]:
    if info is not None and not isinstance(info, Mapping):
        raise SlotError(slot, f"returned infos of type {type(info).__name__}, expected a dict")
    return info or {}


def _first(slot: int, answer: Any) -> Any:
    """Return the observation from the result of `reset`."""
    if not (isinstance(answer, tuple) and len(answer) == 2 and isinstance(answer[1], Mapping)):
        raise SlotError(slot, f"returned {type(answer).__name__}, expected (observation, info); {_API}")
    return answer[0]


def as_slot_error(slot: int | None, error: BaseException) -> SlotError:
    """Return an exception of an environment as a SlotError of its slot."""
    if isinstance(error, SlotError):
        error.slot = slot if error.slot is None else error.slot
        return error
    text = told(error)
    is_old = "values to unpack" in text or (isinstance(error, TypeError) and "'seed'" in text)
    return SlotError(slot, f"raised {type(error).__name__}: {text}{f'; {_API}' if is_old else ''}")


def _shape_fault(leaf: Leaf, value: Any) -> str:
    return f"returned shape {np.shape(value)} in {leaf.name}, but its space has {leaf.shape}"
