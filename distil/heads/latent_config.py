"""The configuration of `distil.heads.latent` (no torch at import)."""

from __future__ import annotations

import itertools
import math
from typing import TYPE_CHECKING, Annotated, Literal

from pydantic import Field

from distil.heads.chunk_twin import ChunkTwin
from distil.heads.combine import Combined, medoid
from distil.heads.fits import BoxHeadConfig
from distil.heads.samplers import Once
from distil.heads.twins import Twin
from distil.nn.chunks_config import ChunkMlpConfig, ChunkNetworkConfig
from distil.spaces import Leaf
from distil.types import Array

if TYPE_CHECKING:
    import torch

    from distil.heads.base import Head


class LatentConfig(BoxHeadConfig):
    """Regression on a chunk, given the state and random numbers that say which way it goes. For Box actions.

    The default action is that of random numbers of 0, which may lie between two ways.
    """

    kind: Literal["latent"] = "latent"
    latent_dim: int = Field(default=8, ge=1, description="random numbers; those that it doesn't need cost nothing")
    kl_weight: float = Field(
        default=0.05,
        gt=0,
        description="how much of the mean error, in halves of the range, a nat of random numbers must save: lower, and samples "
        "fall between the ways; higher, and ways that differ less become one",
    )
    network: ChunkNetworkConfig = Field(default=ChunkMlpConfig(), description="from state and random numbers to a chunk")
    posterior: tuple[Annotated[int, Field(ge=1)], ...] = Field(
        default=(256, 256), description="layers of the network that guesses the random numbers of a label, in training"
    )

    def least_weights(self, size: int) -> int:
        """Return how many numbers its weights and statistics have at least, for chunks of `size` numbers."""
        return self.network.least_weights(size) + sum(map(math.prod, itertools.pairwise((*self.posterior, self.latent_dim))))

    def build(self, action: Leaf, context_dim: int, chunk: int, *, generator: torch.Generator) -> Head:
        """Return the head."""
        from distil.heads.latent import LatentHead

        return LatentHead(
            action,
            context_dim,
            chunk,
            generator,
            network=self.network,
            latent_dim=self.latent_dim,
            kl_weight=self.kl_weight,
            posterior=self.posterior,
        )

    def combine(self, points_MNTA: Array) -> Combined:
        """Return the action and the doubt of an ensemble: the default action of the member that is nearest to the others."""
        return medoid(points_MNTA)

    def numpy_twin(self, action: Leaf, chunk: int) -> Twin | None:
        """Return the head in numpy, if its network has a twin."""
        return ChunkTwin(action, chunk, Once(), latent_dim=self.latent_dim) if self.network.has_twin else None
