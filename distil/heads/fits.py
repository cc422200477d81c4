"""Whether a head fits an action space (no torch)."""

from __future__ import annotations

from typing import Self

from distil.config import Config
from distil.errors import InputError
from distil.spaces import Leaf


def require_kind(kind: str, action: Leaf, kinds: tuple[str, ...]) -> None:
    """Raise InputError if the action space is none of `kinds`."""
    if action.kind not in kinds:
        raise InputError(f"policy.head.kind={kind} doesn't fit a {action.kind} action space: leave it at auto")


class BoxHeadConfig(Config):
    """What the configurations of heads for Box actions share."""

    kind: str

    def resolve(self, action: Leaf) -> Self:
        """Return itself; InputError if the action space isn't a Box."""
        require_kind(self.kind, action, ("box",))
        return self
