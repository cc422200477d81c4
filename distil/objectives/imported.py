"""The user's own objective: made from its class, whose faults are named in one line."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from distil.config import import_target
from distil.errors import InputError, RunError
from distil.objectives.base import Objective
from distil.objectives.optimiser_config import OptimiserConfig
from distil.objectives.ranks import Ranks
from distil.policies.policy import Policy

_MEMBERS = [name for name in vars(Objective) if not name.startswith("_")]
_HINT = "write it, or derive the class from distil.objectives.gradient.GradientObjective and write only `loss`"


def make(target: str, kwargs: Mapping[str, Any], policy: Policy, optimiser: OptimiserConfig, ranks: Ranks) -> Objective:
    """Return the objective `Class(policy, optimiser, ranks, **kwargs)` of `target`, package.module:Class.

    Raises:
        InputError: there is no such class, it can't be made, or it lacks a member of `Objective`; one line names both.
    """
    made = import_target(target, "objective")
    if not isinstance(made, type):
        raise InputError(f"objective {target}: {made!r} is no class; name one with the methods of an objective")
    if abstract := sorted(getattr(made, "__abstractmethods__", ())):
        raise InputError(f"objective {target}: has no method {abstract[0]!r}; {_HINT}")
    try:
        objective = made(policy, optimiser, ranks, **kwargs)
    except (InputError, RunError):
        raise
    except Exception as error:
        reason = " ".join(f"{type(error).__name__}: {error}".split())
        raise InputError(f"objective {target}: Class(policy, optimiser, ranks, **kwargs) failed: {reason}; fix it") from error
    if missing := [name for name in _MEMBERS if not hasattr(objective, name)]:
        raise InputError(f"objective {target}: has no {missing[0]!r}; {_HINT}")
    return objective  # type: ignore[no-any-return]
