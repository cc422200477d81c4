"""What the user's environments may raise, and how they are closed after it."""

from __future__ import annotations

import contextlib
import traceback
from typing import Any

FAULTS = (Exception, SystemExit)  # of the user's code: any kind


def close_quietly(env: Any) -> None:
    """Close an environment. A fault of that is of no interest: nothing is asked of it any more, and what it gave is kept."""
    with contextlib.suppress(*FAULTS):
        env.close()


def told(error: BaseException) -> str:
    """Return the text of what the user's code raised, in one line; of an error without one, the line of code that raised it."""
    text = " ".join(str(error).split())
    frames = traceback.extract_tb(error.__traceback__)
    return text or (f"at `{frames[-1].line}`" if frames and frames[-1].line else "no reason given")
