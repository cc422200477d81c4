"""Scripted experts: programs that need no training and no file."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from gymnasium import spaces

from distil import content
from distil.content import Content
from distil.envs import planning
from distil.envs.ogbench import ID as OGBENCH
from distil.errors import InputError
from distil.experts import controllers
from distil.experts.avoiding import AvoidingPlanner
from distil.experts.base import Checked, Expert, Stateless, check_spaces, every
from distil.experts.carracing import CarRacingDriver
from distil.experts.common import OneExpertConfig
from distil.experts.metaworld import MetaWorldExpert
from distil.experts.ogbench import OGBenchExpert
from distil.experts.planner import Planner
from distil.experts.pointmaze import MazePlanner
from distil.spaces import SpaceSpec, action_spec, observation_spec
from distil.types import Array, Labels, Observations

if TYPE_CHECKING:
    from distil.envs import EnvConfig, EnvSpec

Name = Literal[
    "auto",
    "lunarlander",
    "cartpole",
    "pendulum",
    "mountaincar-continuous",
    "carracing",
    "metaworld",
    "ogbench",
    "avoiding",
    "pointmaze",
    "planner",
]


@dataclass(frozen=True, kw_only=True)
class _Script:
    """A controller and the sizes of the spaces that it supports."""

    control: Callable[[Array], Array]
    num_features: int
    num_actions: int
    discrete: bool

    def spaces(self) -> tuple[SpaceSpec, SpaceSpec]:
        return _spaces(self.num_features, self.num_actions, discrete=self.discrete)


def _spaces(num_features: int, num_actions: int, *, discrete: bool = False) -> tuple[SpaceSpec, SpaceSpec]:
    """Return the spaces of a vector and so many choices, or numbers."""
    observation = spaces.Box(-np.inf, np.inf, (num_features,), np.float32)
    action = spaces.Discrete(num_actions) if discrete else spaces.Box(-1, 1, (num_actions,), np.float32)
    return observation_spec(observation), action_spec(action)


_LANDERS = {
    True: _Script(control=controllers.lunarlander_discrete, num_features=8, num_actions=4, discrete=True),
    False: _Script(control=controllers.lunarlander_continuous, num_features=8, num_actions=2, discrete=False),
}
_SCRIPTS = {
    "cartpole": _Script(control=controllers.cartpole, num_features=4, num_actions=2, discrete=True),
    "pendulum": _Script(control=controllers.pendulum, num_features=3, num_actions=1, discrete=False),
    "mountaincar-continuous": _Script(
        control=controllers.mountaincar_continuous, num_features=2, num_actions=1, discrete=False
    ),
}
_BY_ENV: dict[str, Name] = {
    "LunarLander": "lunarlander",
    "LunarLanderContinuous": "lunarlander",
    "CartPole": "cartpole",
    "Pendulum": "pendulum",
    "MountainCarContinuous": "mountaincar-continuous",
    "CarRacing": "carracing",
    "Avoiding": "avoiding",
    "PointMaze": "pointmaze",
    "GridWorld": "planner",
    "FrozenLake": "planner",
    "FrozenLake8x8": "planner",
    "CliffWalking": "planner",
    "CliffWalkingSlippery": "planner",
    "Taxi": "planner",
}
_READERS: dict[str, tuple[type[CarRacingDriver] | type[OGBenchExpert], spaces.Box]] = {  # of the simulator, with their actions
    "carracing": (CarRacingDriver, spaces.Box(np.array([-1, 0, 0], np.float32), np.ones(3, np.float32))),
    "ogbench": (OGBenchExpert, spaces.Box(-1, 1, (5,), np.float32)),
}
_OWN = "distil.envs."  # environments of distil's own are imported


class ScriptedExpertConfig(OneExpertConfig):
    """A scripted expert; `auto` selects it by the environment's id."""

    kind: Literal["scripted"] = "scripted"
    name: Name = "auto"

    def content(self, env: EnvConfig) -> Content:
        """Return its content: the source of the controllers, of the driver, or of MetaWorld's policy for the task."""
        name = _pick(env) if self.name == "auto" else self.name
        if name == "metaworld":
            return content.of_modules(MetaWorldExpert(_task(env)).module)
        if name == "ogbench":
            return content.of_modules(*OGBenchExpert().modules)
        if name == "planner":
            return content.of_modules(Planner.__module__, planning.__name__)
        own = {"carracing": CarRacingDriver, "avoiding": AvoidingPlanner, "pointmaze": MazePlanner}
        return content.of_modules(own[name].__module__ if name in own else controllers.__name__)

    def build(self, env: EnvConfig, spec: EnvSpec) -> Expert:
        """Return the expert for this environment; InputError if there is none or its spaces do not fit."""
        name = _pick(env) if self.name == "auto" else self.name
        if name == "metaworld":
            metaworld = MetaWorldExpert(_task(env))
            check_spaces(metaworld.name, _spaces(39, 4), (spec.observation, spec.action))
            return Checked(metaworld, spec.action)
        if name in _READERS:
            reader, action = _READERS[name]
            expert = reader()
            check_spaces(expert.name, (spec.observation, action_spec(action)), (spec.observation, spec.action))
            return Checked(expert, spec.action)
        if name == "planner":
            return Checked(Planner(env), spec.action)
        if name in ("avoiding", "pointmaze"):
            steerer = AvoidingPlanner() if name == "avoiding" else MazePlanner(env)
            check_spaces(steerer.name, _spaces(2, 2), (spec.observation, spec.action))
            return Checked(steerer, spec.action)
        script = _LANDERS[spec.action.leaf.kind == "discrete"] if name == "lunarlander" else _SCRIPTS[name]
        controller = ScriptedExpert(f"scripted {name}", script.control)
        check_spaces(controller.name, script.spaces(), (spec.observation, spec.action))
        return Checked(controller, spec.action)


