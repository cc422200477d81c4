"""Exceptions of the user's environments, and closing them afterwards."""

from __future__ import annotations

import contextlib
import traceback
from typing import Any

FAULTS = (Exception, SystemExit)  # the user's code may raise anything


def close_quietly(env: Any) -> None:
    """Close an environment. Exceptions are ignored: the environment is no longer used and its data is kept."""
    with contextlib.suppress(*FAULTS):
        env.close()


def told(error: BaseException) -> str:
    """Return the message of an exception in one line; if it has none, the line of code that raised it."""
    text = " ".join(str(error).split())
    frames = traceback.extract_tb(error.__traceback__)
    return text or (f"at `{frames[-1].line}`" if frames and frames[-1].line else "no reason given")
