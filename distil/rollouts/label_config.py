"""Configuration of `distil store label`: which expert, and which episodes."""

from __future__ import annotations

import hashlib
import json
import pickle
from contextlib import closing, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import gymnasium as gym

from distil.cluster import num_cores
from distil.config import Config, validate
from distil.envs import EnvConfig, EnvSpec, GymEnvConfig, ImportEnvConfig
from distil.errors import InputError
from distil.experts.base import Expert
from distil.experts.common import identity
from distil.experts.single import SingleExpertConfig
from distil.experts.team import Team
from distil.rollouts.config import NumWorkers
from distil.rollouts.service.config import ServiceConfig
from distil.store.schema import StoreSpec
from distil.store.selection import SelectionConfig

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from typing import Any


class LabelConfig(Config):
    """An expert, the episodes to ask it about, and how."""

    expert: SingleExpertConfig
    select: SelectionConfig = SelectionConfig()
    again: bool = False  # ask about all their steps, not only those without a label
    num_workers: NumWorkers = "auto"  # as in `rollouts.num_workers`
    service: ServiceConfig | None = None  # run the expert in its own actors, which retry failed calls

    def build(self, spec: StoreSpec) -> Expert:
        """Return the expert for the spaces of a store; InputError if it doesn't fit them."""
        env = stored_env(spec.env)
        return self.expert.build(env, _env_spec(env, spec))

    @contextmanager
    def asking(self, expert: Expert, spec: StoreSpec) -> Iterator[Expert]:
        """Yield the expert, or a client of its service, whose answers are kept in `runs`."""
        if self.service is None:
            yield expert
            return
        from distil.rollouts.service.actors import Service

        folder = Path("runs").resolve() / "labels" / self.key(expert, spec)[:16]
        num_workers = num_cores() if self.num_workers == "auto" else self.num_workers
        num_cpus = num_workers + self.service.num_cpus_wanted
        team = Team(members={expert.name: expert})
        with closing(Service(team, spec.action.leaf, self.service, folder, address=None, num_cpus=num_cpus)) as service:
            yield service.team.members[expert.name]

    def key(self, expert: Expert, spec: StoreSpec) -> str:
        """Return the identity of the expert that `build` made for a store of `spec`: its configuration and its content."""
        parts = [identity(self.expert), self.expert.content(stored_env(spec.env)).to_json()]
        digest = hashlib.sha256(json.dumps(parts, sort_keys=True).encode())
        try:
            digest.update(pickle.dumps(expert))
        except Exception:  # the user's own, which can't be pickled: its configuration is its identity
            digest.update(b"unpicklable")
        return digest.hexdigest()


class _Stored(Config):
    env: EnvConfig


def stored_env(env: Mapping[str, Any]) -> GymEnvConfig | ImportEnvConfig:
    """Return the configuration of the environment that a store names, or of an unknown one if that is invalid.

    The environment is never made from it: that would import and call whatever a file names.
    """
    try:
        return validate(_Stored, {"env": dict(env)}).env
    except InputError:
        return ImportEnvConfig(target="unknown")


def _env_spec(env: GymEnvConfig | ImportEnvConfig, spec: StoreSpec) -> EnvSpec:
    """Return the environment's spec with the spaces of the store, and the time limit from Gymnasium's registry, if any."""
    registered = gym.registry.get(env.id) if isinstance(env, GymEnvConfig) else None
    limit = env.max_episode_steps or (registered.max_episode_steps if registered else None)
    return EnvSpec(
        name=env.name,
        observation=spec.observation,
        action=spec.action,
        max_episode_steps=limit,
        reward_threshold=None,
    )
