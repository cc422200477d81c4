"""RunConfig: the configuration of a run, composed of its components' configurations; a recipe holds one."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, get_args

from pydantic import Field, model_validator

from distil.algorithms.airl import AirlConfig
from distil.algorithms.base import Budget
from distil.algorithms.bc import BCConfig
from distil.algorithms.csil import CsilConfig
from distil.algorithms.dac import DacConfig
from distil.algorithms.dagger import DaggerConfig
from distil.algorithms.gail import GailConfig
from distil.algorithms.imported import ImportAlgorithmConfig
from distil.algorithms.iq import IqConfig
from distil.algorithms.mce_irl import MceIrlConfig
from distil.algorithms.ml_irl import MlIrlConfig
from distil.algorithms.pwil import PwilConfig
from distil.algorithms.rl import RlConfig
from distil.algorithms.sqil import SqilConfig
from distil.config import Config, apply_overrides, load_recipe, validate
from distil.envs import EnvConfig, GymEnvConfig
from distil.experts.config import ExpertConfig
from distil.experts.gates.config import GateConfig
from distil.heads.config import with_bound
from distil.learners import LearnerConfig
from distil.objectives.config import ObjectiveConfig
from distil.policies.config import ActMode, PolicyConfig
from distil.rollouts import NoiseConfig, RolloutConfig
from distil.rundir import RunDir
from distil.store.location import Location, location
from distil.store.mixture import MixtureConfig
from distil.store.schema import environment
from distil.store.selection import SelectionConfig
from distil.tracking import TrackingConfig

AnyAlgorithm = Annotated[
    BCConfig
    | DaggerConfig
    | SqilConfig
    | IqConfig
    | DacConfig
    | MlIrlConfig
    | PwilConfig
    | CsilConfig
    | GailConfig
    | AirlConfig
    | MceIrlConfig
    | RlConfig
    | ImportAlgorithmConfig,
    Field(discriminator="kind"),
]
_BY_KIND = {kind.model_fields["kind"].default: kind for kind in get_args(get_args(AnyAlgorithm)[0])}
_NUM_EPISODES = 200


def _num_episodes(data: dict[str, Any]) -> int | None:
    return _NUM_EPISODES if data.get("mixture") is None else None


def _with_default(data: Mapping[str, Any], group: str, key: str, value: Any) -> Mapping[str, Any]:
    found = data.get(group, {})
    return {**data, group: {key: value, **found}} if isinstance(found, Mapping) else data


class DataConfig(Config):
    """`data:` where the demonstrations are, and how many to use."""

    path: str | None = None  # the store's folder, or a URL such as s3://bucket/folder; None: data/<name>
    mixture: MixtureConfig | None = None  # several stores in place of one; they are only read
    episodes: int | None = Field(default_factory=_num_episodes, ge=1, json_schema_extra={"default": _NUM_EPISODES})
    """Number of demonstrations: the first ones in the store that the filters of `select` take; an expert adds missing ones.
    None: the store as it is. Default: 200; without an expert or with a mixture: None."""
    noise: NoiseConfig = NoiseConfig()
    select: SelectionConfig = SelectionConfig()  # which demonstrations to train on

    @model_validator(mode="after")
    def _consistent(self) -> DataConfig:
        if self.mixture is None:
            return self
        for name, is_set, instead in (
            ("path", self.path is not None, "set data.path=null: the parts have their own"),
            ("episodes", self.episodes is not None, "set data.episodes=null: nothing is collected, the parts' select chooses"),
            ("select", not self.select.is_everything, "remove it: the parts have their own select"),
        ):
            if is_set:
                raise ValueError(f"{name} cannot be combined with mixture; {instead}")
        return self


class EvaluationConfig(Config):
    """`evaluation:` held-out episodes; their seeds are the same for every run."""

    episodes: int = Field(default=50, ge=0)
    act: ActMode = "point"  # point: the policy's default actions; sample: drawn from its distribution, by the episode's seed
    baselines: bool = True  # score expert and random policy on the same episodes, for eval/normalised
    video: bool = False  # of the first held-out episode, to RUN/video.mp4


class RunConfig(Config):
    """The configuration of a run."""

    name: str = Field(default="run", pattern=r"^[A-Za-z0-9][A-Za-z0-9_.-]*$")
    seed: int = Field(default=0, ge=0)  # of demonstrations and learning; held-out episodes are the same for all seeds
    """On the same machine and with the same versions, a configuration with its seed gives the same result bit for bit, with any
    number of workers. Other machines may round differently and get other episodes; compare intervals over several seeds."""
    env: EnvConfig | None = None  # None: train on stored demonstrations, without evaluation in an environment
    expert: ExpertConfig | None = None
    data: DataConfig = DataConfig()
    rollouts: RolloutConfig = RolloutConfig()
    policy: PolicyConfig = PolicyConfig()
    algorithm: AnyAlgorithm = BCConfig()
    learner: LearnerConfig = LearnerConfig()
    evaluation: EvaluationConfig = EvaluationConfig()
    tracking: TrackingConfig = TrackingConfig()
    runs: str = "runs"  # folder of the runs' folders, and of the scores and labels that they share

    @property
    def uses_ray(self) -> bool:
        """Whether a run uses the Ray cluster that it is given."""
        return self.rollouts.num_workers != 0 or self.rollouts.service is not None or self.learner.num_learners > 0

    @classmethod
    def completed(cls, data: Mapping[str, Any]) -> Mapping[str, Any]:
        """Return raw `data` with the defaults that depend on other parts: no expert, no collection; no env, no evaluation."""
        algorithm = data.get("algorithm")
        kind = algorithm.get("kind") if isinstance(algorithm, Mapping) else None
        if kind in _BY_KIND:
            for part in ("learner", "policy"):
                for key, value in getattr(_BY_KIND[kind], f"{part}_defaults").items():
                    data = _with_default(data, part, key, value)
        if data.get("expert") is None:
            data = _with_default(data, "data", "episodes", None)
        return _with_default(data, "evaluation", "episodes", 0) if data.get("env") is None else data

    @model_validator(mode="after")
    def _consistent(self) -> RunConfig:
        if self.env is None:
            self._check_without_env()
        if self.data.mixture is not None and self.algorithm.needs.collects:
            what = f"algorithm.kind={self.algorithm.kind} collects into one store, not into data.mixture"
            raise ValueError(f"{what}: set data.path, or kind=bc")
        self._check_unused()
        self.algorithm.check(self.budget())
        gate = self.gate
        if gate is not None and gate.needs_ensemble and self.policy.ensemble < 2:
            need = "asks how much the policy's members disagree, and it has one: set policy.ensemble=5"
            raise ValueError(f"algorithm.gate.kind={gate.kind} {need}")
        if self._is_watched and (self.rollouts.num_workers not in (0, "auto") or self.rollouts.num_envs != 1):
            raise ValueError("the keyboard controls one environment in this process: set rollouts.num_workers=0, num_envs=1")
        if self._is_watched and isinstance(self.env, GymEnvConfig) and self.env.kwargs.get("render_mode") != "human":
            raise ValueError("the keyboard is read in the environment's window: set env.kwargs.render_mode=human")
        return self

    def _check_unused(self) -> None:
        """Raise ValueError for a key that has been set and has no effect."""
        for key, instead in {**self.algorithm.unused, **self.algorithm.objective.unused}.items():
            part, name = key.split(".")
            group = getattr(self, part)
            if (value := getattr(group, name)) != type(group).model_fields[name].default:
                raise ValueError(f"{key}={value} has no effect with algorithm.kind={self.algorithm.kind}: {instead}")

    def _check_without_env(self) -> None:
        needs = self.algorithm.needs
        for what, is_set, instead in (
            (f"expert.kind={self.expert.kind if self.expert else None}", self.expert is not None, "remove expert"),
            (f"algorithm.kind={self.algorithm.kind}", needs.collects or needs.acts, "algorithm.kind=bc"),
            (f"evaluation.episodes={self.evaluation.episodes}", self.evaluation.episodes > 0, "evaluation.episodes=0"),
            ("evaluation.video=true", self.evaluation.video, "evaluation.video=false"),
        ):
            if is_set:
                raise ValueError(f"env is missing, and {what} needs one: set env.id, or {instead}")

    @property
    def objective(self) -> ObjectiveConfig:
        """What the learner minimises; one that needs to know the dynamics is told the environment."""
        chosen = self.algorithm.objective
        return chosen.model_copy(update={"env": self.env}) if "env" in type(chosen).model_fields else chosen

    @property
    def gate(self) -> GateConfig | None:
        """What decides who acts; None: nothing, or chance."""
        return self.algorithm.needs.gate

    @property
    def workers(self) -> RolloutConfig:
        """The workers; those of a gate with a window are in this process."""
        return self.rollouts.model_copy(update={"num_workers": 0}) if self._is_watched else self.rollouts

    @property
    def _is_watched(self) -> bool:
        return self.gate is not None and self.gate.needs_window

    @property
    def is_paid(self) -> bool:
        """Whether each answer of the expert costs: then it is asked for demonstrations and labels only."""
        return self.expert is not None and self.expert.paid

    @property
    def overlap(self) -> int:
        """How many rounds are collected ahead, while earlier ones are trained on."""
        return self.algorithm.needs.overlap

    @property
    def store_path(self) -> Location:
        """Where the demonstrations are: a folder, or a URL in an object store."""
        return location(self.data.path or f"data/{self.name}")

    def pinned(self) -> RunConfig:
        """Return it with the digests of the files that its algorithm names; see `AlgorithmConfig.pinned`."""
        return self.model_copy(update={"algorithm": self.algorithm.pinned()})

    def budget(self, max_episode_steps: int | None = None) -> Budget:
        """Return what the algorithm may use, where an episode takes at most `max_episode_steps` (None: no known limit)."""
        collects = self.expert is not None and self.data.episodes is not None and self.algorithm.needs.demonstrations
        return Budget(
            num_demonstrations=self.data.episodes if collects else None,
            num_steps=self.learner.num_steps,
            batch_size=self.learner.batch_size,
            num_evaluation_episodes=self.evaluation.episodes,
            baselines=self.evaluation.baselines and not self.is_paid,
            has_env=self.env is not None,
            has_expert=self.expert is not None,
            may_check=not self.is_paid,
            max_episode_steps=max_episode_steps,
        )


def load_config(recipe: str | Path, overrides: Mapping[str, Any] | None = None) -> RunConfig:
    """Return the validated configuration of a recipe (shipped name or file) with dotted overrides.

    An override of the recipe's environment also changes the default folder of demonstrations.

    Raises:
        InputError: it names every unknown key, with the nearest known one, and every wrong value.
    """
    raw = load_recipe(recipe)
    if RunDir(Path(recipe)).is_run or (Path(recipe).name == "config.yaml" and RunDir(Path(recipe).parent).is_run):
        raw["policy"] = with_bound(raw.get("policy"))
    config = validate(RunConfig, apply_overrides(raw, overrides or {}, RunConfig), where=str(recipe))
    own = raw.get("env")
    if isinstance(own, Mapping) and config.env is not None and config.data.path is None and config.data.mixture is None:
        name = environment(config.env.model_dump(mode="json"))
        if name != environment(own):
            path = f"data/{config.name}-{_slug(name)}"
            return config.model_copy(update={"data": config.data.model_copy(update={"path": path})})
    return config


def _slug(name: str) -> str:
    """Return an environment's name as a folder name, with a hash of its arguments."""
    first, _, rest = name.partition(" ")
    digest = f"-{hashlib.sha256(rest.encode()).hexdigest()[:6]}" if rest else ""
    return re.sub(r"[^A-Za-z0-9_.-]+", "-", first) + digest
