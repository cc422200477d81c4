"""The configuration of one expert: `kind` is scripted, sb3, policy, import or random; `config.build(env, spec)` builds it."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from distil.experts.imported import ImportExpertConfig
from distil.experts.policy import PolicyExpertConfig
from distil.experts.random import RandomExpertConfig
from distil.experts.sb3.config import Sb3ExpertConfig
from distil.experts.scripted import ScriptedExpertConfig

KINDS = (ScriptedExpertConfig, Sb3ExpertConfig, PolicyExpertConfig, ImportExpertConfig, RandomExpertConfig)
SingleExpertConfig = Annotated[
    ScriptedExpertConfig | Sb3ExpertConfig | PolicyExpertConfig | ImportExpertConfig | RandomExpertConfig,
    Field(discriminator="kind"),
]
