"""The encoders' configurations (no torch at import): which network reads a window of observations.

An encoder makes one vector of each frame (an observation of the window): its leaves, flattened and concatenated. All but `mlp`
give images to a convolutional network of their own each, and take its features; `mlp` reads pixels as numbers.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, ClassVar, Literal, Self

from pydantic import Field

from distil.config import Config
from distil.errors import InputError
from distil.nn.transformer_config import TransformerSizes
from distil.spaces import SpaceSpec

if TYPE_CHECKING:
    import torch

    from distil.nn.cnn import Cnn
    from distil.policies.encoder import Encoder

Width = Annotated[int, Field(ge=1)]
ActivationName = Literal["relu", "tanh", "silu"]


@dataclass(frozen=True, kw_only=True)
class NumpyTrunk:
    """An encoder that numpy can run: linear layers on the standardised features, each followed by the activation."""

    layers: tuple[str, ...]  # names of their arrays, without `.weight` and `.bias`
    activation: ActivationName


class MlpConfig(Config):
    """A multilayer perceptron over all leaves, flattened and concatenated."""

    kind: Literal["mlp"] = "mlp"
    hidden: tuple[Width, ...] = Field(default=(256, 256), description="width of each hidden layer")
    activation: ActivationName = "relu"

    sees_images: ClassVar[bool] = False
    flattens: ClassVar[bool] = True

    def resolve(self, observation: SpaceSpec) -> MlpConfig:
        """Return itself: it takes every observation space."""
        return self

    def build(self, observation: SpaceSpec, horizon: int, clip: float, *, generator: torch.Generator) -> Encoder:
        """Return the encoder of windows of `horizon` observations, standardised and clipped to +-`clip`."""
        from distil.nn.mlp import Mlp
        from distil.policies.encoder import FlatEncoder

        return FlatEncoder(
            observation, horizon, clip, None, lambda num_in: Mlp(num_in, self.hidden, self.activation, generator)
        )

    def numpy_twin(self) -> NumpyTrunk | None:
        """Return the network in numpy."""
        names = tuple(f"encoder.mlp.layers.{2 * i}" for i in range(len(self.hidden)))  # an activation after each
        return NumpyTrunk(layers=names, activation=self.activation)

    def least_weights(self, sees_image: bool) -> int:
        """Return how many weights it has at least, whatever it sees."""
        return sum(map(math.prod, itertools.pairwise((1, *self.hidden))))


class FrameConfig(Config):
    """What the encoders share that give each image to a convolutional network."""

    channels: tuple[Width, ...] = Field(
        default=(32, 64, 64, 64), description="3x3 convolutions over each image, each halves the image"
    )
    image_features: Width = Field(default=256, description="features of one image")
    activation: ActivationName = "relu"

    sees_images: ClassVar[bool] = True  # through convolutions, not as numbers
    flattens: ClassVar[bool] = True  # the frames of a window become one vector

    def resolve(self, observation: SpaceSpec) -> Self:
        """Return itself: it takes every observation space."""
        return self

    def numpy_twin(self) -> NumpyTrunk | None:
        """Return None: it runs in torch."""
        return None

    def cnn(self, generator: torch.Generator) -> Callable[[Sequence[int]], Cnn]:
        """Return the maker of the network for images of a shape."""
        from distil.nn.cnn import Cnn

        return lambda shape: Cnn(shape, self.channels, self.image_features, self.activation, generator)

    def least_weights(self, sees_image: bool) -> int:
        """Return how many weights it has at least, whatever it sees; of the images' network here, subclasses add theirs."""
        widths = (1, *self.channels, self.image_features) if sees_image else ()
        return sum(map(math.prod, itertools.pairwise(widths)))


