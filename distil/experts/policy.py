"""A policy that distil trained, as an expert for the next one."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from distil import content
from distil.content import Content
from distil.errors import InputError
from distil.experts.base import Checked, Expert, check_spaces, every
from distil.experts.common import OneExpertConfig
from distil.policies.acting import Acting, acting
from distil.policies.checkpoint import WEIGHTS, load_policy_ref
from distil.policies.spec import PolicyRef
from distil.types import Labels, Observations

if TYPE_CHECKING:
    from distil.envs import EnvConfig, EnvSpec


class PolicyExpertConfig(OneExpertConfig):
    """A policy trained by distil, acting by its default actions."""

    kind: Literal["policy"] = "policy"
    path: str  # a run's folder, or the policy's own
    trust: tuple[str, ...] = ()  # your own classes, modules or packages that it may name as its head or encoder

    def content(self, env: EnvConfig) -> Content:
        """Return its content: the weights file, which also holds the policy's configuration."""
        return content.of_files(_folder(Path(self.path)) / WEIGHTS)

    def build(self, env: EnvConfig, spec: EnvSpec) -> Expert:
        """Return the expert; InputError if the path holds no policy or the spaces do not fit."""
        ref = load_policy_ref(_folder(Path(self.path)), trust=self.trust)
        name = f"policy {self.path}"
        wants = (ref.spec.observation, ref.spec.action)
        check_spaces(name, wants, (spec.observation, spec.action))
        return Checked(PolicyExpert(name, ref), spec.action)


def _folder(path: Path) -> Path:
    folder = next((place for place in (path / "policy", path) if (place / WEIGHTS).is_file()), None)
    if folder is None:
        raise InputError(f"{path}: holds no policy ({WEIGHTS}); set expert.path to the folder of a run or of a policy")
    return folder


class PolicyExpert:
    """A policy's default actions.

    Args:
        name: for reports and errors.
        ref: the policy's weights and configuration.
    """

    needs_env = False

    def __init__(self, name: str, ref: PolicyRef) -> None:
        self.name = name
        self._ref = ref
        self.stateful = ref.spec.config.is_stateful
        self._begun: dict[int, int] = {}  # slot -> seed, until the number of slots is known
        self._num = 0
        self._actor: Acting | None = None

    def begin(self, slot: int, seed: int) -> None:
        """Forget the slot's last episode."""
        if self._actor is None:
            self._begun[slot] = seed
        elif slot < self._num:
            self._actor.begin(slot, seed)

    def act(self, observations: Observations, *, envs: Sequence[Any] | None = None) -> Labels:
        """Return the policy's actions for N observations; a stateful policy needs the same N at each call."""
        num = len(next(iter(observations.values())))
        if self._actor is None or num != self._num:
            assert self._actor is None or not self.stateful, "the number of slots is fixed"
            self._num, self._actor = num, acting(self._ref, num)
            for slot in range(num):
                self._actor.begin(slot, self._begun.get(slot, 0))
        return Labels(actions=self._actor.act(observations), mask=every(num))
