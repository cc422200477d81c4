"""Environments: configuration, construction, and spaces as data (EnvSpec)."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Annotated, Any, Literal

import gymnasium as gym
from pydantic import Discriminator, Field, JsonValue, Tag

from distil import content
from distil.config import Config, import_target, nearest
from distil.content import Content
from distil.envs.faults import close_quietly, told
from distil.envs.memory import require_forgetful
from distil.errors import InputError
from distil.spaces import SpaceSpec, action_spec, observation_spec

_EXTRAS = {  # module -> distil's extra that installs it
    "mujoco": "mujoco",
    "metaworld": "metaworld",
    "ogbench": "ogbench",
    "gym_pusht": "pusht",
}


class WrapperConfig(Config):
    """A Gymnasium wrapper, or any callable that takes an environment and returns one."""

    target: str  # package.module:name, such as gymnasium.wrappers:TimeAwareObservation
    kwargs: dict[str, JsonValue] = Field(default_factory=dict)


class GymEnvConfig(Config):
    """An environment of Gymnasium's registry."""

    kind: Literal["gym"] = "gym"
    id: str  # `package:id` imports a package that registers it
    kwargs: dict[str, JsonValue] = Field(default_factory=dict)
    wrappers: tuple[WrapperConfig, ...] = ()  # the first is the innermost
    max_episode_steps: int | None = Field(default=None, gt=0)  # None: the environment's own limit

    @property
    def name(self) -> str:
        """What messages call it."""
        return self.id


class ImportEnvConfig(Config):
    """The user's own environment: a class, or a function that returns a Gymnasium environment."""

    kind: Literal["import"] = "import"
    target: str  # package.module:name
    kwargs: dict[str, JsonValue] = Field(default_factory=dict)
    wrappers: tuple[WrapperConfig, ...] = ()
    max_episode_steps: int | None = Field(default=None, gt=0)
    version: int | str = ""  # part of its identity: change it when its behaviour changes but its source does not
    vectorised: bool = False  # the target also takes `num_envs` and returns a gymnasium.vector.VectorEnv

    @property
    def name(self) -> str:
        """What messages call it."""
        return self.target


def _kind(value: Any) -> Any:
    return value.get("kind", "gym") if isinstance(value, Mapping) else getattr(value, "kind", None)


EnvConfig = Annotated[
    Annotated[GymEnvConfig, Tag("gym")] | Annotated[ImportEnvConfig, Tag("import")],
    Discriminator(_kind),
]
"""An environment; `kind` may be omitted: `env: {id: CartPole-v1}`."""


@dataclass(frozen=True, kw_only=True)
class EnvSpec:
    """The spaces of an environment, as data."""

    name: str
    observation: SpaceSpec
    action: SpaceSpec
    max_episode_steps: int | None
    reward_threshold: float | None


def make(config: GymEnvConfig | ImportEnvConfig, render_mode: str | None = None) -> Any:
    """Return one environment (a `gymnasium.Env`), wrapped as configured; `render_mode` overrides that of its kwargs.

    Raises:
        InputError: the id is not registered (names the nearest one), a package is missing (says how to install it), or the
            environment does not accept the keyword arguments.
    """
    kwargs: dict[str, Any] = {**config.kwargs, **({"render_mode": render_mode} if render_mode else {})}
    if isinstance(config, GymEnvConfig):
        with _readable(config.name):
            limit = config.max_episode_steps
            env = gym.make(config.id, max_episode_steps=limit, disable_env_checker=True, **kwargs)
    else:
        if config.vectorised:
            raise InputError(f"{config.target} is vectorised: it has no single environment to render")
        target = import_target(config.target, "environment")
        with _readable(config.name):
            env = target(**kwargs)
        if not isinstance(env, gym.Env):
            raise InputError(f"{config.target} returned {type(env).__name__}, which is not a gymnasium.Env{_advice(env)}")
        if config.max_episode_steps is not None:
            env = gym.wrappers.TimeLimit(env, config.max_episode_steps)
    return _wrap(env, config)


def _advice(env: Any) -> str:
    if any(kind.__module__.partition(".")[0] == "gym" for kind in type(env).__mro__):
        return " but an environment of the old package gym: wrap it in shimmy.GymV26CompatibilityV0 or V21"
    return "; set env.vectorised=true" if isinstance(env, gym.vector.VectorEnv) else ": derive its class from gymnasium.Env"


