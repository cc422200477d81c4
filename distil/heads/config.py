"""Which head a policy has: the configurations (no torch at import) and the automatic choice by action space."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Annotated, Any, Literal

from pydantic import Discriminator, Field, Tag

from distil.config import Config
from distil.heads.bins_config import BinsConfig
from distil.heads.codes_config import CodesConfig
from distil.heads.combine import Combined, mean, medoid, vote
from distil.heads.energy_config import EnergyConfig
from distil.heads.fits import BoxHeadConfig, require_kind
from distil.heads.iterative_config import DiffusionConfig, FlowConfig, ShortcutConfig, TwoStepConfig
from distil.heads.latent_config import LatentConfig
from distil.heads.twins import CategoricalTwin, DeterministicTwin, GaussianTwin, MixtureTwin, NumpyHead
from distil.spaces import Leaf
from distil.types import Array

if TYPE_CHECKING:
    import torch

    from distil.heads.base import Head


Bound = Literal["clip", "tanh"]
_BOUND: Any = Field(
    default="clip",
    description="how a Box action is kept inside its bounds: clip regresses on the labels without bounds and clips the action "
    "when it acts; tanh squashes it in training, too, and learns actions at the bounds slowly",
)


class DeterministicConfig(BoxHeadConfig):
    """One action a state, trained by its distance to the label. For Box actions."""

    kind: Literal["deterministic"] = "deterministic"
    loss: Literal["mse", "l1"] = Field(default="mse", description="mse finds the labels' mean, l1 their median")
    bound: Bound = _BOUND

    def least_weights(self, size: int) -> int:
        """Return how many numbers its weights and statistics have at least, for chunks of `size` numbers."""
        return size

    def build(self, action: Leaf, context_dim: int, chunk: int, *, generator: torch.Generator) -> Head:
        """Return the head."""
        from distil.heads.deterministic import DeterministicHead

        return DeterministicHead(action, context_dim, chunk, generator, loss=self.loss, bound=self.bound)

    def combine(self, points_MNTA: Array) -> Combined:
        """Return the action and the doubt of an ensemble: the mean of the members' default actions."""
        return mean(points_MNTA)

    def numpy_twin(self, action: Leaf, chunk: int) -> NumpyHead | None:
        """Return the head in numpy."""
        return DeterministicTwin(action, chunk, self.bound)


class GaussianConfig(BoxHeadConfig):
    """A tanh-squashed Gaussian whose mean and deviation depend on the state, by maximum likelihood. For Box actions."""

    kind: Literal["gaussian"] = "gaussian"
    min_log_std: float = Field(default=-5.0, description="lower clamp of the log deviation before the squashing")
    max_log_std: float = Field(default=2.0, description="upper clamp")

    def least_weights(self, size: int) -> int:
        """Return how many numbers its weights and statistics have at least, for chunks of `size` numbers."""
        return 2 * size

    def build(self, action: Leaf, context_dim: int, chunk: int, *, generator: torch.Generator) -> Head:
        """Return the head."""
        from distil.heads.gaussian import GaussianHead

        limits = {"min_log_std": self.min_log_std, "max_log_std": self.max_log_std}
        return GaussianHead(action, context_dim, chunk, generator, **limits)

    def combine(self, points_MNTA: Array) -> Combined:
        """Return the action and the doubt of an ensemble: the mean of the members' default actions."""
        return mean(points_MNTA)

    def numpy_twin(self, action: Leaf, chunk: int) -> NumpyHead | None:
        """Return the head in numpy."""
        return GaussianTwin(action, chunk, self.min_log_std, self.max_log_std)


class MixtureConfig(BoxHeadConfig):
    """Several tanh-squashed Gaussians, for demonstrations with several right answers, by maximum likelihood. For Box actions.

    A component is one way through a whole chunk. The default action is the heaviest component's median.
    """

    kind: Literal["mixture"] = "mixture"
    num_components: int = Field(default=5, ge=2, description="Gaussians; more of them than there are ways do no harm")
    min_log_std: float = Field(
        default=-4.0,
        description="lower clamp of the log deviations before the squashing; raise it where samples go ways that no "
        "demonstration goes: very precise Gaussians drown the choice between them",
    )
    max_log_std: float = Field(default=2.0, description="upper clamp")

    def least_weights(self, size: int) -> int:
        """Return how many numbers its weights and statistics have at least, for chunks of `size` numbers."""
        return self.num_components * 2 * size

    def build(self, action: Leaf, context_dim: int, chunk: int, *, generator: torch.Generator) -> Head:
        """Return the head."""
        from distil.heads.mixture import MixtureHead

        limits = {"min_log_std": self.min_log_std, "max_log_std": self.max_log_std}
        return MixtureHead(action, context_dim, chunk, generator, num_components=self.num_components, **limits)

    def combine(self, points_MNTA: Array) -> Combined:
        """Return the action and the doubt of an ensemble: the default action of the member that is nearest to the others."""
        return medoid(points_MNTA)

    def numpy_twin(self, action: Leaf, chunk: int) -> NumpyHead | None:
        """Return the head in numpy."""
        return MixtureTwin(action, chunk, self.num_components, self.min_log_std, self.max_log_std)


