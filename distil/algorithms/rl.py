"""Reinforcement learning on a given reward: how experts are trained, and what a reward that was learned is worth elsewhere."""

from __future__ import annotations

from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from distil.algorithms.base import Needs
from distil.algorithms.interaction import ByInteractionConfig
from distil.algorithms.rllib_config import RllibConfig
from distil.objectives.rl_config import AnyStepConfig, PpoConfig
from distil.rewards.config import EnvironmentConfig
from distil.rewards.given_config import AnyRewardConfig, GivenConfig


class RlConfig(ByInteractionConfig):
    """A step of reinforcement learning without demonstrations, on the environment's reward or on one that a run learned.

    With the latter, the environment's reward is never read in training; scores are still made of it.
    """

    kind: Literal["rl"] = "rl"
    step: AnyStepConfig = PpoConfig()
    reward: Annotated[EnvironmentConfig | GivenConfig, Field(discriminator="kind")] = EnvironmentConfig()
    backend: Literal["distil", "rllib"] = "distil"  # who trains: distil's own step, or RLlib on the Ray cluster
    rllib: RllibConfig = RllibConfig()

    @model_validator(mode="after")
    def _consistent(self) -> RlConfig:
        if self.backend == "distil" and self.rllib != RllibConfig():
            raise ValueError("rllib has no effect with backend=distil: set backend=rllib, or remove it")
        if self.backend == "rllib" and self.reward.kind != "environment":
            raise ValueError(
                f"RLlib learns from the environment's reward, not from reward.kind={self.reward.kind}: set backend=distil"
            )
        return self

    @model_validator(mode="after")
    def _plans_without_acting(self) -> RlConfig:
        for name in ("steps", "steps_per_round", "updates_per_step", "random_steps", "keep_steps"):
            if self.step.kind == "soft_vi" and getattr(self, name) != type(self).model_fields[name].default:
                raise ValueError(f"{name} has no effect with step.kind=soft_vi, which plans and does not act: remove it")
        return self

    def pinned(self) -> Self:
        """Return it with the digest of the reward that it learns from."""
        return self if self.reward.kind == "environment" else self.model_copy(update={"reward": self.reward.pinned()})

    @property
    def num_acting(self) -> int:
        """Steps of the learner in the environment, about; a planner takes one episode, from which it learns nothing."""
        return 1 if self.step.kind == "soft_vi" else self.steps

    @property
    def needs(self) -> Needs:
        """It acts by samples, and learns from its own steps only. An expert is the reference of scores, if there is one."""
        return Needs(acts=True, act="sample", demonstrations=False, backend=self.backend)

    @property
    def parts(self) -> tuple[AnyStepConfig, AnyRewardConfig]:
        """The step and the reward; a learner on another host has another current folder."""
        return self.step, self.reward if self.reward.kind == "environment" else self.reward.absolute()
