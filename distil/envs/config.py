"""Which environment: configuration, construction of one, and its spaces as data (EnvSpec)."""

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

_EXTRAS = ("mujoco", "metaworld")  # modules that distil's extra of the same name brings


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
    """The user's own environment: a class or function that returns a Gymnasium environment."""

    kind: Literal["import"] = "import"
    target: str  # package.module:name
    kwargs: dict[str, JsonValue] = Field(default_factory=dict)
    wrappers: tuple[WrapperConfig, ...] = ()
    max_episode_steps: int | None = Field(default=None, gt=0)
    version: int | str = ""  # part of its identity: change it when it acts differently though its source is the same
    vectorised: bool = False  # the target takes `num_envs` too and returns a gymnasium.vector.VectorEnv

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
"""Which environment; `kind` may be left out: `env: {id: CartPole-v1}`."""


@dataclass(frozen=True, kw_only=True)
class EnvSpec:
    """What an environment takes and gives, as data."""

    name: str
    observation: SpaceSpec
    action: SpaceSpec
    max_episode_steps: int | None
    reward_threshold: float | None


def make(config: GymEnvConfig | ImportEnvConfig, render_mode: str | None = None) -> Any:
    """Return one environment (a `gymnasium.Env`), wrapped as configured; a `render_mode` goes before that of its kwargs.

    Raises:
        InputError: the id isn't registered (names the nearest one), a package is missing (says how to install it), or the
            environment doesn't take the keyword arguments.
    """
    kwargs: dict[str, Any] = {**config.kwargs, **({"render_mode": render_mode} if render_mode else {})}
    if isinstance(config, GymEnvConfig):
        with _readable(config.name):
            limit = config.max_episode_steps
            env = gym.make(config.id, max_episode_steps=limit, disable_env_checker=True, **kwargs)
    else:
        if config.vectorised:
            raise InputError(f"{config.target} is vectorised: a single environment of it can't be made, so it can't be shown")
        target = import_target(config.target, "environment")
        with _readable(config.name):
            env = target(**kwargs)
        if not isinstance(env, gym.Env):
            raise InputError(f"{config.target} returned {type(env).__name__}, which is no gymnasium.Env{_advice(env)}")
        if config.max_episode_steps is not None:
            env = gym.wrappers.TimeLimit(env, config.max_episode_steps)
    return _wrap(env, config)


def _advice(env: Any) -> str:
    if any(kind.__module__.partition(".")[0] == "gym" for kind in type(env).__mro__):
        return " but of the old package gym: wrap it in shimmy.GymV26CompatibilityV0 or V21"
    return "; set env.vectorised=true" if isinstance(env, gym.vector.VectorEnv) else ": derive its class from gymnasium.Env"


def make_vector(config: ImportEnvConfig, num_envs: int) -> Any:
    """Return the user's `gymnasium.vector.VectorEnv` of `num_envs` environments, wrapped as configured."""
    if config.max_episode_steps is not None:
        raise InputError(f"max_episode_steps can't limit the vectorised {config.target}: let the target take it in its kwargs")
    target = import_target(config.target, "environment")
    with _readable(config.name):
        env = target(num_envs=num_envs, **config.kwargs)
    if not isinstance(env, gym.vector.VectorEnv):
        raise InputError(f"{config.target} returned {type(env).__name__}, which is no gymnasium.vector.VectorEnv")
    return _wrap(env, config)


def _wrap(env: Any, config: GymEnvConfig | ImportEnvConfig) -> Any:
    for wrapper in config.wrappers:
        target = import_target(wrapper.target, "wrapper")
        with _readable(wrapper.target):
            env = target(env, **wrapper.kwargs)
    return env


def content_of(config: GymEnvConfig | ImportEnvConfig) -> Content:
    """Return what the environment is made of: the sources of its class and wrappers, and how Gymnasium's registry has it."""
    if isinstance(config, ImportEnvConfig):
        found = content.of_target(config.target, "environment")
    else:
        found = Content()
        entry = gym.registry.get(config.id.rpartition(":")[2])
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
    """Return the environment's spec. Makes one environment, checks that its spaces are supported, closes it.

    Raises:
        InputError: see `make`; or a space isn't supported, named by its path; or it remembers (see `require_forgetful`).
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
    """Return the keys of the infos that a reset returns; none if it fails, which the rollouts report with the seed."""
    env = make_vector(config, 1) if isinstance(config, ImportEnvConfig) and config.vectorised else make(config)
    try:
        return frozenset(env.reset(seed=0)[1])
    except Exception:  # the environment's own
        return frozenset()
    finally:
        close_quietly(env)


def _limit(env: Any) -> int | None:
    """Return after how many steps the first of the environment's time limits truncates an episode; None: it has none."""
    found = [getattr(env.spec, "max_episode_steps", None)]
    while isinstance(env, gym.Wrapper):
        if isinstance(env, gym.wrappers.TimeLimit):
            found.append(env._max_episode_steps)  # it has no public name, and `spec` is None where the environment has none
        env = env.env
    return min((limit for limit in found if limit is not None), default=None)


@contextlib.contextmanager
def _readable(name: str) -> Iterator[None]:
    """Turn what a constructor raises into one line that says the fix."""
    try:
        yield
    except InputError:
        raise
    except (gym.error.UnregisteredEnv, gym.error.DeprecatedEnv) as error:
        ids = [i for i in gym.registry if ("/" in i) == ("/" in name)]
        fix = nearest(name, ids) or "; the id of another package is written package:id"
        kind = "is deprecated" if isinstance(error, gym.error.DeprecatedEnv) else "isn't registered"
        raise InputError(f"environment {name} {kind}{fix}") from None
    except (ImportError, gym.error.DependencyNotInstalled) as error:
        module = next((m for m in _EXTRAS if f"'{m}'" in str(error) or f"install {m}" in str(error)), None)
        fix = f"pip install 'distil[{module}]'" if module else "install it or choose another id"
        raise InputError(f"environment {name} needs a package that isn't installed: {_line(error)}; {fix}") from None
    except Exception as error:  # the user's own code: any kind
        raise InputError(f"environment {name} can't be made: {type(error).__name__}: {told(error)}") from error


def _line(error: BaseException) -> str:
    return " ".join(str(error).split())
