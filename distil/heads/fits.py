"""Whether a head fits an action space."""

from __future__ import annotations

from distil.errors import InputError
from distil.spaces import Leaf


def require_kind(kind: str, action: Leaf, kinds: tuple[str, ...]) -> None:
    """Raise InputError if the action space is none of `kinds`."""
    if action.kind not in kinds:
        raise InputError(f"policy.head.kind={kind} doesn't fit a {action.kind} action space: leave it at auto")
