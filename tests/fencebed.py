"""A process that holds a folder, for tests of what another one sees and does."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import IO

HOLD = """
import signal, sys, threading
from pathlib import Path
from distil import fence
from distil.errors import SupersededError
def hold():
    try:
        with fence.hold(Path(sys.argv[1]), "run") as held:
            print("held", flush=True)
            if {body!r} == "pause":
                while True:
                    signal.pause()
            sys.stdin.readline()
            held.check()
            Path(sys.argv[1], "written").touch()
    except SupersededError as error:
        sys.exit(str(error))
    finally:
        Path(sys.argv[1], "ended").touch()
{settings}
hold()
"""
FAST = "fence.LEASE_S, fence.VALID_S, fence.RENEW_S = 2.0, 1.5, 0.1"
ELSEWHERE = "fence._kernel = lambda: 'that of another host'"


@contextmanager
def process(code: str, *arguments: object) -> Iterator[subprocess.Popen[str]]:
    """Run Python code in a process of its own; it has printed a line when the block begins, and is killed at its end."""
    command = [sys.executable, "-c", code, *map(str, arguments)]
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
    with subprocess.Popen(command, text=True, env=os.environ, **pipes) as running:
        try:
            line = stream(running.stdout).readline()
            assert line, stream(running.stderr).read()
            yield running
        finally:
            running.kill()


def holder(folder: Path, *settings: str, body: str = "pause") -> AbstractContextManager[subprocess.Popen[str]]:
    """Hold a folder in another process: until it is told to stop, or (`body="write"`) until it gets a line, and then write."""
    return process(HOLD.format(body=body, settings="\n".join(settings)), folder)


def stream(pipe: IO[str] | None) -> IO[str]:
    assert pipe is not None
    return pipe
