"""Actions for observations in the environment's own structure, one or a batch: what `distil.load_policy` returns."""

from __future__ import annotations

from typing import Any

from distil.errors import InputError
from distil.policies.acting import Acting, acting
from distil.policies.spec import PolicyRef
from distil.spaces import SpaceSpec
from distil.types import Array


class Predictor:
    """A policy for interactive use.

    A policy with an observation horizon or action chunk remembers the calls before: call `reset` when an episode begins.

    Args:
        ref: the policy.
    """

    def __init__(self, ref: PolicyRef) -> None:
        self.ref = ref
        self.observation: SpaceSpec = ref.spec.observation
        self.action: SpaceSpec = ref.spec.action
        self._acting: Acting | None = None
        self._key: tuple[int, bool] | None = None
        self._seed = 0

    def reset(self, seed: int = 0) -> None:
        """Begin new episodes; `seed` is of the noise of sampled actions."""
        self._seed, self._key = seed, None

    def predict(self, observation: Any, *, deterministic: bool = True) -> Any:
        """Return the action for one observation, or the actions [N, ...] for a batch of N.

        Args:
            observation: in the environment's structure (array, dict, tuple); a batch has one more leading axis.
            deterministic: take the default action; otherwise a sample.

        Raises:
            InputError: the observation's structure or shapes aren't the policy's.
        """
        leaves, num = self._leaves(observation)
        rows = leaves if num is not None else {name: value[None] for name, value in leaves.items()}
        if self._key != (num or 1, deterministic):
            self._key = (num or 1, deterministic)
            self._acting = acting(self.ref, num or 1, act="point" if deterministic else "sample")
            for slot in range(num or 1):
                self._acting.begin(slot, self._seed + slot)
        assert self._acting is not None
        actions = self._acting.act(rows)
        if num is not None:
            return actions
        return actions[0] if self.action.leaf.kind == "discrete" else actions[0, ...]  # a scalar box stays an array

    def _leaves(self, observation: Any) -> tuple[dict[str, Array], int | None]:
        """Return the leaves and the batch's size, None for a single observation."""
        try:
            leaves = self.observation.flatten(observation)
        except (KeyError, TypeError, ValueError, IndexError):
            raise InputError(f"the observation isn't of the policy's space {self.observation.describe()}") from None
        sizes: set[int | None] = set()
        for leaf in self.observation.leaves:
            shape = leaves[leaf.name].shape
            if shape == leaf.shape:
                sizes.add(None)
            elif shape[1:] == leaf.shape and len(shape) == len(leaf.shape) + 1 and shape[0]:
                sizes.add(shape[0])
            else:
                raise InputError(f"observation {leaf.name} has shape {shape}, the policy takes {leaf.shape} or a batch of it")
        if len(sizes) != 1:
            raise InputError(f"the leaves of the observation disagree on the batch's size: {sorted(map(str, sizes))}")
        return leaves, sizes.pop()
