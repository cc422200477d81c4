"""The setting of a run: an environment and an expert that fit each other, and what tells them from others."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from distil.config import Config
from distil.content import Content, with_imports
from distil.envs import EnvSpec, GymEnvConfig, ImportEnvConfig, content_of, describe
from distil.errors import InputError
from distil.experts.common import identity
from distil.experts.team import SeveralExpertsConfig, Team
from distil.plans import Who
from distil.runconfig import RunConfig
from distil.rundir import packages
from distil.store import Store
from distil.store.location import location


@dataclass(frozen=True, kw_only=True)
class Setting:
    """What the runs of one session have in common. Plain data: making it starts no process and writes no file."""

    env: GymEnvConfig | ImportEnvConfig | None  # None: stored demonstrations alone, and `spec` is theirs
    expert: Config | None
    spec: EnvSpec
    team: Team | None = None
    env_content: Content = field(default_factory=Content)
    expert_contents: Mapping[str, Content] = field(default_factory=dict)  # by the names of several experts; "" for a single one

    @staticmethod
    def of(config: RunConfig) -> Setting:
        """Return the setting of a run.

        Raises:
            InputError: the environment or an expert cannot be made, or they do not fit each other.
        """
        env, expert = config.env, config.expert
        if env is None:
            return Setting(env=None, expert=expert, spec=_stored(config))
        spec = describe(env)
        team = Team.of(expert, env, spec) if expert is not None else None
        return Setting(env=env, expert=expert, spec=spec, team=team, **_contents(config))

    @property
    def content(self) -> Content:
        """What the environment and the experts are made of."""
        found = self.env_content
        for content in self.expert_contents.values():
            found |= content
        return found

    @property
    def identity(self) -> dict[str, Any]:
        """What tells the episodes and labels of the environment and the expert from those of others, as JSON data."""
        expert = identity(self.expert) if self.expert is not None else None
        return {"env": self._env_json(), "expert": expert, "content": self.content.to_json()}

    def require_same(self, config: RunConfig) -> None:
        """Raise InputError unless a run may share the workers and the baselines that were made for this setting."""
        mine, other = self.identity, replace(self, env=config.env, expert=config.expert, **_contents(config)).identity
        if mine != other:
            names = [name for name in ("env", "expert") if mine[name] != other[name]] or ["version of their files"]
            raise InputError(
                f"session: made for another {' and '.join(names)} than the run's: make a Session of the run's own "
                "configuration, or leave session out"
            )

    def baseline_key(self, who: Who, expert: str, seeds: Sequence[int], num_envs: int) -> dict[str, Any] | None:
        """Return all that decides how `who` does on the episodes of `seeds`; None if a part is not known by its content.

        Args:
            who: "expert" or "random".
            expert: the name of one of several experts; not used for "random".
            seeds: the reset seeds.
            num_envs: rows of a batch: the last bits of a matrix product depend on it.
        """
        content = self.env_content
        key: dict[str, Any] = {
            "env": self._env_json(),
            "env_content": content.to_json(),
            "who": who,
            "seeds": list(seeds),
            "num_envs": num_envs,
        }
        if who == "expert":
            members = _members(self.expert)
            member = expert if expert in members else ""
            content |= self.expert_contents[member]
            key |= {"expert": identity(members[member]), "expert_content": self.expert_contents[member].to_json()}
        key["imports"] = with_imports(content.sources)
        key["packages"] = packages(*sorted({name.partition(".")[0] for name in content.sources}))
        return None if content.unknown else key

    def _env_json(self) -> dict[str, Any] | None:
        return self.env.model_dump(mode="json") if self.env is not None else None


def _members(expert: Any) -> Mapping[str, Any]:
    """Return the configurations of several experts by name, or that of the only one as ""."""
    if expert is None:
        return {}
    return expert.members if isinstance(expert, SeveralExpertsConfig) else {"": expert}


def _contents(config: RunConfig) -> dict[str, Any]:
    """Return the fields of a setting that hold what its parts are made of."""
    env = config.env
    if env is None:
        return {"env_content": Content(), "expert_contents": {}}
    contents = {name: member.content(env) for name, member in _members(config.expert).items()}
    return {"env_content": content_of(env), "expert_contents": contents}


def _stored(config: RunConfig) -> EnvSpec:
    """Return the spaces of the demonstrations, in place of those of an environment."""
    path = config.store_path if config.data.mixture is None else location(config.data.mixture.parts[0].path)
    if not Store.exists(path):
        raise InputError(f"{path}: no store there, and no environment to collect in: set data.path, or env.id and expert.kind")
    spec = Store.open(path).spec
    return EnvSpec(
        name=str(path), observation=spec.observation, action=spec.action, max_episode_steps=None, reward_threshold=None
    )
