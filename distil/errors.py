"""The two errors a user meets: bad input (exit 2) and a failed run (exit 1), each one line with its fix."""

from __future__ import annotations


class InputError(ValueError):
    """The user's input is wrong: a key, a path, a space, a file. The command line exits with 2."""


class RunError(RuntimeError):
    """A run that started well has failed: an environment raised, a disk filled. The command line exits with 1."""
