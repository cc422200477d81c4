"""A saved reward as a function in numpy: what `distil.load_reward` and `Run.reward` return.

Legend: N steps, T steps of an episode.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import torch

from distil.errors import InputError
from distil.rewards.config import ABOUT, Nature
from distil.rewards.frozen import reward_of
from distil.rewards.ref import RewardRef
from distil.types import Array, Episode

_BLOCK = 4096  # steps of one pass


class RewardFunction:
    """A reward that was learned: without shaping, densities of a policy, or a mark of a task's end.

    Args:
        ref: the reward.

    Attributes:
        ref: the reward as plain data.
        observation: the observation space that it reads; environments may have more leaves.
        action: the action space that it was learned with.
    """

    def __init__(self, ref: RewardRef) -> None:
        self.ref, self._frozen = ref, reward_of(ref)
        self.observation, self.action = ref.spec.observation, ref.spec.action

    @property
    def nature(self) -> Nature:
        """What it can be used for, in a word: reward, relative or implied."""
        return self.ref.spec.nature

    @property
    def about(self) -> str:
        """What it can be used for, in words."""
        return ABOUT[self.nature]

    @property
    def sees(self) -> str:
        """What a step's reward depends on: "state", "state_action" or "transition"."""
        return self.ref.spec.sees

    @property
    def absorbing(self) -> float | None:
        """The reward of each step after the end of a task; None: it says nothing of that, or gives each last state its own."""
        if not self.ref.spec.config.knows_ends or self.ref.spec.config.kind == "tabular":
            return None
        leaves = {leaf.name: np.zeros((1, *leaf.shape)) + leaf.start for leaf in self.observation.leaves}
        action = np.zeros((1, *self.action.leaf.shape)) + self.action.leaf.start
        return float(self._found(leaves, action, leaves).absorbing_B[0])

    def rewards(self, observations: Any, actions: Array | None = None, next_observations: Any = None) -> Array:
        """Return the rewards of N steps, float32 [N].

        Args:
            observations: in the environment's structure (array, dict, tuple), each leaf [N, ...].
            actions: executed ones, [N, ...]; not needed by a reward of the state alone.
            next_observations: as `observations`; needed by a reward of the transition.

        Raises:
            InputError: what it sees is missing, or has other shapes.
        """
        found = [self._leaves(value) for value in (observations, next_observations) if value is not None]
        return self.of_leaves(found[0], actions, found[1] if len(found) > 1 else None)

    def of_episode(self, episode: Episode) -> Array:
        """Return the rewards of an episode of a store, float32 [T]."""
        before, after = (
            {name: values[part] for name, values in episode.observations.items()} for part in (slice(None, -1), slice(1, None))
        )
        return self.of_leaves(before, episode.actions, after)

    def discounted(self, episode: Episode, discount: float) -> float:
        """Return the discounted return of an episode of a store.

        Where the task ended, the rewards of the absorbing state follow for ever, if the reward knows them. A time limit cuts
        the sum, so that episodes are to be compared with those of the same limit.
        """
        rewards, num = self.of_episode(episode), episode.length
        found = float(rewards @ discount ** np.arange(num))
        if not (episode.terminated and self.ref.spec.config.knows_ends):
            return found
        before, after = ({name: rows[at : at + 1] for name, rows in episode.observations.items()} for at in (num - 1, num))
        absorbing = float(self._found(before, episode.actions[-1:], after).absorbing_B[0])
        return found + discount**num * absorbing / (1 - discount)

    def of_leaves(
        self, observations: Mapping[str, Array], actions: Array | None = None, after: Mapping[str, Array] | None = None
    ) -> Array:
        """Return the rewards of N steps whose observations are given by leaf name, as a store has them; see `rewards`."""
        self._require(observations, actions, after)
        num = len(observations[self.observation.leaves[0].name])
        leaf = self.action.leaf
        actions = np.zeros((num, *leaf.shape)) + leaf.start if actions is None else np.asarray(actions)
        after, out = observations if after is None else after, np.empty(num, np.float32)
        for start in range(0, num, _BLOCK):
            part = slice(start, start + _BLOCK)
            rows = [{each.name: found[each.name][part] for each in self.observation.leaves} for found in (observations, after)]
            out[part] = self._found(rows[0], actions[part], rows[1]).rewards_B.numpy()
        return out

    def _found(self, observations: Mapping[str, Array], actions: Array, after: Mapping[str, Array]) -> Any:
        def steps(value: Array) -> torch.Tensor:
            return torch.from_numpy(np.ascontiguousarray(value))[:, None]

        seen, ahead = ({name: steps(value) for name, value in leaves.items()} for leaves in (observations, after))
        return self._frozen(seen, steps(actions), ahead)

    def _leaves(self, observations: Any) -> dict[str, Array]:
        try:
            return self.observation.flatten(observations)
        except (KeyError, TypeError, ValueError, IndexError):
            raise InputError(f"the observations aren't of the reward's space {self.observation.describe()}") from None

    def _require(self, observations: Mapping[str, Array], actions: Array | None, after: Mapping[str, Array] | None) -> None:
        """Raise InputError for what is missing, or has another shape."""
        if self.sees != "state" and actions is None:
            raise InputError(f"the reward sees the {self.sees}: give the actions")
        if self.sees == "transition" and after is None:
            raise InputError("the reward sees the transition: give the next observations")
        action = self.action.leaf
        given = {name: (observations.get(name), shape) for name, shape in self._shapes.items()}
        given |= {f"next {name}": (after.get(name), shape) for name, shape in self._shapes.items()} if after is not None else {}
        given |= {"action": (actions, action.shape)} if actions is not None and self.sees != "state" else {}
        num = None
        for name, (value, shape) in given.items():
            if value is None:
                raise InputError(f"the reward reads the observation {name}, which is not given")
            num = len(value) if num is None and value.ndim else num
            if value.shape != (num, *shape):
                raise InputError(
                    f"{name} has the shape {value.shape}, the reward takes {('N', *shape)}, of as many steps N as others"
                )

    @property
    def _shapes(self) -> dict[str, tuple[int, ...]]:
        return {leaf.name: leaf.shape for leaf in self.observation.leaves}
