"""The configuration of one expert: `config.build(env, spec)` builds it."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from distil.experts.imported import ImportExpertConfig
from distil.experts.policy import PolicyExpertConfig
from distil.experts.random import RandomExpertConfig
from distil.experts.rllib.config import RllibExpertConfig
from distil.experts.sb3.config import Sb3ExpertConfig
from distil.experts.scripted import ScriptedExpertConfig

KINDS = (ScriptedExpertConfig, Sb3ExpertConfig, RllibExpertConfig, PolicyExpertConfig, ImportExpertConfig, RandomExpertConfig)
SingleExpertConfig = Annotated[
    ScriptedExpertConfig | Sb3ExpertConfig | RllibExpertConfig | PolicyExpertConfig | ImportExpertConfig | RandomExpertConfig,
    Field(discriminator="kind"),
]
