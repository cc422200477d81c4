"""Collect plans as JSON, for the journal: a collection that was started resumes with its original plan."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

from pydantic import TypeAdapter

from distil.experts.gates.config import GateConfig
from distil.plans import CollectPlan

_GATE: TypeAdapter[GateConfig] = TypeAdapter(GateConfig)


def to_json(plan: CollectPlan) -> dict[str, Any]:
    """Return a JSON object; `from_json` reads it back."""
    gate = plan.gate.model_dump(mode="json") if plan.gate is not None else None
    return {name: value for name, value in asdict(plan).items() if name != "gate"} | {"gate": gate}


def from_json(data: dict[str, Any]) -> CollectPlan:
    """Return the plan that `to_json` wrote."""
    gate = _GATE.validate_python(data["gate"]) if data["gate"] is not None else None
    renamed = {"agent" if name == "actor" else name: value for name, value in data.items()}  # as 0.1.0 wrote it
    return CollectPlan(**{**renamed, "gate": gate})
