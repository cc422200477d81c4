"""The random expert: the lower baseline of every score, reproducible per episode."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from distil.content import Content
from distil.draws import STEPS, SlotDraws
from distil.experts.base import Checked, Expert, every
from distil.experts.common import OneExpertConfig
from distil.spaces import Leaf
from distil.types import Array, Labels, Observations

if TYPE_CHECKING:
    from distil.envs import EnvConfig, EnvSpec


class RandomExpertConfig(OneExpertConfig):
    """Random actions, distributed as those of Gymnasium's spaces."""

    kind: Literal["random"] = "random"

    def content(self, env: EnvConfig) -> Content:
        """Return its content: it has none that could change."""
        return Content()

    def build(self, env: EnvConfig, spec: EnvSpec) -> Expert:
        """Return the expert; it fits every action space."""
        return Checked(RandomExpert(spec.action.leaf), spec.action)


class RandomExpert:
    """Random actions, one stream per episode: they depend only on the episode's seed, not on the slot or its neighbours.

    Args:
        leaf: the action space.
    """

    name = "random"
    needs_env = False
    stateful = True

    def __init__(self, leaf: Leaf) -> None:
        self._leaf = leaf
        self._draws = SlotDraws(lambda rng: sample(leaf, STEPS, rng), 0, "expert", "random", idle=leaf.start)

    def begin(self, slot: int, seed: int) -> None:
        """Start the stream of the episode with `seed`."""
        self._draws.begin(slot, seed)

    def act(self, observations: Observations, *, envs: Sequence[Any] | None = None) -> Labels:
        """Return the next action of each slot's stream; zeros where no episode has begun."""
        num = len(next(iter(observations.values())))
        actions = np.full((num, *self._leaf.shape), self._leaf.start, self._leaf.dtype)
        drawn = self._draws.take(np.arange(len(self._draws)) < num)[:num]
        actions[: len(drawn)] = drawn
        return Labels(actions=actions, mask=every(num))


def sample(leaf: Leaf, num: int, rng: np.random.Generator) -> Array:
    """Return `num` random actions [num, ...] of a space.

    Choices and bounded numbers are uniform. A number with one bound is exponential from that bound; one without is normal.
    """
    size = (num, *leaf.shape)
    if leaf.kind != "box":
        return rng.integers(leaf.start, leaf.start + np.asarray(leaf.nvec).reshape(leaf.shape), size).astype(leaf.dtype)
    low, high = leaf.bounds()
    if np.dtype(leaf.dtype).kind in "iu":
        return rng.integers(low.astype(np.int64), high.astype(np.int64), size, endpoint=True).astype(leaf.dtype)
    below, above = np.isfinite(low), np.isfinite(high)
    lowest, highest = np.where(below, low, 0), np.where(above, high, 0)
    uniform = lowest + rng.random(size) * (highest - lowest)
    tail = rng.exponential(size=size)
    one_sided = np.where(below, lowest + tail, np.where(above, highest - tail, rng.standard_normal(size)))
    return np.where(below & above, uniform, one_sided).astype(leaf.dtype)