class CnnConfig(FrameConfig):
    """A small convolutional network an image, its features joined with the other leaves, then a multilayer perceptron."""

    kind: Literal["cnn"] = "cnn"
    hidden: tuple[Width, ...] = Field(default=(256, 256), description="width of each hidden layer after the images")

    def resolve(self, observation: SpaceSpec) -> Self:
        """Return itself; InputError if there is no image."""
        if not any(leaf.is_image for leaf in observation.leaves):
            raise InputError(f"policy.encoder.kind=cnn: the observation {observation.describe()} has no uint8 image; use mlp")
        return self

    def build(self, observation: SpaceSpec, horizon: int, clip: float, *, generator: torch.Generator) -> Encoder:
        """Return the encoder of windows of `horizon` observations, standardised and clipped to +-`clip`."""
        from distil.nn.mlp import Mlp
        from distil.policies.encoder import FlatEncoder

        return FlatEncoder(
            observation,
            horizon,
            clip,
            self.cnn(generator),
            lambda num_in: Mlp(num_in, self.hidden, self.activation, generator),
        )

    def least_weights(self, sees_image: bool) -> int:
        """Return how many weights it has at least, whatever it sees."""
        return super().least_weights(sees_image) + sum(map(math.prod, itertools.pairwise((1, *self.hidden))))


class ResMlpConfig(FrameConfig):
    """A residual perceptron over all frames: deeper than `mlp` at little risk, as each block adds to what it is given."""

    kind: Literal["resmlp"] = "resmlp"
    width: Width = 256
    num_blocks: int = Field(default=3, ge=1, description="blocks of two layers, each added to its input")

    def build(self, observation: SpaceSpec, horizon: int, clip: float, *, generator: torch.Generator) -> Encoder:
        """Return the encoder of windows of `horizon` observations, standardised and clipped to +-`clip`."""
        from distil.nn.resmlp import ResMlp
        from distil.policies.encoder import FlatEncoder

        return FlatEncoder(
            observation,
            horizon,
            clip,
            self.cnn(generator),
            lambda num_in: ResMlp(num_in, self.width, self.num_blocks, self.activation, generator),
        )

    def least_weights(self, sees_image: bool) -> int:
        """Return how many weights it has at least, whatever it sees."""
        return super().least_weights(sees_image) + self.num_blocks * 2 * self.width**2


class GruConfig(FrameConfig):
    """A gated recurrent network over the frames of the window, the oldest first. It needs an observation horizon."""

    kind: Literal["gru"] = "gru"
    width: Width = 256
    num_layers: int = Field(default=1, ge=1)

    flattens: ClassVar[bool] = False

    def build(self, observation: SpaceSpec, horizon: int, clip: float, *, generator: torch.Generator) -> Encoder:
        """Return the encoder of windows of `horizon` observations, standardised and clipped to +-`clip`."""
        from distil.nn.gru import Gru
        from distil.policies.encoder import SequenceEncoder

        return SequenceEncoder(
            observation, clip, self.cnn(generator), lambda num_in: Gru(num_in, self.width, self.num_layers, generator)
        )

    def least_weights(self, sees_image: bool) -> int:
        """Return how many weights it has at least, whatever it sees."""
        return super().least_weights(sees_image) + self.num_layers * 3 * self.width**2


class TransformerConfig(FrameConfig, TransformerSizes):
    """A causal transformer over the frames of the window, the oldest first. It needs an observation horizon."""

    kind: Literal["transformer"] = "transformer"

    flattens: ClassVar[bool] = False

    def build(self, observation: SpaceSpec, horizon: int, clip: float, *, generator: torch.Generator) -> Encoder:
        """Return the encoder of windows of `horizon` observations, standardised and clipped to +-`clip`."""
        from distil.nn.transformer import CausalTransformer
        from distil.policies.encoder import SequenceEncoder

        return SequenceEncoder(
            observation,
            clip,
            self.cnn(generator),
            lambda num_in: CausalTransformer(num_in, horizon, generator, kind=self.activation, **self.sizes),
        )

    def least_weights(self, sees_image: bool) -> int:
        """Return how many weights it has at least, whatever it sees."""
        return super().least_weights(sees_image) + self.num_layers * 12 * self.width**2
