"""The algorithms of imitation by interaction: each is a reward and a step of reinforcement learning."""

from __future__ import annotations

from typing import Literal

from distil.algorithms.interaction import ByInteractionConfig
from distil.objectives.rl_config import PpoConfig, SacConfig, SoftQConfig, StepConfig
from distil.rewards.config import ConstantConfig, DiscriminatorConfig, EnvironmentConfig, MaxEntConfig, RewardConfig


class SqilConfig(ByInteractionConfig):
    """SQIL (Reddy et al., 2020): reward 1 for demonstrations, 0 for the learner's own steps. Long runs may decay."""

    kind: Literal["sqil"] = "sqil"
    step: StepConfig = SoftQConfig()

    @property
    def parts(self) -> tuple[StepConfig, RewardConfig]:
        """The step and the constant reward."""
        return self.step, ConstantConfig()


class IqConfig(ByInteractionConfig):
    """IQ-Learn (Garg et al., 2021) and LS-IQ (Al-Hafez et al., 2023): a Q-function directly from demonstrations."""

    kind: Literal["iq"] = "iq"
    step: StepConfig = SoftQConfig(loss="iq")

    @property
    def parts(self) -> tuple[StepConfig, RewardConfig]:
        """The step; its loss needs no reward."""
        return self.step, ConstantConfig()


class DacConfig(ByInteractionConfig):
    """DAC (Kostrikov et al., 2019): a discriminator's reward, learned off-policy."""

    kind: Literal["dac"] = "dac"
    step: StepConfig = SacConfig()
    reward: DiscriminatorConfig = DiscriminatorConfig()

    @property
    def parts(self) -> tuple[StepConfig, RewardConfig]:
        """The step and the discriminator."""
        return self.step, self.reward


class MlIrlConfig(ByInteractionConfig):
    """ML-IRL (Zeng et al., 2022): a reward by maximum likelihood, with an ensemble of critics."""

    kind: Literal["ml_irl"] = "ml_irl"
    step: StepConfig = SacConfig(num_critics=4)
    reward: MaxEntConfig = MaxEntConfig()

    @property
    def parts(self) -> tuple[StepConfig, RewardConfig]:
        """The step and the reward."""
        return self.step, self.reward


class GailConfig(ByInteractionConfig):
    """GAIL (Ho and Ermon, 2016): a discriminator's reward, learned on-policy with PPO."""

    kind: Literal["gail"] = "gail"
    steps: int = 200_000
    steps_per_round: int = 2048
    random_steps: int = 0
    step: PpoConfig = PpoConfig()
    reward: DiscriminatorConfig = DiscriminatorConfig()

    @property
    def parts(self) -> tuple[StepConfig, RewardConfig]:
        """The step and the discriminator."""
        return self.step, self.reward


class RlConfig(ByInteractionConfig):
    """Reinforcement learning on the environment's own reward: how experts are trained."""

    kind: Literal["rl"] = "rl"
    step: StepConfig = PpoConfig()

    @property
    def parts(self) -> tuple[StepConfig, RewardConfig]:
        """The step and the environment's reward."""
        return self.step, EnvironmentConfig()
