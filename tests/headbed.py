"""A user's own heads and backbones, as a package of theirs has them, and broken ones, whose names say the fault."""

import math
from collections.abc import Mapping

import numpy as np
import torch
from torch import Tensor, nn

from distil.heads.base import Context, DensityHead, HeadLoss
from distil.heads.tiles import rows
from distil.policies.encoder import Backbone
from distil.spaces import Leaf

SIZE = 3


class Layer(nn.Module):
    def __init__(self, size: int) -> None:
        super().__init__()
        self.linear = nn.Linear(size, size)


class Laplace(DensityHead):
    """A Laplace distribution of one width, in the head's space."""

    noise_kind = "uniform"

    def __init__(self, action: Leaf, context_dim: int, chunk: int, width: float = 0.1) -> None:
        super().__init__()
        self.shape, self.width = (chunk, math.prod(action.shape)), width
        self.noise_size = math.prod(self.shape)
        self.linear = nn.Linear(context_dim, self.noise_size)

    def point(self, context: Context) -> Tensor:
        return self.linear(context.pooled_BD).float().view(-1, *self.shape)

    def log_prob(self, context: Context, actions_BTA: Tensor) -> Tensor:
        return -((actions_BTA - self.point(context)).abs() / self.width + math.log(2 * self.width)).sum(-1)

    def loss(self, context: Context, actions_BTA: Tensor, is_pad_BT: Tensor, *, generator=None) -> HeadLoss:
        error_BT = (actions_BTA - self.point(context)).abs().mean(-1)
        return HeadLoss(loss_BT=-self.log_prob(context, actions_BTA), extras={"error": error_BT})

    def sample_from(self, context: Context, noise_BK: Tensor) -> Tensor:
        u_BTA = (noise_BK - 0.5).view(-1, *self.shape)
        return self.point(context) - self.width * u_BTA.sign() * torch.log1p(-2 * u_BTA.abs())


class Twinned(Laplace):
    """The same with a numpy twin."""

    @classmethod
    def numpy_twin(cls, action: Leaf, chunk: int, width: float = 0.1) -> "LaplaceTwin":
        return LaplaceTwin(chunk, math.prod(action.shape), width)


class LaplaceTwin:
    noise_kind = "uniform"

    def __init__(self, chunk: int, size: int, width: float) -> None:
        self.shape, self.width = (chunk, size), width
        self.noise_size = self.num_outputs = chunk * size

    def __call__(self, out: np.ndarray, num: int, noise: np.ndarray | None) -> np.ndarray:
        point = rows(out, num).reshape(num, *self.shape)
        if noise is None:
            return point
        u = noise.reshape(num, *self.shape) - np.float32(0.5)
        return point - np.float32(self.width) * np.sign(u) * np.log1p(-2 * abs(u))


class Fitted(Laplace):
    """The same around the mean of the chunks that it was fitted on."""

    needs_labels = True

    def __init__(self, action: Leaf, context_dim: int, chunk: int, width: float = 0.1) -> None:
        super().__init__(action, context_dim, chunk, width)
        self.register_buffer("middle", torch.full(self.shape, math.nan))
        self.fits: list[tuple[Tensor, int]] = []

    def fit_labels(self, chunks_RTA: Tensor, seed: int) -> None:
        self.fits.append((chunks_RTA, seed))
        self.middle.copy_(chunks_RTA.mean(0))

    def point(self, context: Context) -> Tensor:
        return super().point(context) + self.middle


class Frames(Backbone):
    """One token a frame, with its place; the context is their mean."""

    def __init__(self, num_features: int, images: Mapping[str, tuple[int, ...]], horizon: int, width: int = 16) -> None:
        super().__init__()
        self.num_out, size = width, num_features + sum(math.prod(shape) for shape in images.values())
        self.linear, self.place = nn.Linear(size, width), nn.Parameter(torch.randn(horizon, width))

    def forward(self, features_BHF: Tensor, images: Mapping[str, Tensor]) -> Context:
        x_BHF = torch.cat([features_BHF, *(image.flatten(2) for image in images.values())], -1)
        tokens_BLD = torch.relu(self.linear(x_BHF) + self.place)
        return Context(pooled_BD=tokens_BLD.mean(1), tokens_BLD=tokens_BLD)


