"""RunConfig: a whole run as configuration, composed of the components' own; what a recipe holds."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any

from pydantic import Field

from distil.algorithms.base import Budget
from distil.algorithms.bc import BCConfig
from distil.algorithms.dagger import DaggerConfig
from distil.config import Config, apply_overrides, load_recipe, validate
from distil.envs import EnvConfig
from distil.experts.config import ExpertConfig
from distil.learners import LearnerConfig
from distil.policies.config import PolicyConfig
from distil.rollouts import NoiseConfig, RolloutConfig
from distil.store.backend import Location, location
from distil.store.selection import SelectionConfig
from distil.tracking import TrackingConfig

AlgorithmConfig = Annotated[BCConfig | DaggerConfig, Field(discriminator="kind")]


class DataConfig(Config):
    """`data:` where the demonstrations are, and how many."""

    path: str | None = None  # the store's folder, or a URL such as s3://bucket/folder; None: data/<name>
    episodes: int | None = Field(default=200, ge=1)  # collected if missing, and trained on; None: the store as it is
    noise: NoiseConfig = NoiseConfig()
    select: SelectionConfig = SelectionConfig()  # which of them to train on


class EvaluationConfig(Config):
    """`evaluation:` the held-out episodes; their seeds are the same for every run."""

    episodes: int = Field(default=50, ge=0)
    baselines: bool = True  # measure expert and random on the same episodes, for eval/normalised
    video: bool = False  # of the first held-out episode, to RUN/video.mp4


class RunConfig(Config):
    """A whole run; what a recipe holds."""

    name: str = Field(default="run", pattern=r"^[A-Za-z0-9][A-Za-z0-9_.-]*$")
    seed: int = Field(default=0, ge=0)
    env: EnvConfig
    expert: ExpertConfig | None = None
    data: DataConfig = DataConfig()
    rollouts: RolloutConfig = RolloutConfig()
    policy: PolicyConfig = PolicyConfig()
    algorithm: AlgorithmConfig = BCConfig()
    learner: LearnerConfig = LearnerConfig()
    evaluation: EvaluationConfig = EvaluationConfig()
    tracking: TrackingConfig = TrackingConfig()
    runs: str = "runs"  # where run folders go

    @property
    def store_path(self) -> Location:
        """The demonstrations' folder, or URL in an object store."""
        return location(self.data.path or f"data/{self.name}")

    def budget(self, max_episode_steps: int | None = None) -> Budget:
        """What the algorithm may use, where an episode takes at most `max_episode_steps`."""
        collects = self.expert is not None and self.data.episodes is not None
        return Budget(
            num_demonstrations=self.data.episodes if collects else None,
            num_steps=self.learner.num_steps,
            num_evaluation_episodes=self.evaluation.episodes,
            baselines=self.evaluation.baselines,
            has_expert=self.expert is not None,
            max_episode_steps=max_episode_steps,
        )


def load_config(recipe: str | Path, overrides: Mapping[str, Any] | None = None) -> RunConfig:
    """Return the validated configuration of a recipe (shipped name or file) with dotted overrides.

    Raises:
        InputError: names every unknown key, with the nearest right one, and every wrong value.
    """
    return validate(RunConfig, apply_overrides(load_recipe(recipe), overrides or {}), where=str(recipe))
