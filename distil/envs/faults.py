"""What the user's environments may raise, and how they are closed all the same."""

from __future__ import annotations

import contextlib
from typing import Any

FAULTS = (Exception, SystemExit)  # of the user's code: any kind


def close_quietly(env: Any) -> None:
    """Close an environment. A fault of that is of no interest: nothing is asked of it any more, and what it gave is kept."""
    with contextlib.suppress(*FAULTS):
        env.close()
