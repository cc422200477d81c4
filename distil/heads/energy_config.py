"""The configuration of `distil.heads.energy` (no torch at import)."""

from __future__ import annotations

import itertools
import math
from typing import TYPE_CHECKING, Annotated, Literal

from pydantic import Field

from distil.heads.combine import Combined, medoid
from distil.heads.fits import BoxHeadConfig
from distil.spaces import Leaf
from distil.types import Array

if TYPE_CHECKING:
    import torch

    from distil.heads.base import Head


class EnergyConfig(BoxHeadConfig):
    """An energy of state and action, low where demonstrations act, which is searched for low values. For Box actions.

    For chunks of few numbers: the counter-examples that it learns from fill the space of chunks, and become too few for it.
    """

    kind: Literal["energy"] = "energy"
    hidden: tuple[Annotated[int, Field(ge=1)], ...] = Field(
        default=(128, 128), min_length=1, description="width of each layer, on the features of the state and the action"
    )
    num_negatives: int = Field(
        default=64,
        ge=1,
        le=65_536,
        description="counter-examples of each label in training, uniform over slightly more than all actions",
    )
    num_candidates: int = Field(default=256, ge=2, le=65_536, description="actions that are compared in each round of a search")
    num_iterations: int = Field(
        default=3,
        ge=1,
        le=100,
        description="rounds of a search: over all actions, then closer and closer around the chosen one",
    )

    def least_weights(self, size: int) -> int:
        """Return how many numbers its weights and statistics have at least, for chunks of `size` numbers."""
        return size * self.hidden[0] + sum(map(math.prod, itertools.pairwise(self.hidden)))

    def build(self, action: Leaf, context_dim: int, chunk: int, *, generator: torch.Generator) -> Head:
        """Return the head."""
        from distil.heads.energy import EnergyHead

        search = {"num_candidates": self.num_candidates, "num_iterations": self.num_iterations}
        return EnergyHead(action, context_dim, chunk, generator, hidden=self.hidden, num_negatives=self.num_negatives, **search)

    def combine(self, points_MNTA: Array) -> Combined:
        """Return the action and the doubt of an ensemble: the default action of the member that is nearest to the others."""
        return medoid(points_MNTA)

    def numpy_twin(self, action: Leaf, chunk: int) -> None:
        """Return None: it acts through torch."""
