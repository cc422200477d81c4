"""What a gate is: a strategy that decides, at every step and for all N slots at once, who acts and who is asked.

Legend: N slots.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable
from dataclasses import dataclass
from typing import Annotated, ClassVar, Protocol

from pydantic import Field

from distil.config import Config
from distil.experts.gates.evidence import Evidence
from distil.spaces import Leaf
from distil.types import Array, Labels, Observations

Threshold = Annotated[float, Field(ge=0)]  # a discrepancy, in half action ranges; of discrete actions: the share that differs


@dataclass(frozen=True, kw_only=True)
class Situation:
    """What a gate decides by."""

    observations: Observations  # leaf name -> [N, ...]
    actions: Array  # [N, ...] the policy's, in the environment's action space
    doubt: Array | None  # [N] disagreement of the policy's members; None: it is not an ensemble
    ask: Callable[[Array], Labels]  # rows [N] bool -> the expert's labels; the mask is False in other rows


@dataclass(frozen=True, kw_only=True)
class Choice:
    """What it decided."""

    expert_acts: Array  # [N] bool, only where there is a label
    labels: Labels  # the mask says which steps are labelled


class Gate(Protocol):
    """Decides. What it does in an episode depends on that episode alone, not on the slot or on other episodes."""

    def begin(self, slot: int, seed: int) -> None:
        """Start a new episode in row `slot`."""

    def choose(self, now: Situation) -> Choice:
        """Return who acts and what was asked."""


class GatePlan(Protocol):
    """A gate as plain data: shipped to the workers, which build it."""

    @property
    def labels_all(self) -> bool:
        """Whether the expert is asked at every step."""

    @property
    def needs_expert(self) -> bool:
        """Whether the run's expert is asked at all."""

    def build(self, num_envs: int, action: Leaf) -> Gate:
        """Return the gate for `num_envs` slots; InputError if it can't work here."""


class BaseGateConfig(Config):
    """Base of the configurations of gates: what a run has to provide, and how the gate of a round is made.

    Attributes:
        needs_ensemble: the policy has to be an ensemble.
        needs_expert: the run has to have an expert.
    """

    needs_ensemble: ClassVar[bool] = False
    needs_expert: ClassVar[bool] = True

    @property
    def needs_window(self) -> bool:
        """Whether the gate watches the environment's own window: one environment, in this process."""
        return False

    def check(self, action: Leaf) -> None:
        """Raise InputError for what is known to be wrong before the run starts."""

    @abstractmethod
    def plan(self, evidence: Evidence) -> GatePlan:
        """Return the gate for rollouts of the policy in `evidence`."""
