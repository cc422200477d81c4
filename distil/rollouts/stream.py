"""Names of collected episodes: <stream>-<round>-<number>, where equal streams are equal episodes."""

from __future__ import annotations

import hashlib
import json
import re
from typing import Any

import numpy as np

from distil.plans import CollectPlan
from distil.policies.spec import PolicyRef


def episode_uids(stream: str, round_index: int, num: int) -> list[str]:
    """Return the uids of the first `num` episodes of a round."""
    return [f"{stream}-{round_index:04d}-{i:08d}" for i in range(num)]


def is_collected(uid: str) -> bool:
    """Return whether `episode_uids` gives such uids."""
    return re.fullmatch(r"[0-9a-f]{8}-\d{4,}-\d{8,}", uid) is not None


def stream_name(plan: CollectPlan, policy: PolicyRef | None, fixed: dict[str, Any]) -> str:
    """Return the name of a plan's episodes: it is equal if everything that decides their content is equal.

    Args:
        plan: the plan.
        policy: the acting policy, if a policy acts.
        fixed: what decides the content of all episodes of a run: environment, noise, seed, identity; JSON data.
    """
    parts = fixed | {"actor": plan.agent}  # the key's name is part of the hash
    if plan.agent == "policy" and policy is not None:
        mixing: dict[str, object] = {"beta": plan.beta, "beta_unit": plan.beta_unit, "label": plan.label}
        if plan.gate is not None:
            mixing["gate"] = plan.gate.model_dump(mode="json")
        if plan.act != "point":
            mixing["act"] = plan.act
        parts |= {"noise": None, "policy": policy_digest(policy), "mixing": mixing}
    return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()[:8]


def policy_digest(policy: PolicyRef) -> str:
    """Return the identity of a policy's behaviour: a hash of configuration, spaces, weights and statistics."""
    digest = hashlib.sha256(json.dumps(policy.spec.to_json(), sort_keys=True).encode())
    for name in sorted(policy.arrays):
        digest.update(name.encode())
        digest.update(np.ascontiguousarray(policy.arrays[name]).tobytes())
    return digest.hexdigest()
