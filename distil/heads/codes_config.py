"""The configuration of `distil.heads.codes` (no torch at import)."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

from pydantic import Field

from distil.heads.combine import Combined, medoid
from distil.heads.fits import BoxHeadConfig
from distil.heads.nade_twin import CodesTwin
from distil.heads.twins import Twin
from distil.spaces import Leaf
from distil.types import Array

if TYPE_CHECKING:
    import torch

    from distil.heads.base import Head


class CodesConfig(BoxHeadConfig):
    """One of some typical chunks, found among the labels, and an offset from it. For Box actions.

    Behavior Transformer's head (`num_levels: 1`), and VQ-BeT's. The default action is the likeliest chunk with its offset.
    """

    kind: Literal["codes"] = "codes"
    num_codes: int = Field(default=64, ge=2, le=4096, description="typical chunks of a level")
    num_levels: int = Field(default=1, ge=1, le=8, description="each further level refines the one before by what it left over")
    offset_weight: float = Field(default=10.0, gt=0, description="of the offset's squared error, beside the codes' likelihood")
    focal: float = Field(
        default=0.0,
        ge=0,
        description="exponent of the focal loss: above 0, codes that are likely already count less; samples then follow the "
        "data's shares less closely",
    )
    hidden: int = Field(default=256, ge=1, description="units that carry the context and the codes before")

    def least_weights(self, size: int) -> int:
        """Return how many numbers its weights and statistics have at least, for chunks of `size` numbers."""
        return self.num_levels * self.num_codes * (2 * self.hidden + size)

    def build(self, action: Leaf, context_dim: int, chunk: int, *, generator: torch.Generator) -> Head:
        """Return the head."""
        from distil.heads.codes import CodesHead

        return CodesHead(
            action,
            context_dim,
            chunk,
            generator,
            num_codes=self.num_codes,
            num_levels=self.num_levels,
            offset_weight=self.offset_weight,
            focal=self.focal,
            hidden=self.hidden,
        )

    def combine(self, points_MNTA: Array) -> Combined:
        """Return the action and the doubt of an ensemble: the default action of the member that is nearest to the others."""
        return medoid(points_MNTA)

    def numpy_twin(self, action: Leaf, chunk: int) -> Twin | None:
        """Return the head in numpy."""
        return CodesTwin(action, chunk, self.num_codes, self.num_levels)
