"""The configurations of heads that come to a chunk in some calls of a network (no torch at import). For Box actions."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

from pydantic import Field, model_validator

from distil.heads.chunk_twin import ChunkTwin
from distil.heads.combine import Combined, mean, medoid
from distil.heads.fits import BoxHeadConfig
from distil.heads.samplers import Ddim, Ode, Sampler, Shortcuts, Target, TwoSteps
from distil.heads.twins import Twin
from distil.nn.chunks_config import ChunkMlpConfig, ChunkNetworkConfig
from distil.spaces import Leaf
from distil.types import Array

if TYPE_CHECKING:
    import torch

    from distil.heads.base import Head


class _IterativeConfig(BoxHeadConfig):
    network: ChunkNetworkConfig = Field(default=ChunkMlpConfig(), description="from a noisy chunk and the context to a chunk")

    def least_weights(self, size: int) -> int:
        """Return how many numbers its weights and statistics have at least, for chunks of `size` numbers."""
        return self.network.least_weights(size)

    def combine(self, points_MNTA: Array) -> Combined:
        """Return the action and the doubt of an ensemble: the default action of the member that is nearest to the others."""
        return medoid(points_MNTA)

    def _twin(self, action: Leaf, chunk: int, sampler: Sampler, *, random: bool = True) -> Twin | None:
        return ChunkTwin(action, chunk, sampler, random=random) if self.network.has_twin else None


class _NoisyConfig(_IterativeConfig):
    temperature: float = Field(
        default=1.0,
        gt=0,
        description="of samples: multiplies the noise, below 1 for ones nearer to the default action, not in training",
    )


class FlowConfig(_NoisyConfig):
    """Noise flows to actions on straight paths. The default action is what noise of 0 leads to."""

    kind: Literal["flow"] = "flow"
    num_steps: int = Field(default=4, ge=1, le=1000, description="of the solver when it acts; training doesn't depend on it")
    solver: Literal["euler", "midpoint"] = Field(default="midpoint", description="midpoint calls the network twice a step")

    def build(self, action: Leaf, context_dim: int, chunk: int, *, generator: torch.Generator) -> Head:
        """Return the head."""
        from distil.heads.flow import FlowHead

        return FlowHead(action, context_dim, chunk, generator, network=self.network, sampler=self._sampler())

    def numpy_twin(self, action: Leaf, chunk: int) -> Twin | None:
        """Return the head in numpy, if its network has a twin."""
        return self._twin(action, chunk, self._sampler())

    def _sampler(self) -> Sampler:
        return Ode(num_steps=self.num_steps, solver=self.solver, temperature=self.temperature)


class ShortcutConfig(_NoisyConfig):
    """A flow that is trained to need one step. The default action is what noise of 0 leads to."""

    kind: Literal["shortcut"] = "shortcut"
    num_steps: Literal[1, 2, 4, 8, 16] = Field(default=1, description="when it acts; training doesn't depend on it")
    num_halvings: int = Field(default=3, ge=1, le=7, description="how often the one step is halved in training: 3 for 8 steps")

    def build(self, action: Leaf, context_dim: int, chunk: int, *, generator: torch.Generator) -> Head:
        """Return the head."""
        from distil.heads.shortcut import ShortcutHead

        sampler, num_halvings = self._sampler(), self.num_halvings
        return ShortcutHead(
            action, context_dim, chunk, generator, network=self.network, sampler=sampler, num_halvings=num_halvings
        )

    def numpy_twin(self, action: Leaf, chunk: int) -> Twin | None:
        """Return the head in numpy, if its network has a twin."""
        return self._twin(action, chunk, self._sampler())

    def _sampler(self) -> Shortcuts:
        return Shortcuts(num_steps=self.num_steps, temperature=self.temperature)


class DiffusionConfig(_NoisyConfig):
    """Noise is taken away level by level. The default action is what noise of 0 leads to."""

    kind: Literal["diffusion"] = "diffusion"
    num_levels: int = Field(default=100, ge=2, le=10_000, description="of noise, in training")
    num_steps: int = Field(default=10, ge=1, le=1000, description="of DDIM when it acts; training doesn't depend on it")
    target: Target = Field(default="x0", description="what the network predicts: the action (x0), the noise, or a blend (v)")

    @model_validator(mode="after")
    def _no_more_steps_than_levels(self) -> DiffusionConfig:
        if self.num_steps > self.num_levels:
            raise ValueError(f"num_steps={self.num_steps} is more than num_levels={self.num_levels}: lower it")
        return self

    def build(self, action: Leaf, context_dim: int, chunk: int, *, generator: torch.Generator) -> Head:
        """Return the head."""
        from distil.heads.diffusion import DiffusionHead

        return DiffusionHead(action, context_dim, chunk, generator, network=self.network, sampler=self._sampler())

    def numpy_twin(self, action: Leaf, chunk: int) -> Twin | None:
        """Return the head in numpy, if its network has a twin."""
        return self._twin(action, chunk, self._sampler())

    def _sampler(self) -> Ddim:
        sizes = {"num_steps": self.num_steps, "num_levels": self.num_levels}
        return Ddim(target=self.target, temperature=self.temperature, **sizes)


class TwoStepConfig(_IterativeConfig):
    """Regression in two supervised steps: the second one sees the first one's answer. It has one answer a state."""

    kind: Literal["two_step"] = "two_step"
    level: float = Field(default=0.9, gt=0, lt=1, description="how much of the action the second step sees in training")

    def build(self, action: Leaf, context_dim: int, chunk: int, *, generator: torch.Generator) -> Head:
        """Return the head."""
        from distil.heads.two_step import TwoStepHead

        return TwoStepHead(action, context_dim, chunk, generator, network=self.network, level=self.level)

    def combine(self, points_MNTA: Array) -> Combined:
        """Return the action and the doubt of an ensemble: the mean of the members' actions."""
        return mean(points_MNTA)

    def numpy_twin(self, action: Leaf, chunk: int) -> Twin | None:
        """Return the head in numpy, if its network has a twin."""
        return self._twin(action, chunk, TwoSteps(level=self.level), random=False)
