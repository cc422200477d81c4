"""Settings of the steps of reinforcement learning. Imports no torch."""

from __future__ import annotations

from typing import Annotated, Literal, Protocol

from pydantic import Field, model_validator

from distil.config import Config

Width = Annotated[int, Field(ge=1)]


class InverseConfig(Protocol):
    """What the losses of `distil.objectives.inverse_q` need."""

    @property
    def loss(self) -> str:
        """Which loss."""

    @property
    def regulariser(self) -> float:
        """c: rewards are about +-1/c."""


class SacConfig(Config):
    """Soft actor-critic. For Box actions."""

    kind: Literal["sac"] = "sac"
    loss: Literal["td", "iq", "ls_iq"] = "td"  # of the critics
    regulariser: float = Field(default=0.5, gt=0)  # iq, ls_iq: c, which keeps rewards near +-1/c
    hidden: tuple[Width, ...] = (256, 256)  # of each critic
    num_critics: int = Field(default=2, ge=1)
    layer_norm: bool = False  # in the critics: limits what they say of actions that nobody took (Ball et al., 2023)
    combine: Literal["min", "mean", "pairs"] = "min"  # how several critics are read; pairs: each pair by its minimum
    optimism: float = Field(default=0.0, ge=0)  # pairs: the policy seeks their mean plus N of their standard deviations
    max_bonus: float = Field(default=1.0, gt=0)  # pairs: limit of that deviation
    anchor: float = Field(default=0.0, ge=0)  # weight of the policy's distance from demonstrations; values have mean size 1
    actor_rate: float = Field(default=1.0, gt=0)  # learning rate of the policy, times that of the critics
    actor_from: int = Field(default=0, ge=0)  # the policy stays as it started for N steps, while the critics learn its values
    discount: float = Field(default=0.99, ge=0, lt=1)
    target_rate: float = Field(default=0.005, gt=0, le=1)  # of the targets' way to the critics in each step
    temperature: float = Field(default=0.2, gt=0)  # weight of the entropy; at the start, if automatic
    automatic: bool = True  # learn the temperature, so that the entropy stays at its target
    target_entropy: float | None = None  # in nats; null: minus the number of action dimensions

    @model_validator(mode="after")
    def _consistent(self) -> SacConfig:
        if self.combine == "pairs" and self.num_critics % 2:
            raise ValueError(f"combine=pairs needs an even number of critics, not {self.num_critics}: set num_critics=4")
        if self.optimism and (self.combine != "pairs" or self.num_critics < 4):
            raise ValueError(
                "optimism is about how pairs of critics differ: set combine=pairs and num_critics=4, or optimism=0"
            )
        return self


class SoftQConfig(Config):
    """Soft Q-learning. For Discrete actions."""

    kind: Literal["soft_q"] = "soft_q"
    loss: Literal["td", "iq", "ls_iq"] = "td"
    discount: float = Field(default=0.99, ge=0, lt=1)
    target_rate: float = Field(default=0.01, gt=0, le=1)  # of the target's way in each step
    temperature: float = Field(default=0.1, gt=0)  # Q = temperature * logit
    regulariser: float = Field(default=0.5, gt=0)  # iq, ls_iq: c, which keeps rewards near +-1/c


class PpoConfig(Config):
    """Proximal policy optimisation, for Box and Discrete actions. It learns from the newest round only."""

    kind: Literal["ppo"] = "ppo"
    hidden: tuple[Width, ...] = (64, 64)  # of the value function
    discount: float = Field(default=0.99, ge=0, lt=1)
    trace: float = Field(default=0.95, ge=0, le=1)  # lambda of the advantages
    clip: float = Field(default=0.2, gt=0)  # of the ratio of new and old probabilities
    entropy: float = Field(default=0.0, ge=0)  # weight of the bonus for entropy
    epochs: int = Field(default=10, ge=1)  # over a round's steps


class SoftViConfig(Config):
    """Soft value iteration, for Discrete spaces of environments that tell their dynamics. It needs no acting."""

    kind: Literal["soft_vi"] = "soft_vi"
    discount: float = Field(default=0.95, ge=0, lt=1)
    temperature: float = Field(default=1.0, gt=0)  # weight of the entropy, in units of the reward; rewards of mce_irl are for 1


StepConfig = Annotated[SacConfig | SoftQConfig | PpoConfig, Field(discriminator="kind")]
AnyStepConfig = Annotated[SacConfig | SoftQConfig | PpoConfig | SoftViConfig, Field(discriminator="kind")]
