"""The CPU time of a program: user and system seconds of its process and of all processes that it starts, Ray's included.

A program may report marks through two pipes (`peer_programs/common.py` is the other end). It waits while the clock is read, so
a mark is exact, and the time to save earlier marks is not charged to a later one.
"""

from __future__ import annotations

import ctypes
import json
import os
import select
import signal
import subprocess
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

_TICKS = os.sysconf("SC_CLK_TCK")
_PERIOD_S = 0.2
_GRACE_S = 15.0
_PR_SET_CHILD_SUBREAPER = 36


class ProgramError(Exception):
    """A program failed, or took too long; the message has its last line."""


@dataclass(frozen=True)
class Mark:
    """A policy that was saved on the way: what a program would have cost that had ended with it."""

    facts: Mapping[str, Any]  # what the program says about it
    whole_s: float  # CPU-seconds from the start of the process to its end
    train_s: float  # of these, in gradient steps


@dataclass(frozen=True)
class Clocked:
    """What a program cost."""

    whole_s: float
    wall_s: float
    marks: Sequence[Mark]


@dataclass
class _Counter:
    """Sums the marks: `train_s` is counted between the words train and rest, less what saving takes."""

    training_since: float | None = None
    train_s: float = 0.0
    saving_since: float = 0.0
    saving_s: float = 0.0
    marks: list[tuple[Mapping[str, Any], float, float]] = field(default_factory=list)

    def hear(self, message: Mapping[str, Any], now_s: float) -> None:
        word = message["say"]
        if word == "train":
            self.training_since = now_s
        elif word == "rest":
            assert self.training_since is not None
            self.train_s, self.training_since = self.train_s + now_s - self.training_since, None
        elif word == "save":
            self.saving_since = now_s
        else:
            assert word == "mark", message
            training_s = self.train_s + (self.saving_since - self.training_since if self.training_since is not None else 0.0)
            self.marks.append((message, now_s - self.saving_s, training_s))
            saved_s = now_s - self.saving_since
            self.saving_s += saved_s
            if self.training_since is not None:
                self.training_since += saved_s

    def finish(self, last_s: float, total_s: float) -> list[Mark]:
        """Return the marks; the seconds after the last word are what ending costs, whichever mark is the last."""
        return [Mark(facts, whole_s + total_s - last_s, train_s) for facts, whole_s, train_s in self.marks]


def run_clocked(command: Sequence[str], *, cwd: Path, log: Path, limit_s: float, env: Mapping[str, str]) -> Clocked:
    """Run a program to its end and return its cost.

    Args:
        command: the program and its arguments.
        cwd: its working directory.
        log: the file for its output.
        limit_s: wall-clock seconds until it is killed.
        env: added to the environment.

    Raises:
        ProgramError: it ended with an error, or took longer than `limit_s`.
    """
    ctypes.CDLL(None, use_errno=True).prctl(_PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)  # orphans become children of this process
    (tell_r, tell_w), (hear_r, hear_w) = os.pipe(), os.pipe()
    pipes = {"PEER_TELLS": str(tell_w), "PEER_HEARS": str(hear_r)}
    tree, started = _Tree(), time.monotonic()
    with log.open("wb") as output:
        process = subprocess.Popen(
            command,
            cwd=cwd,
            env={**os.environ, **env, **pipes},
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            pass_fds=(tell_w, hear_r),
        )
    os.close(tell_w)
    os.close(hear_r)
    counter = _Counter()
    try:
        waited_s, code, last_s = _follow(process, tree, counter, (tell_r, hear_w), started + limit_s)
    finally:
        os.close(tell_r)
        os.close(hear_w)
        waited_s_orphans = _reap_orphans(tree)
    if code:
        raise ProgramError(f"exit {code}: {_last_line(log)}")
    total_s = max(waited_s + waited_s_orphans, tree.total_s)
    return Clocked(total_s, time.monotonic() - started, counter.finish(last_s, total_s))


