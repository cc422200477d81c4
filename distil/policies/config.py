"""What a policy is made of: PolicyConfig, and the choice of an encoder (no torch at import)."""

from __future__ import annotations

import math
import re
from typing import TYPE_CHECKING, Annotated, Any, Literal

from pydantic import Discriminator, Field, Tag, model_validator

from distil.config import Config
from distil.errors import InputError
from distil.heads.config import AutoHeadConfig, HeadConfig
from distil.policies.encoder_config import (
    ActivationName,
    CnnConfig,
    GruConfig,
    MlpConfig,
    NumpyTrunk,
    ResMlpConfig,
    TransformerConfig,
    Width,
)
from distil.policies.relative import Origin
from distil.spaces import Leaf, SpaceSpec

if TYPE_CHECKING:
    import torch

    from distil.policies.encoder import Encoder

__all__ = ["ActMode", "AutoEncoderConfig", "CnnConfig", "GruConfig", "ImportEncoderConfig", "MlpConfig", "NumpyTrunk"]
__all__ += ["PolicyConfig", "RelativeConfig", "ResMlpConfig", "ResolvedEncoderConfig", "TemporalEnsembleConfig"]
__all__ += ["TransformerConfig"]

_PART = re.compile(r"(?P<leaf>[^\[\]]+)(\[(?P<start>\d*):(?P<stop>\d*)\])?")

ActMode = Literal["point", "sample"]  # a policy's default action, or one drawn from its distribution


class ImportEncoderConfig(Config):
    """The user's own backbone: a subclass of `distil.policies.encoder.Backbone`.

    It is made as `Class(num_features, images, horizon, **kwargs)`.
    """

    kind: Literal["import"] = "import"
    target: str = Field(description="package.module:Class")
    kwargs: dict[str, Any] = Field(default_factory=dict)

    def resolve(self, observation: SpaceSpec) -> ImportEncoderConfig:
        """Return itself: whether the class fits the observation space is tried, see `distil.policies.check`."""
        return self

    def build(self, observation: SpaceSpec, horizon: int, clip: float, *, generator: torch.Generator) -> Encoder:
        """Return the encoder of windows of `horizon` observations, standardised and clipped to +-`clip`."""
        from distil.policies.encoder import ImportedEncoder

        return ImportedEncoder(observation, horizon, clip, generator, target=self.target, kwargs=self.kwargs)

    def numpy_twin(self) -> NumpyTrunk | None:
        """Return None: it runs in torch."""
        return None


class AutoEncoderConfig(Config):
    """cnn if the observation has an image (uint8 of 2 or 3 dimensions), else mlp."""

    kind: Literal["auto"] = "auto"
    hidden: tuple[Width, ...] = Field(default=(256, 256), description="width of each hidden layer")
    activation: ActivationName = "relu"

    def resolve(self, observation: SpaceSpec) -> MlpConfig | CnnConfig:
        """Return the choice for an observation space."""
        model = CnnConfig if any(leaf.is_image for leaf in observation.leaves) else MlpConfig
        return model(hidden=self.hidden, activation=self.activation)


ResolvedEncoderConfig = MlpConfig | CnnConfig | ResMlpConfig | GruConfig | TransformerConfig | ImportEncoderConfig


def _kind(value: Any) -> Any:
    return value.get("kind", "auto") if isinstance(value, dict) else getattr(value, "kind", None)


EncoderConfig = Annotated[
    Annotated[AutoEncoderConfig, Tag("auto")]
    | Annotated[MlpConfig, Tag("mlp")]
    | Annotated[CnnConfig, Tag("cnn")]
    | Annotated[ResMlpConfig, Tag("resmlp")]
    | Annotated[GruConfig, Tag("gru")]
    | Annotated[TransformerConfig, Tag("transformer")]
    | Annotated[ImportEncoderConfig, Tag("import")],
    Discriminator(_kind),
]


class AbsoluteConfig(Config):
    """Actions as they are."""

    kind: Literal["absolute"] = "absolute"

    def origin(self, observation: SpaceSpec, action: Leaf) -> None:
        """Return None: nothing is subtracted."""


