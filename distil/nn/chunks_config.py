"""Which network a head has that reads and writes whole chunks: the configurations (no torch at import)."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any, Literal

from pydantic import Discriminator, Field, Tag

from distil.config import Config
from distil.nn.transformer_config import TransformerSizes

if TYPE_CHECKING:
    import torch

    from distil.nn.chunks import ChunkNetwork, ChunkSizes


class ChunkMlpConfig(Config):
    """A residual perceptron over the chunk, flattened, the times and the context."""

    kind: Literal["mlp"] = "mlp"
    width: int = Field(default=256, ge=1, description="of each layer")
    num_blocks: int = Field(default=2, ge=0, description="residual blocks, of two linear layers each")

    def build(self, sizes: ChunkSizes, *, generator: torch.Generator) -> ChunkNetwork:
        """Return the network; see `distil.nn.chunks.ChunkNetwork`."""
        from distil.nn.chunks import ChunkMlp

        return ChunkMlp(sizes, generator, width=self.width, num_blocks=self.num_blocks)

    def least_weights(self, size: int) -> int:
        """Return how many weights it has at least, for chunks of `size` numbers."""
        return self.width * (2 * self.num_blocks * self.width + size)

    @property
    def has_twin(self) -> bool:
        """Whether `distil.heads.chunk_twin` runs it in numpy."""
        return True


class ChunkUnetConfig(Config):
    """A U-Net over the steps of the chunk: convolutions over time at several lengths, each half the one before."""

    kind: Literal["unet"] = "unet"
    channels: tuple[Annotated[int, Field(ge=8, multiple_of=8)], ...] = Field(
        default=(64, 128), min_length=1, description="features of a step at each length, multiples of 8"
    )
    num_blocks: int = Field(default=1, ge=1, description="residual blocks at each length, on the way down and on the way up")

    def build(self, sizes: ChunkSizes, *, generator: torch.Generator) -> ChunkNetwork:
        """Return the network; see `distil.nn.chunks.ChunkNetwork`."""
        from distil.nn.unet import ChunkUnet

        return ChunkUnet(sizes, generator, channels=self.channels, num_blocks=self.num_blocks)

    def least_weights(self, size: int) -> int:
        """Return how many weights it has at least, for chunks of `size` numbers."""
        return self.num_blocks * sum(5 * width**2 for width in self.channels)

    @property
    def has_twin(self) -> bool:
        """Return False: it runs in torch."""
        return False


class ChunkTransformerConfig(TransformerSizes):
    """A transformer over the steps of the chunk, which look at the context's tokens: for encoders that have some."""

    kind: Literal["transformer"] = "transformer"

    def build(self, sizes: ChunkSizes, *, generator: torch.Generator) -> ChunkNetwork:
        """Return the network; see `distil.nn.chunks.ChunkNetwork`."""
        from distil.nn.chunk_transformer import ChunkTransformer

        return ChunkTransformer(sizes, generator, **self.sizes)

    def least_weights(self, size: int) -> int:
        """Return how many weights it has at least, for chunks of `size` numbers."""
        return self.num_layers * 16 * self.width**2

    @property
    def has_twin(self) -> bool:
        """Return False: it runs in torch."""
        return False


def _kind(value: Any) -> Any:
    return value.get("kind", "mlp") if isinstance(value, dict) else getattr(value, "kind", None)


ChunkNetworkConfig = Annotated[
    Annotated[ChunkMlpConfig, Tag("mlp")]
    | Annotated[ChunkUnetConfig, Tag("unet")]
    | Annotated[ChunkTransformerConfig, Tag("transformer")],
    Discriminator(_kind),
]
