"""The `expert` key of a recipe: one expert, or several by name."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from distil.experts import single
from distil.experts.imported import ImportExpertConfig
from distil.experts.policy import PolicyExpertConfig
from distil.experts.random import RandomExpertConfig
from distil.experts.rllib.config import RllibExpertConfig
from distil.experts.sb3.config import Sb3ExpertConfig
from distil.experts.scripted import ScriptedExpertConfig
from distil.experts.team import SeveralExpertsConfig

KINDS = (*single.KINDS, SeveralExpertsConfig)
ExpertConfig = Annotated[
    ScriptedExpertConfig
    | Sb3ExpertConfig
    | RllibExpertConfig
    | PolicyExpertConfig
    | ImportExpertConfig
    | RandomExpertConfig
    | SeveralExpertsConfig,
    Field(discriminator="kind"),
]
