"""`algorithm.rllib:` how RLlib trains, where it does in place of distil's own step. Imports no Ray."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import Field

from distil.config import Config


class RllibConfig(Config):
    """Which algorithm of RLlib, and its own keys. What the recipe says has the same effect as with distil's step."""

    algorithm: Literal["auto", "PPO", "SAC", "IMPALA", "APPO"] = "auto"  # auto: that of `algorithm.step`
    config: dict[str, Any] = Field(default_factory=dict)
    """Keys of RLlib's AlgorithmConfig, such as num_env_runners or model_config; they override what follows from the recipe."""
    normalise: bool = False  # observations, by RLlib's MeanStdFilter
    checkpoint_every: int = Field(default=10, ge=1)  # iterations of RLlib; a resumed run continues from the last checkpoint
