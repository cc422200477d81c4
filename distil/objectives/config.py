"""`algorithm.objective:` what the learner minimises; the learner knows objectives by it alone. Imports no torch."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Literal

from pydantic import Field

from distil.config import Config
from distil.envs.config import EnvConfig
from distil.errors import InputError, RunError
from distil.objectives.rl_config import AnyStepConfig
from distil.objectives.tabular_config import CausalEntropySettings
from distil.rewards.given_config import AnyRewardConfig

if TYPE_CHECKING:
    from distil.objectives.base import Objective
    from distil.objectives.optimiser_config import OptimiserConfig
    from distil.objectives.ranks import Ranks
    from distil.policies.policy import Policy


_OF_NETWORKS = ("obs_horizon", "chunk", "ensemble", "obs_clip", "actions")
_OF_GRADIENTS = ("ema_decay", "augment", "precision", "compile", "patience", "learning_rate", "batch_size", "weight_decay")


class SupervisedConfig(Config):
    """The policy's own loss on the demonstrations: behavioural cloning and DAgger."""

    unused: ClassVar[Mapping[str, str]] = {}  # keys of the run that have no effect with it -> what to do instead
    no_reward: ClassVar[str] = "it imitates actions"  # why a run has no reward to keep
    kind: Literal["supervised"] = "supervised"

    def build(self, policy: Policy, optimiser: OptimiserConfig, ranks: Ranks, *, seed: int = 0) -> Objective:
        """Return the objective that trains `policy`, which is on its device already; `seed` is of its other networks."""
        from distil.objectives.supervised import Supervised

        return Supervised(policy, optimiser, ranks)

    @contextmanager
    def naming_faults(self) -> Iterator[None]:
        """Let exceptions through: this objective is distil's own."""
        yield


class ImportObjectiveConfig(Config):
    """The user's own objective: a class that is made as `Class(policy, optimiser, ranks, **kwargs)`.

    It has the members of `distil.objectives.base.Objective`. A subclass of `distil.objectives.gradient.GradientObjective` needs
    only a method `loss`.
    """

    unused: ClassVar[Mapping[str, str]] = {}
    no_reward: ClassVar[str] = "its objective has no method evaluation_reward"
    kind: Literal["import"] = "import"
    target: str  # package.module:Class
    kwargs: dict[str, Any] = Field(default_factory=dict)

    def build(self, policy: Policy, optimiser: OptimiserConfig, ranks: Ranks, *, seed: int = 0) -> Objective:
        """Return the objective that trains `policy`; InputError names the class and what is wrong with it."""
        from distil.objectives.imported import make

        return make(self.target, self.kwargs, policy, optimiser, ranks)

    @contextmanager
    def naming_faults(self) -> Iterator[None]:
        """Turn an exception into a RunError that names the class."""
        try:
            yield
        except (InputError, RunError):
            raise
        except Exception as error:
            reason = " ".join(f"{type(error).__name__}: {error}".split())
            raise RunError(f"objective {self.target} failed: {reason}; fix the class") from error


class InteractionConfig(Config):
    """Reinforcement learning on rewards of a reward model; algorithms choose both parts."""

    unused: ClassVar[Mapping[str, str]] = {
        "policy.obs_horizon": "leave it at 1: transitions have one observation",
        "policy.chunk": "leave it at 1: transitions have one action",
        "policy.ensemble": "leave it at 1; for several critics, set algorithm.step.num_critics",
        "learner.validation_fraction": "leave it at 0: nothing is held out; tune/* scores the policy",
        "learner.patience": "remove it: nothing is held out; algorithm.stop ends a run",
        "learner.augment": "remove it",
        "learner.precision": "leave it at fp32",
        "learner.compile": "leave it at false",
    }
    kind: Literal["interaction"] = "interaction"
    step: AnyStepConfig
    reward: AnyRewardConfig
    offline: bool = False  # learn from demonstrations alone
    env: EnvConfig | None = None  # the run's

    @property
    def no_reward(self) -> str:
        """Why a run has no reward to keep."""
        return str(getattr(self.reward, "no_reward", ""))

    def build(self, policy: Policy, optimiser: OptimiserConfig, ranks: Ranks, *, seed: int = 0) -> Objective:
        """Return the objective that trains `policy`, which is on its device already; `seed` is of its other networks."""
        from distil.objectives.build import build

        return build(self.step, self.reward, policy, optimiser, ranks, seed, offline=self.offline, env=self.env)

    @contextmanager
    def naming_faults(self) -> Iterator[None]:
        """Let exceptions through: this objective is distil's own."""
        yield


class CausalEntropyConfig(CausalEntropySettings):
    """Maximum causal entropy inverse reinforcement learning in a table, where the dynamics are known."""

    unused: ClassVar[Mapping[str, str]] = {
        **{f"policy.{name}": "leave it out: the policy is a table" for name in _OF_NETWORKS},
        **{f"learner.{name}": "leave it out: nothing takes gradient steps" for name in _OF_GRADIENTS},
        "learner.num_steps": "set algorithm.max_steps",
    }
    no_reward: ClassVar[str] = ""
    kind: Literal["causal_entropy"] = "causal_entropy"
    env: EnvConfig | None = None  # the run's

    def build(self, policy: Policy, optimiser: OptimiserConfig, ranks: Ranks, *, seed: int = 0) -> Objective:
        """Return the objective that writes `policy`; InputError if the environment or the policy is not a table."""
        from distil.objectives.tabular import TabularIrl

        return TabularIrl(self, self.env, policy)

    @contextmanager
    def naming_faults(self) -> Iterator[None]:
        """Let exceptions through: this objective is distil's own."""
        yield


ObjectiveConfig = Annotated[
    SupervisedConfig | InteractionConfig | CausalEntropyConfig | ImportObjectiveConfig, Field(discriminator="kind")
]
