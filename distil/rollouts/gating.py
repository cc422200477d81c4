"""Who acts where a policy collects: the expert in some whole episodes, or a gate at every step."""

from __future__ import annotations

from collections.abc import Iterable

from distil.experts.base import Expert
from distil.experts.gates.base import GatePlan
from distil.experts.gates.coin import CoinPlan
from distil.experts.gates.evidence import Evidence
from distil.plans import CollectPlan
from distil.policies.spec import PolicyRef
from distil.seeding import generator
from distil.store import Snapshot


def gate_of(
    plan: CollectPlan, policy: PolicyRef | None, data: Snapshot | None, seed: int, experts: Iterable[Expert]
) -> GatePlan | None:
    """Return what decides at each step of a plan; None: nothing does, and complete episodes are labelled.

    Args:
        plan: the plan.
        policy: the acting policy, if a policy acts.
        data: what the run has collected so far, if the plan has a gate.
        seed: of the gate's fits.
        experts: those that the plan may ask for labels.
    """
    if plan.agent != "policy":
        return None
    if plan.gate is not None:
        assert policy is not None
        assert data is not None
        return plan.gate.plan(Evidence(policy=policy, data=data, seed=seed))
    if plan.beta_unit == "step" and 0 < plan.beta < 1:
        return CoinPlan(beta=plan.beta)
    if plan.label and any(expert.needs_env or expert.stateful for expert in experts):
        return CoinPlan(beta=0.0)  # such an expert has to be asked at each step
    return None


def expert_acts(plan: CollectPlan, seed: int) -> bool:
    """Return whether the expert acts in the whole episode with `seed`, in the policy's place."""
    if plan.beta in (0, 1) or plan.gate is not None:
        return plan.beta == 1 and plan.gate is None
    return plan.beta_unit == "episode" and float(generator(seed, "beta", "episode").random()) < plan.beta
