"""The configuration of `distil.heads.bins` (no torch at import)."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

from pydantic import Field

from distil.heads.combine import Combined, medoid
from distil.heads.fits import BoxHeadConfig
from distil.heads.nade_twin import BinsTwin
from distil.heads.twins import Twin
from distil.spaces import Leaf
from distil.types import Array

if TYPE_CHECKING:
    import torch

    from distil.heads.base import Head


class BinsConfig(BoxHeadConfig):
    """Each number of a chunk is one of some bins, given those before it, by maximum likelihood. For Box actions.

    It takes any density, and as many steps to sample as a chunk has numbers. The default action is the likeliest bin of each
    number, one after another.
    """

    kind: Literal["bins"] = "bins"
    num_bins: int = Field(default=32, ge=2, le=1024, description="bins of each number: as many values as it can have")
    spacing: Literal["uniform", "quantile"] = Field(
        default="uniform",
        description="uniform: bins of equal width; quantile: three quarters of them where the labels are, fitted once on the "
        "first training data",
    )
    hidden: int = Field(default=64, ge=1, description="units that carry the context and the numbers before")
    temperature: float = Field(
        default=1.0,
        gt=0,
        description="of samples: below 1, bins that are likely are drawn more often still; training doesn't depend on it",
    )

    def least_weights(self, size: int) -> int:
        """Return how many numbers its weights and statistics have at least, for chunks of `size` numbers."""
        return 2 * size * self.num_bins * self.hidden

    def build(self, action: Leaf, context_dim: int, chunk: int, *, generator: torch.Generator) -> Head:
        """Return the head."""
        from distil.heads.bins import BinsHead

        settings = {"num_bins": self.num_bins, "hidden": self.hidden}
        return BinsHead(action, context_dim, chunk, generator, spacing=self.spacing, temperature=self.temperature, **settings)

    def combine(self, points_MNTA: Array) -> Combined:
        """Return the action and the doubt of an ensemble: the default action of the member that is nearest to the others."""
        return medoid(points_MNTA)

    def numpy_twin(self, action: Leaf, chunk: int) -> Twin | None:
        """Return the head in numpy."""
        return BinsTwin(action, chunk, self.num_bins, self.temperature)
