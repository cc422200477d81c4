"""Several experts in one run: each episode is labelled by one of them and records which.

A run with one expert is a team of one.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Annotated, Any, Literal

from pydantic import Field, StringConstraints, model_validator

from distil import seeding
from distil.config import Config
from distil.content import Content
from distil.experts.base import Expert
from distil.experts.single import SingleExpertConfig

if TYPE_CHECKING:
    from distil.envs import EnvConfig, EnvSpec

Name = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9][A-Za-z0-9_.-]*$", max_length=40)]
Weight = Annotated[float, Field(gt=0)]


class SeveralExpertsConfig(Config):
    """Several experts, by name; each episode is assigned to one. `data.select.sources` selects among their labels."""

    kind: Literal["several"] = "several"
    members: dict[Name, SingleExpertConfig] = Field(min_length=1)
    choose: Literal["round_robin", "weight"] = "round_robin"  # in turn, or drawn for each episode
    weights: dict[str, Weight] = Field(default_factory=dict)  # by member, for `choose: weight`; default 1

    @model_validator(mode="after")
    def _consistent(self) -> SeveralExpertsConfig:
        if self.weights and self.choose != "weight":
            raise ValueError("weights require choose=weight: set it, or remove the weights")
        if unknown := sorted(self.weights.keys() - self.members.keys()):
            raise ValueError(f"weights of {', '.join(unknown)}: the members are {', '.join(self.members)}")
        return self

    @property
    def paid(self) -> bool:
        """Whether any member is paid."""
        return any(member.paid for member in self.members.values())

    def content(self, env: EnvConfig) -> Content:
        """Return the content of its members."""
        found = Content()
        for member in self.members.values():
            found |= member.content(env)
        return found

    def team(self, env: EnvConfig, spec: EnvSpec) -> Team:
        """Return the experts; InputError if one of them cannot be built or does not fit the environment."""
        members = {name: member.build(env, spec) for name, member in self.members.items()}
        if self.choose == "round_robin":
            return Team(members=members)
        return Team(members=members, weights={name: self.weights.get(name, 1.0) for name in members})


@dataclass(frozen=True, kw_only=True)
class Team:
    """Experts by name, and the rule that assigns one to each episode. Plain data, like the experts."""

    members: Mapping[str, Expert]
    weights: Mapping[str, float] = field(default_factory=dict)  # by name; empty: in turn

    @staticmethod
    def of(config: Any, env: EnvConfig, spec: EnvSpec) -> Team:
        """Return the team of an expert's configuration; raises InputError as its `build` does."""
        if isinstance(config, SeveralExpertsConfig):
            return config.team(env, spec)
        expert = config.build(env, spec)
        return Team(members={expert.name: expert})

    def pick(self, index: int, seed: int) -> str:
        """Return the expert of an episode.

        Args:
            index: the episode's turn; each round starts with a different expert.
            seed: the episode's seed.
        """
        names = list(self.members)
        if not self.weights:
            return names[index % len(names)]
        shares = [self.weights[name] for name in names]
        point = seeding.generator(seed, "which expert").random() * sum(shares)
        for name, share in zip(names, shares, strict=True):
            point -= share
            if point < 0:
                return name
        return names[-1]