class OfTokens(Laplace):
    """A head that looks at the newest frame's token."""

    def point(self, context: Context) -> Tensor:
        assert context.tokens_BLD is not None
        return super().point(Context(pooled_BD=context.tokens_BLD[:, -1]))


class NoPoint(Laplace):
    point = Laplace.__base__.point  # abstract again


class Lopsided(Laplace):
    def loss(self, context, actions_BTA, is_pad_BT, *, generator=None):
        return HeadLoss(loss_BT=super().loss(context, actions_BTA, is_pad_BT).loss_BT.mean())


class Bare(Laplace):
    def loss(self, context, actions_BTA, is_pad_BT, *, generator=None):
        return super().loss(context, actions_BTA, is_pad_BT).loss_BT


class Short(Laplace):
    def point(self, context):
        return super().point(context)[:, :, :1]

    def log_prob(self, context, actions_BTA):
        return super().point(context).sum(-1)


class Raising(Laplace):
    def sample_from(self, context, noise_BK):
        raise KeyError("what")


class Global(Laplace):
    def sample_from(self, context, noise_BK):
        return torch.rand(len(noise_BK), *self.shape)


class Dropping(Laplace):
    def loss(self, context, actions_BTA, is_pad_BT, *, generator=None):
        return HeadLoss(loss_BT=super().loss(context, actions_BTA, is_pad_BT).loss_BT + torch.rand(()))


class Wide(Laplace):
    def loss(self, context, actions_BTA, is_pad_BT, *, generator=None):
        return HeadLoss(loss_BT=super().loss(context, actions_BTA, is_pad_BT).loss_BT, extras={"all": actions_BTA})


class Infinite(Laplace):
    def point(self, context):
        return super().point(context) + math.inf


class Noisy(Laplace):
    noise_kind = "gaussian"


class OtherTwin(Twinned):
    @classmethod
    def numpy_twin(cls, action, chunk, width=0.1):
        return super().numpy_twin(action, chunk, 2 * width)


class Integers(Laplace):
    def point(self, context):
        return super().point(context).long()

    def log_prob(self, context, actions_BTA):
        return super().point(context).sum(-1)


class Tuple(Frames):
    def forward(self, features_BHF, images):
        return super().forward(features_BHF, images).pooled_BD


class Narrow(Frames):
    def forward(self, features_BHF, images):
        context = super().forward(features_BHF, images)
        return Context(pooled_BD=context.pooled_BD[:, 1:])


class Flat(Frames):
    def forward(self, features_BHF, images):
        context = super().forward(features_BHF, images)
        return Context(pooled_BD=context.pooled_BD, tokens_BLD=context.pooled_BD)


class Sizeless(Frames):
    def __init__(self, num_features, images, horizon):
        super().__init__(num_features, images, horizon)
        del self.num_out


class Unused(Laplace):
    def __init__(self, action, context_dim, chunk):
        super().__init__(action, context_dim, chunk)
        self.spare = nn.Linear(2, 2)


class Frozen(Frames):
    """Pretrained, as it were: none of its weights is trained."""

    def __init__(self, num_features, images, horizon):
        super().__init__(num_features, images, horizon)
        self.requires_grad_(False)


class Dropout(Frames):
    def forward(self, features_BHF, images):
        return Context(pooled_BD=nn.functional.dropout(super().forward(features_BHF, images).pooled_BD))


class Double(Frames):
    def forward(self, features_BHF, images):
        return Context(pooled_BD=super().forward(features_BHF, images).pooled_BD.double())


class Breaking(Laplace):
    """Its loss, or its default action, raises from a call on."""

    def __init__(self, action, context_dim, chunk, losses=99, points=99):
        super().__init__(action, context_dim, chunk)
        self.left = {"losses": losses, "points": points}

    def count(self, name):
        self.left[name] -= 1
        if self.left[name] < 0:
            raise OSError(f"{name}\nran out")

    def loss(self, context, actions_BTA, is_pad_BT, *, generator=None):
        self.count("losses")
        return super().loss(context, actions_BTA, is_pad_BT, generator=generator)

    def point(self, context):
        if not torch.is_grad_enabled():
            self.count("points")
        return super().point(context)
