"""How large a transformer is (no torch)."""

from __future__ import annotations

from typing import Self

from pydantic import Field, model_validator

from distil.config import Config


class TransformerSizes(Config):
    """What the configurations of transformers share."""

    width: int = Field(default=128, ge=1, description="features of a token")
    num_layers: int = Field(default=2, ge=1)
    num_heads: int = Field(default=4, ge=1, description="attention heads; they share the width")

    @model_validator(mode="after")
    def _heads_share_the_width(self) -> Self:
        if self.width % self.num_heads:
            raise ValueError(f"width={self.width} is no multiple of num_heads={self.num_heads}: change one of them")
        return self

    @property
    def sizes(self) -> dict[str, int]:
        """The sizes, as keyword arguments."""
        return {"width": self.width, "num_layers": self.num_layers, "num_heads": self.num_heads}
