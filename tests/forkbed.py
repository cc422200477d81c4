"""Processes beside the tests' own that need not import torch and distil again: that takes longer than most of what they do."""

from __future__ import annotations

import multiprocessing
from collections.abc import Callable, Sequence
from typing import Any

_SERVER = multiprocessing.get_context("forkserver")  # a process that used torch's threads or a GPU must not be forked
_SERVER.set_forkserver_preload(["distil.run", "distil.learners.rank", "distil.objectives.supervised"])


def begin(function: Callable[..., Any], *arguments: Any) -> Any:
    """Run a module's function in a process, in the current folder; return the process."""
    process = _SERVER.Process(target=function, args=arguments)
    process.start()
    return process


def side_by_side(function: Callable[..., Any], *calls: Sequence[Any]) -> list[int | None]:
    """Run a module's function with each of the arguments, all at once; return the processes' exit codes."""
    processes = [begin(function, *arguments) for arguments in calls]
    for process in processes:
        process.join(240)
    return [process.exitcode for process in processes]