def _follow(
    process: subprocess.Popen[bytes], tree: _Tree, counter: _Counter, pipes: tuple[int, int], end: float
) -> tuple[float, int, float]:
    """Serve the program's words until it ends; return its CPU-seconds, its exit status and the reading at its last word."""
    tell_r, hear_w = pipes
    pending, last_s, is_open = b"", 0.0, True
    while True:
        ready = select.select([tell_r] if is_open else [], [], [], _PERIOD_S)[0]
        if ready:
            data = os.read(tell_r, 65536)
            is_open, pending = bool(data), pending + data
        while b"\n" in pending:
            line, _, pending = pending.partition(b"\n")
            last_s = tree.read()
            counter.hear(json.loads(line), last_s)
            os.write(hear_w, b"\n")
        tree.read()
        pid, status, usage = os.wait4(process.pid, os.WNOHANG)
        if pid:
            process.returncode = os.waitstatus_to_exitcode(status)
            return usage.ru_utime + usage.ru_stime, process.returncode, last_s
        if time.monotonic() > end:
            tree.kill()
            process.wait()
            raise ProgramError("no end within the time limit")


def _reap_orphans(tree: _Tree) -> float:
    """Wait for processes that outlive the program, kill them if they stay; return the CPU-seconds of those waited for."""
    seconds, deadline = 0.0, time.monotonic() + _GRACE_S
    while tree.alive():
        tree.read()
        for pid in tree.orphans():
            found, _, usage = os.wait4(pid, os.WNOHANG)
            if found:
                seconds += usage.ru_utime + usage.ru_stime
        if time.monotonic() > deadline:
            tree.kill()
            deadline = float("inf")
        time.sleep(_PERIOD_S / 4)
    return seconds


class _Tree:
    """All processes that this one has started since, and those below them; one that ended counts with its last reading."""

    def __init__(self) -> None:
        self._earlier = {pid for pid, (parent, *_) in _stats().items() if parent == os.getpid()}
        self._starts: dict[int, str] = {}  # pid -> start time
        self._spent: dict[tuple[int, str], float] = {}  # (pid, start time) -> CPU-seconds

    @property
    def total_s(self) -> float:
        return sum(self._spent.values())

    def read(self) -> float:
        """Read all of them; return the CPU-seconds so far."""
        for pid, (_, spent_s, start, _) in self._live().items():
            self._starts[pid] = start
            self._spent[pid, start] = spent_s
        return self.total_s

    def _live(self) -> dict[int, tuple[int, float, str, bool]]:
        stats = _stats()
        parents = {pid for pid, (parent, *_) in stats.items() if parent == os.getpid() and pid not in self._earlier}
        parents |= {pid for pid, start in self._starts.items() if pid in stats and stats[pid][2] == start}
        below: set[int] = set()
        while parents - below:
            below |= parents
            parents = {pid for pid, (parent, *_) in stats.items() if parent in below}
        return {pid: stats[pid] for pid in below}

    def alive(self) -> bool:
        return bool(self._live())

    def orphans(self) -> list[int]:
        """Return those whose parent is this process by now."""
        return [pid for pid, (parent, *_) in self._live().items() if parent == os.getpid()]

    def kill(self) -> None:
        for pid, (*_, is_zombie) in self._live().items():
            if not is_zombie:
                with suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)


def _stats() -> dict[int, tuple[int, float, str, bool]]:
    return {pid: stat for pid in map(int, filter(str.isdigit, os.listdir("/proc"))) if (stat := _stat(pid))}


def _stat(pid: int) -> tuple[int, float, str, bool] | None:
    """Return parent, CPU-seconds, start time and whether it is a zombie; None if it is gone."""
    try:
        text = Path(f"/proc/{pid}/stat").read_text()
    except OSError:
        return None
    fields = text.rpartition(")")[2].split()
    return int(fields[1]), (int(fields[11]) + int(fields[12])) / _TICKS, fields[19], fields[0] == "Z"


def _last_line(log: Path) -> str:
    lines = [line for line in log.read_text(errors="replace").splitlines() if line.strip()]
    return lines[-1][:300] if lines else "no output"