class ScriptedExpert(Stateless):
    """A pure function of the observation.

    Args:
        name: for reports and errors.
        control: from observations [N, D] to actions [N] or [N, A].
    """

    def __init__(self, name: str, control: Callable[[Array], Array]) -> None:
        self.name = name
        self._control = control

    def act(self, observations: Observations, *, envs: Sequence[Any] | None = None) -> Labels:
        """Return the controller's actions."""
        actions = self._control(observations["obs"])
        return Labels(actions=actions, mask=every(len(actions)))


def environments() -> dict[str, list[str]]:
    """Return name of each scripted expert -> the environments for which `auto` selects it."""
    names: dict[str, list[str]] = {}
    for env_id, name in {**_BY_ENV, "Meta-World": "metaworld", "OGBench": "ogbench"}.items():
        names.setdefault(name, []).append(env_id)
    return names


def _task(env: EnvConfig) -> str:
    task = getattr(env, "kwargs", {}).get("env_name")
    if not isinstance(task, str):
        raise InputError("expert scripted metaworld: the task is missing; set it, for example env.kwargs.env_name=reach-v3")
    return task


def _pick(env: EnvConfig) -> Name:
    env_id, target = getattr(env, "id", None), getattr(env, "target", "")
    if target.startswith(_OWN):
        env_id = target.partition(":")[2]
    if env_id is None:
        raise InputError(f"expert scripted: an environment of kind {env.kind} has no id to select by; set expert.name")
    env_id = env_id.rpartition(":")[2]  # package:id imports a package first
    if env_id.startswith("Meta-World/"):
        return "metaworld"
    if env_id == OGBENCH:
        return "ogbench"
    base = env_id.rpartition("/")[2].partition("-v")[0]
    if base not in _BY_ENV:
        known = ", ".join(sorted(_BY_ENV))
        raise InputError(
            f"expert scripted: none for {env_id}, only for {known}, Meta-World, OGBench; choose another expert.kind"
        )
    return _BY_ENV[base]
