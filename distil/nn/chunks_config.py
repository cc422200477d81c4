"""Which network a head has that reads and writes whole chunks: the configurations (no torch at import)."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

from pydantic import Field

from distil.config import Config

if TYPE_CHECKING:
    import torch

    from distil.nn.chunks import ChunkNetwork


class ChunkMlpConfig(Config):
    """A residual perceptron over the chunk, flattened, the times and the context."""

    kind: Literal["mlp"] = "mlp"
    width: int = Field(default=256, ge=1, description="of each layer")
    num_blocks: int = Field(default=2, ge=0, description="residual blocks, of two linear layers each")

    def build(
        self,
        num_in: int,
        num_out: int,
        chunk: int,
        num_scalars: int,
        context_dim: int,
        *,
        generator: torch.Generator,
    ) -> ChunkNetwork:
        """Return the network; see `distil.nn.chunks.ChunkNetwork`."""
        from distil.nn.chunks import ChunkMlp

        return ChunkMlp(
            num_in, num_out, chunk, num_scalars, context_dim, generator, width=self.width, num_blocks=self.num_blocks
        )

    @property
    def has_twin(self) -> bool:
        """Whether `distil.heads.chunk_twin` runs it in numpy."""
        return True


ChunkNetworkConfig = ChunkMlpConfig