class RelativeConfig(Config):
    """Box actions relative to numbers of the newest observation, such as positions relative to the robot's own."""

    kind: Literal["relative"] = "relative"
    to: str = Field(description="the observation's leaf, or a part of it such as obs/state[0:2]: as many numbers as the action")

    def origin(self, observation: SpaceSpec, action: Leaf) -> Origin:
        """Return what is subtracted; InputError if the spaces don't have it."""
        where, found = f"policy.actions.to={self.to}", _PART.fullmatch(self.to)
        leaf = next((leaf for leaf in observation.leaves if found is not None and leaf.name == found["leaf"]), None)
        if action.kind != "box":
            raise InputError(f"policy.actions.kind=relative doesn't fit a {action.kind} action space: leave it at absolute")
        if found is None or leaf is None:
            names = ", ".join(leaf.name for leaf in observation.leaves)
            raise InputError(f"{where}: no such leaf; the observation has: {names}; name one, or a part such as NAME[0:2]")
        if leaf.kind != "box" or leaf.is_image:
            kind = "an image" if leaf.is_image else leaf.kind
            raise InputError(f"{where}: {leaf.name} is {kind}, and holds no positions; name a Box")
        size, num = math.prod(leaf.shape), math.prod(action.shape)
        start, stop, _ = slice(*(int(each) if each else None for each in (found["start"], found["stop"]))).indices(size)
        if stop - start != num or int(found["stop"] or 0) > size:
            raise InputError(f"{where}: names {max(0, stop - start)} of {size} numbers, the action has {num}; name as many")
        return Origin(leaf=leaf.name, start=start, stop=stop)


ActionsConfig = Annotated[
    Annotated[AbsoluteConfig, Tag("absolute")] | Annotated[RelativeConfig, Tag("relative")],
    Discriminator(lambda value: value.get("kind", "absolute") if isinstance(value, dict) else getattr(value, "kind", None)),
]


class TemporalEnsembleConfig(Config):
    """A plan at every step, and the average of what all of them say about the current one. For Box actions.

    It smooths a policy whose demonstrations have one right answer. The average of plans that go different ways is none of them,
    so it undoes what heads for several right answers are for.
    """

    decay: float = Field(
        default=0.01, ge=0, description="a plan's weight is exp(-decay * i), i = 0 for the oldest; more of it trusts old plans"
    )


class PolicyConfig(Config):
    """The learned policy: what it sees, its network, its action distribution, and how many actions it plans ahead."""

    obs_horizon: int = Field(default=1, ge=1, description="how many observations it sees, the newest and those before it")
    chunk: int = Field(default=1, ge=1, description="how many actions it predicts at once")
    execute: int | None = Field(default=None, ge=1, description="how many of them it executes before it plans again; null: all")
    temporal_ensemble: TemporalEnsembleConfig | None = Field(
        default=None,
        description="plan at every step, and average the overlapping plans; null: execute one plan after the other",
    )
    encoder: EncoderConfig = AutoEncoderConfig()
    head: HeadConfig = AutoHeadConfig()
    actions: ActionsConfig = AbsoluteConfig()
    std_floor: float = Field(
        default=1e-4,
        gt=0,
        description="an observation dimension that varies less counts as constant; relative to the largest magnitude of its "
        "leaf where that is below 1",
    )
    obs_clip: float = Field(default=10.0, gt=0, description="normalised observations are clipped to +-this")
    ensemble: int = Field(
        default=1,
        ge=1,
        description="how many networks learn it side by side; they act by mean or majority, and their spread is doubt",
    )

    @model_validator(mode="after")
    def _plans_fit(self) -> PolicyConfig:
        if self.execute is not None and self.execute > self.chunk:
            raise ValueError(f"execute={self.execute} is more than chunk={self.chunk} actions: raise chunk or lower execute")
        if self.temporal_ensemble is not None and self.chunk == 1:
            raise ValueError("temporal_ensemble averages overlapping plans, which chunk=1 has none of: raise chunk")
        if self.temporal_ensemble is not None and self.execute not in (None, 1):
            raise ValueError(f"temporal_ensemble plans at every step, execute={self.execute} does not: leave execute at null")
        return self

    @model_validator(mode="after")
    def _sequences_have_frames(self) -> PolicyConfig:
        if isinstance(self.encoder, GruConfig | TransformerConfig) and self.obs_horizon == 1:
            raise ValueError(
                f"encoder.kind={self.encoder.kind} reads several observations, obs_horizon is 1: raise it, or use resmlp or mlp"
            )
        return self

    @property
    def num_executed(self) -> int:
        """Number of actions executed of each chunk."""
        return 1 if self.temporal_ensemble is not None else self.execute or self.chunk

    @property
    def is_stateful(self) -> bool:
        """Whether an action depends on earlier steps of its episode."""
        return self.obs_horizon > 1 or self.num_executed > 1 or self.temporal_ensemble is not None

    @property
    def targets(self) -> tuple[str, ...]:
        """The user's own classes that it names, package.module:Class."""
        return tuple(part.target for part in (self.encoder, self.head) if part.kind == "import")

    def resolve(self, observation: SpaceSpec, action: SpaceSpec) -> PolicyConfig:
        """Return the configuration with every `auto` replaced by its choice for these spaces."""
        self.actions.origin(observation, action.leaf)
        if self.temporal_ensemble is not None and action.leaf.kind != "box":
            raise InputError(
                f"policy.temporal_ensemble averages actions, which doesn't fit {action.leaf.kind} actions: leave it at null"
            )
        encoder, head = self.encoder.resolve(observation), self.head.resolve(action.leaf)
        return self.model_copy(update={"encoder": encoder, "head": head})
