"""From observations to a context: the standardised feature vector, images, and the backbone over both.

    observations [B, H, ...] -> Features [B, H, F] and images [B, H, ...] -> backbone -> Context

Time is not flattened before the backbone, which decides what to do with it.

Legend: B batch, H observation horizon, F features of the vector, D context.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, cast

import torch
from torch import Tensor, nn

from distil.errors import InputError
from distil.heads.base import Context
from distil.nn.cnn import Cnn
from distil.nn.gru import Gru
from distil.nn.imported import class_of, make
from distil.nn.mlp import Mlp
from distil.nn.resmlp import ResMlp
from distil.nn.transformer import CausalTransformer
from distil.policies.layout import Part, fixed_scaling, has_left, layout, num_features, observation_scaling
from distil.spaces import Leaf, SpaceSpec

if TYPE_CHECKING:
    from distil.store.moments import Moments


class Features(nn.Module):
    """The standardised feature vector of the leaves that are not given as images. Its statistics are frozen buffers."""

    mean: Tensor
    inv_std: Tensor

    def __init__(self, leaves: Sequence[Leaf], clip: float) -> None:
        super().__init__()
        self.parts = layout(leaves)
        self.size = num_features(self.parts)
        self._clip = clip
        mean, inv_std = fixed_scaling(self.parts)
        self.register_buffer("mean", torch.tensor(mean, dtype=torch.float32))
        self.register_buffer("inv_std", torch.tensor(inv_std, dtype=torch.float32))
        for i, part in enumerate(self.parts):
            if part.factor is not None:
                self.register_buffer(f"_factor{i}", torch.tensor(part.factor), persistent=False)
                self.register_buffer(f"_value{i}", torch.tensor(part.value), persistent=False)

    def fit(self, statistics: Mapping[str, Moments], std_floor: float) -> list[str]:
        """Set the statistics from those of the training rows, by leaf name; return the names of constant dimensions."""
        mean, inv_std, constant = observation_scaling(self.parts, statistics, std_floor)
        self.mean.copy_(torch.from_numpy(mean))
        self.inv_std.copy_(torch.from_numpy(inv_std))
        return constant

    def has_left(self, statistics: Mapping[str, Moments]) -> bool:
        """Return whether rows of these statistics, by leaf name, are out of the range that the own statistics describe."""
        mean, inv_std = (value.double().cpu().numpy() for value in (self.mean, self.inv_std))
        return has_left(self.parts, mean, inv_std, statistics)

    def deviation(self, name: str) -> Tensor:
        """Return the standard deviation of a leaf's elements, of its shape; for constant ones the leaf's unit (1, or less)."""
        part = next(part for part in self.parts if part.leaf.name == name)
        return (1 / self.inv_std[part.offset : part.offset + part.size]).reshape(part.leaf.shape)

    def forward(self, observations: Mapping[str, Tensor]) -> Tensor:
        """Return the vector [B, H, F] of observations [B, H, ...]."""
        raw = [self._part(i, part, observations[part.leaf.name]) for i, part in enumerate(self.parts)]
        raw_BHF = raw[0] if len(raw) == 1 else torch.cat(raw, -1)
        return (raw_BHF - self.mean).mul_(self.inv_std).clamp_(-self._clip, self._clip)

    def _part(self, index: int, part: Part, values: Tensor) -> Tensor:
        flat = values.reshape(*values.shape[:2], -1)
        if part.factor is None:
            return flat.float()
        picked = flat[..., self.get_buffer(f"_factor{index}")]
        return (picked == self.get_buffer(f"_value{index}")).float()


class Encoder(nn.Module, ABC):
    """Observations [B, H, ...] -> context."""

    num_out: int  # D

    def __init__(self, vectors: Sequence[Leaf], clip: float) -> None:
        """Standardise the leaves `vectors`, and clip them to +-`clip`."""
        super().__init__()
        self.features = Features(vectors, clip)

    @abstractmethod
    def forward(self, observations: Mapping[str, Tensor]) -> Context:
        """Return the context of windows [B, H, ...] by leaf name."""


class FrameEncoder(Encoder):
    """An encoder that makes one vector of each frame: its features, and those that `cnn` finds in its images.

    Args:
        observation: the observation space.
        clip: of standardised features.
        cnn: makes the network of one image of a shape; None: pixels are features like others.
    """

    def __init__(self, observation: SpaceSpec, clip: float, cnn: Callable[[Sequence[int]], Cnn] | None) -> None:
        images, vectors = split_images(observation) if cnn is not None else ([], list(observation.leaves))
        super().__init__(vectors, clip)
        self._images = [leaf.name for leaf in images]
        self.cnns = nn.ModuleList() if cnn is None else nn.ModuleList(cnn(leaf.shape) for leaf in images)
        self.frame_size = self.features.size + sum(cnn.num_out for cnn in cast("Iterable[Cnn]", self.cnns))  # F

    def frames(self, observations: Mapping[str, Tensor]) -> Tensor:
        """Return the frames [B, H, F]."""
        parts = [self.features(observations)] if self.features.size else []
        for name, cnn in zip(self._images, self.cnns, strict=True):
            image = observations[name]
            features = cnn(image.flatten(0, 1).float() / 255)
            parts.append(features.view(*image.shape[:2], -1))
        return parts[0] if len(parts) == 1 else torch.cat(parts, -1)


class FlatEncoder(FrameEncoder):
    """A perceptron on all frames, concatenated. There are no tokens.

    Args:
        observation: the observation space.
        horizon: H.
        clip: of standardised features.
        cnn: see `FrameEncoder`.
        trunk: makes the perceptron of so many inputs.
    """

    def __init__(
        self,
        observation: SpaceSpec,
        horizon: int,
        clip: float,
        cnn: Callable[[Sequence[int]], Cnn] | None,
        trunk: Callable[[int], Mlp | ResMlp],
    ) -> None:
        super().__init__(observation, clip, cnn)
        self.mlp = trunk(horizon * self.frame_size)
        self.num_out = self.mlp.num_out

    def forward(self, observations: Mapping[str, Tensor]) -> Context:
        """Return the context, without tokens."""
        return Context(pooled_BD=self.mlp(self.frames(observations).flatten(1)))


class SequenceEncoder(FrameEncoder):
    """A network over the frames in their order. The tokens are its states, one a frame, and the context is the newest one.

    Args:
        observation: the observation space.
        clip: of standardised features.
        cnn: see `FrameEncoder`.
        trunk: makes the network of frames of so many features.
    """

    def __init__(
        self,
        observation: SpaceSpec,
        clip: float,
        cnn: Callable[[Sequence[int]], Cnn] | None,
        trunk: Callable[[int], Gru | CausalTransformer],
    ) -> None:
        super().__init__(observation, clip, cnn)
        self.sequence = trunk(self.frame_size)
        self.num_out = self.sequence.num_out

    def forward(self, observations: Mapping[str, Tensor]) -> Context:
        """Return the context, with one token a frame."""
        tokens_BHD = self.sequence(self.frames(observations))
        return Context(pooled_BD=tokens_BHD[:, -1], tokens_BLD=tokens_BHD)


class Backbone(nn.Module, ABC):
    """The user's own network between features and head. The constructor takes `(num_features, images, horizon, ...)`.

    `num_features` is F, `images` maps the name of each image leaf to its shape, `horizon` is H.

    Attributes:
        num_out: D, features of the context, and of each token.
    """

    num_out: int

    @abstractmethod
    def forward(self, features_BHF: Tensor, images: Mapping[str, Tensor]) -> Context:
        """Return the context of windows, the oldest observation first.

        Args:
            features_BHF: all leaves that are no images, standardised; F is 0 if there are none.
            images: leaf name -> [B, H, *shape], floats in [0, 1].
        """


class ImportedEncoder(Encoder):
    """The user's backbone on the standardised features and the images."""

    def __init__(
        self,
        observation: SpaceSpec,
        horizon: int,
        clip: float,
        generator: torch.Generator,
        *,
        target: str,
        kwargs: Mapping[str, Any],
    ) -> None:
        images, vectors = split_images(observation)
        super().__init__(vectors, clip)
        self._images = [leaf.name for leaf in images]
        shapes = {leaf.name: leaf.shape for leaf in images}
        what, arguments = "policy.encoder", {"num_features": self.features.size, "images": shapes, "horizon": horizon}
        backbone = class_of(target, what, Backbone)  # type: ignore[type-abstract]
        self.backbone = make(backbone, target, what, {**arguments, **kwargs}, generator)
        self.num_out = getattr(self.backbone, "num_out", 0)
        if type(self.num_out) is not int or self.num_out < 1:
            raise InputError(f"{what} {target}: num_out is {self.num_out!r}; set it to the number of context features")

    def forward(self, observations: Mapping[str, Tensor]) -> Context:
        """Return the backbone's context."""
        first = next(iter(observations.values()))
        features_BHF = self.features(observations) if self.features.size else self.features.mean.expand(*first.shape[:2], 0)
        context: Context = self.backbone(features_BHF, {name: observations[name].float() / 255 for name in self._images})
        return context


def split_images(observation: SpaceSpec) -> tuple[list[Leaf], list[Leaf]]:
    """Return the leaves that are images, and the others."""
    images = [leaf for leaf in observation.leaves if leaf.is_image]
    return images, [leaf for leaf in observation.leaves if not leaf.is_image]