def make_vector(config: ImportEnvConfig, num_envs: int) -> Any:
    """Return the user's `gymnasium.vector.VectorEnv` of `num_envs` environments, wrapped as configured."""
    if config.max_episode_steps is not None:
        raise InputError(f"max_episode_steps can't limit the vectorised {config.target}: pass the limit in its kwargs")
    target = import_target(config.target, "environment")
    with _readable(config.name):
        env = target(num_envs=num_envs, **config.kwargs)
    if not isinstance(env, gym.vector.VectorEnv):
        raise InputError(f"{config.target} returned {type(env).__name__}, which is not a gymnasium.vector.VectorEnv")
    return _wrap(env, config)


def _wrap(env: Any, config: GymEnvConfig | ImportEnvConfig) -> Any:
    for wrapper in config.wrappers:
        target = import_target(wrapper.target, "wrapper")
        with _readable(wrapper.target):
            env = target(env, **wrapper.kwargs)
    return env


def content_of(config: GymEnvConfig | ImportEnvConfig) -> Content:
    """Return the environment's content: the sources of its class and wrappers, and its entry in Gymnasium's registry."""
    if isinstance(config, ImportEnvConfig):
        found = content.of_target(config.target, "environment")
    else:
        entry = gym.registry.get(config.id.rpartition(":")[2])
        found = Content() if entry is not None else Content(unknown=frozenset({config.id}))
        if entry is not None:
            point = entry.entry_point
            found |= (
                content.of_target(point, "environment")
                if isinstance(point, str)
                else content.of_modules(content.module_of(point))
            )
            facts = {"kwargs": entry.kwargs, "limit": entry.max_episode_steps, "entry": point if isinstance(point, str) else ""}
            found |= Content(
                sources={f"registry:{entry.id}": json.dumps(facts, sort_keys=True, default=lambda it: type(it).__name__)}
            )
    for wrapper in config.wrappers:
        found |= content.of_target(wrapper.target, "wrapper")
    return found


def describe(config: GymEnvConfig | ImportEnvConfig) -> EnvSpec:
    """Return the environment's spec. Makes one environment, checks that its spaces are supported, and closes it.

    Raises:
        InputError: see `make`; or a space (named by its path) is not supported; or the environment keeps statistics across
            episodes (see `require_forgetful`).
    """
    if isinstance(config, ImportEnvConfig) and config.vectorised:
        env = make_vector(config, 1)
        spaces = env.single_observation_space, env.single_action_space
    else:
        env = make(config)
        spaces = env.observation_space, env.action_space
    try:
        require_forgetful(env)
        return EnvSpec(
            name=config.name,
            observation=observation_spec(spaces[0]),
            action=action_spec(spaces[1]),
            max_episode_steps=_limit(env),
            reward_threshold=getattr(env.spec, "reward_threshold", None),
        )
    except InputError as error:
        raise InputError(f"{config.name}: {error}") from None
    finally:
        close_quietly(env)


def reset_infos(config: GymEnvConfig | ImportEnvConfig) -> frozenset[str]:
    """Return the keys of the infos that a reset returns; empty if it fails, which the rollouts report with the seed."""
    env = make_vector(config, 1) if isinstance(config, ImportEnvConfig) and config.vectorised else make(config)
    try:
        return frozenset(env.reset(seed=0)[1])
    except Exception:  # the environment's own fault
        return frozenset()
    finally:
        close_quietly(env)


def _limit(env: Any) -> int | None:
    """Return the environment's smallest time limit in steps; None if it has none."""
    found = [getattr(env.spec, "max_episode_steps", None)]
    while isinstance(env, gym.Wrapper):
        if isinstance(env, gym.wrappers.TimeLimit):
            found.append(env._max_episode_steps)  # not public, but `spec` may be None
        env = env.env
    return min((limit for limit in found if limit is not None), default=None)


@contextlib.contextmanager
def _readable(name: str) -> Iterator[None]:
    """Turn an exception of a constructor into one line with the fix."""
    try:
        yield
    except InputError:
        raise
    except (gym.error.UnregisteredEnv, gym.error.DeprecatedEnv) as error:
        ids = [i for i in gym.registry if ("/" in i) == ("/" in name)]
        fix = nearest(name, ids) or "; write the id of another package as package:id"
        kind = "is deprecated" if isinstance(error, gym.error.DeprecatedEnv) else "isn't registered"
        raise InputError(f"environment {name} {kind}{fix}") from None
    except (ImportError, gym.error.DependencyNotInstalled) as error:
        module = next((m for m in _EXTRAS if f"'{m}'" in str(error) or f"install {m}" in str(error)), None)
        fix = f"pip install 'distil[{_EXTRAS[module]}]'" if module else "install it or choose another id"
        raise InputError(f"environment {name} needs a package that isn't installed: {_line(error)}; {fix}") from None
    except Exception as error:  # the user's own code: any kind
        raise InputError(f"environment {name} can't be created: {type(error).__name__}: {told(error)}") from error


def _line(error: BaseException) -> str:
    return " ".join(str(error).split())
