"""`algorithm.gate:` who acts and who is asked, in the rounds after the first."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import Field

from distil.config import Config
from distil.experts.gates.human import HumanPlan, ImportedIntervener
from distil.experts.gates.keyboard import Keyboard
from distil.spaces import Leaf

Threshold = Annotated[float, Field(ge=0)]  # a discrepancy, in half action ranges; of choices: the share that differs


class SafeGateConfig(Config):
    """The expert acts where a network predicts that the policy would differ (SafeDAgger: Zhang and Cho, arXiv:1605.06450).

    The network is fitted to the states that the policy was trained on, so it underestimates where there are few of them: begin
    with enough demonstrations for a fair clone, or take an ensemble.
    """

    kind: Literal["safe"] = "safe"
    threshold: Threshold = 0.1


class LazyGateConfig(Config):
    """As safe, but the expert continues until the policy would do the same (LazyDAgger: Hoque et al., arXiv:2104.00053)."""

    kind: Literal["lazy"] = "lazy"
    threshold: Threshold = 0.1
    leave: Threshold = 0.05  # measured discrepancy up to which the policy gets it back


class EnsembleGateConfig(Config):
    """The expert acts where the policy's members disagree, or it differs from them (EnsembleDAgger: arXiv:1807.08364)."""

    kind: Literal["ensemble"] = "ensemble"
    doubt: Threshold = 0.05  # disagreement of the members above which the expert acts
    discrepancy: Threshold | None = None  # also where policy and expert differ by more: the expert is asked at every step


class ThriftyGateConfig(Config):
    """Novelty and risk, with thresholds that keep a budget of interventions (ThriftyDAgger: Hoque et al., 2109.08273).

    The expert takes over where the members disagree more, or failure is nearer, than at all but a fraction `budget` of the
    states that policies visited; it gives back where the policy would do the same and failure is further off than at half.
    """

    kind: Literal["thrifty"] = "thrifty"
    budget: float = Field(default=0.1, gt=0, lt=1)  # fraction of the states, for disagreement and risk each
    leave: Threshold | None = None  # discrepancy up to which to give back; null: the mean one on the data
    failure: Literal["auto", "terminated", "unsuccessful"] = "auto"  # what risk is of; auto: no success, if that is known
    discount: float = Field(default=0.99, gt=0, lt=1)  # of a failure, for each step that it is away


class KeyboardConfig(Config):
    """The keyboard, in the environment's window (`env.kwargs.render_mode: human`); one environment in this process."""

    kind: Literal["keyboard"] = "keyboard"
    keys: dict[str, Any] = Field(min_length=1)  # name of a key -> action

    def maker(self) -> Keyboard:
        """Return what makes the intervener."""
        return Keyboard(keys=self.keys)


class ImportIntervenerConfig(Config):
    """One of your own: `target(num_envs=..., **kwargs)` with `begin(slot, seed)` and `intervene(observations, actions)`."""

    kind: Literal["import"] = "import"
    target: str
    kwargs: dict[str, Any] = Field(default_factory=dict)

    def maker(self) -> ImportedIntervener:
        """Return what makes the intervener."""
        return ImportedIntervener(target=self.target, kwargs=self.kwargs)


class HumanGateConfig(Config):
    """A person or program outside takes over when it likes (HG-DAgger: Kelly et al., arXiv:1810.02890)."""

    kind: Literal["human"] = "human"
    intervener: KeyboardConfig | ImportIntervenerConfig = Field(discriminator="kind")

    def plan(self) -> HumanPlan:
        """Return the gate as data."""
        return HumanPlan(make=self.intervener.maker())

    def check(self, action: Leaf) -> None:
        """Raise InputError if the intervener can't act in this action space."""
        self.intervener.maker().check(action)


GateConfig = Annotated[
    SafeGateConfig | LazyGateConfig | EnsembleGateConfig | ThriftyGateConfig | HumanGateConfig, Field(discriminator="kind")
]
NEED_ENSEMBLE = (EnsembleGateConfig, ThriftyGateConfig)