class CategoricalConfig(Config):
    """Independent choices, one a factor, by maximum likelihood. For Discrete, MultiDiscrete and MultiBinary actions."""

    kind: Literal["categorical"] = "categorical"

    def resolve(self, action: Leaf) -> CategoricalConfig:
        """Return itself; InputError if the action space is a Box."""
        require_kind(self.kind, action, ("discrete", "multi_discrete", "multi_binary"))
        return self

    def least_weights(self, size: int) -> int:
        """Return how many numbers its weights and statistics have at least, for chunks of `size` numbers."""
        return size

    def build(self, action: Leaf, context_dim: int, chunk: int, *, generator: torch.Generator) -> Head:
        """Return the head."""
        from distil.heads.categorical import CategoricalHead

        return CategoricalHead(action, context_dim, chunk, generator)

    def combine(self, points_MNTA: Array) -> Combined:
        """Return the action and the doubt of an ensemble: the majority of the members' default actions."""
        return vote(points_MNTA)

    def numpy_twin(self, action: Leaf, chunk: int) -> NumpyHead | None:
        """Return the head in numpy."""
        return CategoricalTwin(action, chunk)


class ImportHeadConfig(Config):
    """The user's own head: a subclass of `distil.heads.base.Head`, made as `Class(action, context_dim, chunk, **kwargs)`."""

    kind: Literal["import"] = "import"
    target: str = Field(description="package.module:Class")
    kwargs: dict[str, Any] = Field(default_factory=dict)

    def resolve(self, action: Leaf) -> ImportHeadConfig:
        """Return itself: whether the class fits the action space is tried, see `distil.policies.check`."""
        return self

    def build(self, action: Leaf, context_dim: int, chunk: int, *, generator: torch.Generator) -> Head:
        """Return the head; InputError names the class and what is wrong with it."""
        from distil.nn.imported import make

        arguments = {"action": action, "context_dim": context_dim, "chunk": chunk, **self.kwargs}
        return make(self._class(), self.target, "policy.head", arguments, generator)

    def combine(self, points_MNTA: Array) -> Combined:
        """Return the action and the doubt of an ensemble, as the class defines them."""
        return self._class().combine(points_MNTA)

    def numpy_twin(self, action: Leaf, chunk: int) -> NumpyHead | None:
        """Return the head in numpy, if the class has a twin."""
        return self._class().numpy_twin(action, chunk, **self.kwargs)

    def _class(self) -> type[Head]:
        from distil.heads.base import Head
        from distil.nn.imported import class_of

        return class_of(self.target, "policy.head", Head)  # type: ignore[type-abstract]


class AutoHeadConfig(Config):
    """Deterministic for Box actions, Gaussian with `density`; categorical for the others."""

    kind: Literal["auto"] = "auto"
    bound: Bound = _BOUND
    density: bool = Field(
        default=False, description="choose a head with a density; the default where a policy learns by acting"
    )

    def resolve(self, action: Leaf) -> DeterministicConfig | GaussianConfig | CategoricalConfig:
        """Return the choice for an action space."""
        if self.density and action.kind == "box":
            return GaussianConfig()
        return DeterministicConfig(bound=self.bound) if action.kind == "box" else CategoricalConfig()


def with_bound(policy: Any) -> Any:
    """Return a saved `policy:` whose head has a `bound`: until there was that key, deterministic heads had tanh.

    Args:
        policy: the data of a PolicyConfig, saved with all its keys.
    """
    head = policy.get("head") if isinstance(policy, Mapping) else None
    if not isinstance(head, Mapping) or head.get("kind") not in ("auto", "deterministic"):
        return policy
    return {**policy, "head": {"bound": "tanh", **head}}


ResolvedHeadConfig = (
    DeterministicConfig
    | GaussianConfig
    | MixtureConfig
    | BinsConfig
    | CodesConfig
    | EnergyConfig
    | FlowConfig
    | ShortcutConfig
    | DiffusionConfig
    | TwoStepConfig
    | LatentConfig
    | CategoricalConfig
    | ImportHeadConfig
)


def _kind(value: Any) -> Any:
    return value.get("kind", "auto") if isinstance(value, dict) else getattr(value, "kind", None)


HeadConfig = Annotated[
    Annotated[AutoHeadConfig, Tag("auto")]
    | Annotated[DeterministicConfig, Tag("deterministic")]
    | Annotated[GaussianConfig, Tag("gaussian")]
    | Annotated[MixtureConfig, Tag("mixture")]
    | Annotated[BinsConfig, Tag("bins")]
    | Annotated[CodesConfig, Tag("codes")]
    | Annotated[EnergyConfig, Tag("energy")]
    | Annotated[CategoricalConfig, Tag("categorical")]
    | Annotated[FlowConfig, Tag("flow")]
    | Annotated[ShortcutConfig, Tag("shortcut")]
    | Annotated[DiffusionConfig, Tag("diffusion")]
    | Annotated[TwoStepConfig, Tag("two_step")]
    | Annotated[LatentConfig, Tag("latent")]
    | Annotated[ImportHeadConfig, Tag("import")],
    Discriminator(_kind),
]
