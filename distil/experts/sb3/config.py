"""Configuration and construction of the Stable-Baselines3 expert: files, network, statistics, spaces."""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import gymnasium as gym

from distil import content
from distil.content import Content
from distil.errors import InputError
from distil.experts.base import Checked, Expert
from distil.experts.common import OneExpertConfig
from distil.experts.inputs import Statistics
from distil.experts.sb3.architecture import Algo, read_architecture
from distil.experts.sb3.archive import Archive, find_archive, next_to, read_archive
from distil.experts.sb3.expert import Sb3Expert
from distil.experts.sb3.fit import fit
from distil.experts.sb3.settings import FIX
from distil.experts.sb3.vecnormalize import read_statistics

if TYPE_CHECKING:
    from distil.envs import EnvConfig, EnvSpec

_STATISTICS = ("vecnormalize.pkl", "vec_normalize.pkl")
_HARMLESS_WRAPPERS = ("TimeFeatureWrapper", "Monitor", "DelayedRewardWrapper", "ActionNoiseWrapper", "PlotActionWrapper")
_TIME_STEPS = 1000  # the zoo's default episode length for its time feature


class Sb3ExpertConfig(OneExpertConfig):
    """An MLP policy of Stable-Baselines3 or sb3-contrib: PPO, A2C, TRPO, SAC, TQC, TD3, DDPG, DQN, QR-DQN or ARS."""

    kind: Literal["sb3"] = "sb3"
    path: str  # the zip, or a folder with one
    algo: Algo = "auto"  # the algorithm that the file must hold; auto: detect it
    vecnormalize: str = "auto"  # a file of statistics, none, or auto: the file next to the zip
    time_feature: Literal["auto", "on", "off"] = "auto"  # is 1 - t / limit the last observation? auto: see config.yml

    def content(self, env: EnvConfig) -> Content:
        """Return its content: the zip, the file of statistics, and the zoo's config.yml."""
        path = find_archive(Path(self.path))
        given = Path(self.vecnormalize) if self.vecnormalize not in ("auto", "none") else None
        statistics = next_to(path, *_STATISTICS) if self.vecnormalize == "auto" else given
        return content.of_files(path, statistics, next_to(path, "config.yml"))

    def build(self, env: EnvConfig, spec: EnvSpec) -> Expert:
        """Return the expert.

        The zip is read as data: nothing in it is executed, and neither torch nor Stable-Baselines3 is imported.

        Raises:
            InputError: a file is missing, damaged or unsafe, or the spaces do not fit (both are named).
        """
        archive = read_archive(Path(self.path))
        _check_wrappers(archive, env)
        architecture = read_architecture(archive)
        if self.algo not in ("auto", *architecture.algos):
            raise InputError(
                f"expert {archive.path}: holds one of {', '.join(architecture.algos)}, not {self.algo}; set expert.algo=auto"
            )
        statistics = self._statistics(archive)
        limit = _time_limit(archive, env, spec) if self._wants_time(archive) else None
        name = f"sb3 {self.algo if self.algo != 'auto' else architecture.algos[0]} {archive.path.name}"
        inputs = fit(name, archive, architecture, (spec.observation, spec.action), statistics, time=limit is not None)
        expert = Sb3Expert(name, architecture, inputs, spec.action.leaf, statistics=statistics, time_limit=limit)
        return Checked(expert, spec.action)

    def _statistics(self, archive: Archive) -> Statistics | None:
        if self.vecnormalize == "none":
            return None
        if self.vecnormalize != "auto":
            return read_statistics(Path(self.vecnormalize))
        path = next_to(archive.path, *_STATISTICS)
        if path is None and _was_normalised(archive):
            raise InputError(
                f"expert {archive.path}: config.yml says that observations were normalised, but there is no {_STATISTICS[0]}; "
                "set expert.vecnormalize to it, or to none"
            )
        return read_statistics(path) if path else None

    def _wants_time(self, archive: Archive) -> bool:
        text = str(archive.training.get("env_wrapper", ""))
        if self.time_feature != "off" and re.search(r"test_mode\W+True", text):
            raise InputError(f"expert {archive.path}: its time feature was always 0 (test_mode); {FIX}")
        if self.time_feature == "auto":
            return "TimeFeatureWrapper" in text
        return self.time_feature == "on"


def _check_wrappers(archive: Archive, env: EnvConfig) -> None:
    """Refuse an environment that lacks a training wrapper which may change what the policy observes or does."""
    text = archive.training.get("env_wrapper") or []
    parts = text if isinstance(text, list) else [text]
    names = [str(name).rpartition(".")[2] for part in parts for name in (part if isinstance(part, dict) else [part])]
    unknown = [name for name in names if name not in _HARMLESS_WRAPPERS]
    if unknown and env.kind == "gym" and not env.wrappers:
        raise InputError(
            f"expert {archive.path}: config.yml says that the environment was wrapped by {', '.join(unknown)[:200]}: add it to "
            "env.wrappers, or remove it from config.yml if it changes neither observations nor actions"
        )


def _time_limit(archive: Archive, env: EnvConfig, spec: EnvSpec) -> int:
    """Return the step limit of the training's time feature: its wrapper's setting or the environment's own limit."""
    registered = gym.registry.get(getattr(env, "id", "").rpartition(":")[2])
    setting = re.search(r"max_steps\W+(\d{1,9})\b", str(archive.training.get("env_wrapper", "")))
    limits = (registered and registered.max_episode_steps, spec.max_episode_steps, setting and int(setting[1]), _TIME_STEPS)
    return next(limit for limit in limits if limit)


def _was_normalised(archive: Archive) -> bool:
    setting = archive.training.get("normalize", False)
    text = f"{setting} {archive.training.get('normalize_kwargs', '')}".replace(" ", "").replace('"', "'")
    return bool(setting) and "norm_obs=False" not in text and "'norm_obs':False" not in text
