"""The errors that users see: bad input (exit 2), a failed run (exit 1), a run that a newer attempt has taken over (exit 3).

Each is one line that ends with the fix.
"""

from __future__ import annotations


class InputError(ValueError):
    """The user's input is invalid: a key, a path, a space, a file. The command line exits with 2."""


class RunError(RuntimeError):
    """A run failed after it started: an environment raised, the disk is full. The command line exits with 1."""


class SupersededError(RunError):
    """A newer attempt has taken the run over, and continues it. The command line exits with 3."""
