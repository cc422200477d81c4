"""A fence between the attempts of one run: at most one of them writes, whatever host each one is on.

FOLDER/attempts/
  000002.json    the claim of attempt 2: host, process; created exclusively, never changed, and locked while its process lives
  000002.beat    the lease of attempt 2: rewritten every second; without it, attempt 2 is over

An attempt first claims the next number. Then it waits until each lower one is over: its lease was removed; or its process is
dead, which shows on the same kernel, where the lock of its claim is free; or its lease did not change for `LEASE_S` by the
clock of the process that waits. It removes the leases of the lower ones, and only then writes. Clocks are never compared. An
attempt that is asked to stop and hangs for `YIELD_S` gives its lease up, and writes nothing more.

What writes for an attempt calls `check` first, in whatever process. The one that holds the folder also stops writing while
it could not renew its lease for `VALID_S` by its own clock, until it is sure that no newer attempt has claimed the folder.

Nothing is flushed to disk: after a power cut, no attempt is left on that machine.
"""

from __future__ import annotations

import errno
import fcntl
import itertools
import json
import os
import secrets
import signal
import socket
import threading
import time
import uuid
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from types import FrameType
from typing import Any

from distil.durable import write_all
from distil.errors import InputError, RunError, SupersededError
from distil.interrupts import TAKEN_OVER, delayed_interrupts

Check = Callable[[], None]  # raises SupersededError unless the attempt may write

LEASE_S = 20.0  # without a renewal, as a newer attempt sees it: the older one is over
VALID_S = 15.0  # since its last renewal began: an attempt itself stops to write
RENEW_S = 1.0
YIELD_S = 10.0  # after a newer attempt has asked for the folder: what hangs until then has lost it
_POLL_S = 0.1
_JOIN_S = 5.0
_RECENT_S = 60.0

_OLD_LOCK = ".lock"  # of distil 0.1, which has no attempts


def unfenced() -> None:
    """Allow every write: nobody holds the folder."""


@dataclass(frozen=True)
class Attempt:
    """An attempt, as any process sees it."""

    folder: Path
    number: int

    @property
    def beat(self) -> Path:
        """The file of its lease."""
        return self.folder / "attempts" / f"{self.number:06d}.beat"

    @property
    def file(self) -> Path:
        """The file of its claim."""
        return self.folder / "attempts" / f"{self.number:06d}.json"

    def check(self) -> None:
        """Raise SupersededError if the attempt is over. Opening a file shows what other hosts did to it, on NFS too."""
        if self.sign() is None:
            raise self.superseded()

    __call__ = check  # so that the attempt itself goes to other processes: there, a method would not be of the class it is here

    def sign(self) -> bytes | None:
        """Return what its lease holds; None: it is over."""
        return _read(self.beat)

    def claim(self) -> dict[str, Any] | None:
        """Return what its claim says; None: there is none, empty: it is being written."""
        content = _read(self.file)
        try:
            return None if content is None else dict(json.loads(content))
        except ValueError:
            return {}

    def newer(self, *, asked: bool) -> Attempt | None:
        """Return the next attempt that is not over; with `asked`, only one that is to take the folder over."""
        for number in itertools.count(self.number + 1):
            other = Attempt(self.folder, number)
            if (claim := other.claim()) is None:
                return None
            if other.sign() is not None and (claim.get("takes") or not asked):
                return other
        raise AssertionError

    def superseded(self) -> SupersededError:
        """Return the error of this attempt once it is over, or asked to be."""
        by = max(_attempts(self.folder), key=lambda other: other.number, default=self)
        why = f"taken over by {by.who()}" if by.number > self.number else "its lease is gone: was the folder removed?"
        return SupersededError(
            f"{self.folder}: {why}; attempt {self.number} has stopped, and what it committed is kept: follow the newer one, or "
            "rerun this command with --resume to take over from it"
        )

    def who(self) -> str:
        """Return what people call it."""
        claim = self.claim() or {}
        return f"attempt {self.number} (process {claim.get('pid', '?')} on host {claim.get('host', '?')})"

    def is_locked(self) -> bool | None:
        """Return whether its process lives, or is stopped; None: that cannot be known, such as of another host's."""
        claim = self.claim()
        if not claim or claim.get("kernel") != _kernel():
            return None
        with suppress(OSError), self.file.open("rb") as file:
            if claim.get("lock") == _identity(file.fileno()):
                return _lock(file.fileno(), fcntl.LOCK_SH) is False
        return None


class Held:
    """The attempt of this process. In another process, where pickle brings it, it is an `Attempt`."""

    def __init__(self, folder: Path, *, takes: bool) -> None:
        """Claim the next number."""
        self._uid, self._count, self._renewed_at = secrets.token_hex(8), 0, _now()
        (folder / "attempts").mkdir(exist_ok=True)
        for number in itertools.count(max((attempt.number for attempt in _attempts(folder)), default=0) + 1):
            self.attempt = Attempt(folder, number)
            if self.attempt.file.exists():
                continue
            self.attempt.beat.write_bytes(self._sign())  # before the claim, since an attempt without a lease is over
            with suppress(FileExistsError):  # another one was faster
                self._descriptor = os.open(self.attempt.file, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o666)
                break
        own = {"host": socket.gethostname(), "pid": os.getpid(), "started": time.strftime("%Y-%m-%d %H:%M:%S%z")}
        lock = _identity(self._descriptor) if _lock(self._descriptor, fcntl.LOCK_EX) else None  # the content comes after it
        write_all(self._descriptor, json.dumps({**own, "takes": takes, "kernel": _kernel(), "lock": lock}).encode())
        self._renewing, self._ends = threading.Lock(), threading.Event()
        self._newer: Attempt | None = None  # asks this one to stop
        self._is_lost = False
        self._thread = threading.Thread(target=self._keep, name="distil-lease", daemon=True)
        self._interrupts = threading.current_thread() is threading.main_thread()

    def __reduce__(self) -> tuple[Any, ...]:
        return Attempt, (self.attempt.folder.resolve(), self.attempt.number)

    def check(self) -> None:
        """Raise SupersededError unless this attempt may write; RunError if its lease cannot be renewed."""
        while not self._is_lost and _now() - self._renewed_at > VALID_S:  # the process, or the file system, did not move
            try:
                self._renew()
            except OSError as error:
                raise RunError(f"{self.attempt.beat}: can't renew the lease: {error.strerror}; rerun with --resume") from None
        if self._is_lost:
            raise self.attempt.superseded()
        self.attempt.check()

    __call__ = check  # see `Attempt`

    def heed(self) -> None:
        """Raise SupersededError if a newer attempt waits for this one to stop."""
        if self.is_over:
            raise self.attempt.superseded()

    @property
    def is_over(self) -> bool:
        """Whether a newer attempt waits, or has the folder."""
        return self._is_lost or self._newer is not None

    def wait(self, what: str, note: Callable[[str], None], *, takes: bool) -> None:
        """Wait until the lower attempts are over; InputError if one is running and this one does not take over."""
        lower = [_Watched(Attempt(self.attempt.folder, number)) for number in range(1, self.attempt.number)]
        has_said = False
        while True:
            for one in [one for one in lower if one.is_over()]:
                one.attempt.beat.unlink(missing_ok=True)  # if it comes back, it writes nothing more
                lower.remove(one)
            if not lower:
                return
            for one in lower if not takes else ():
                if one.is_alive:
                    who = one.attempt.who()
                    raise InputError(
                        f"{self.attempt.folder}: another process is running this {what}: {who}; wait for it or stop it"
                    )
            if not has_said:
                has_said = True
                who = lower[-1].attempt.who()
                note(f"{self.attempt.folder}: waiting for {who} to stop, or to give no sign of life for {LEASE_S:.0f} s")
            self.heed()
            time.sleep(_POLL_S)

    @contextmanager
    def kept(self) -> Iterator[None]:
        """Renew the lease meanwhile, and release it at the end. In the main thread, the end of this attempt interrupts it."""
        before = signal.signal(TAKEN_OVER, _interrupt) if self._interrupts else None
        try:
            self._thread.start()
            yield
        finally:
            try:
                with delayed_interrupts():
                    self._ends.set()
                    self._thread.join(_JOIN_S)
                    with suppress(OSError):
                        self.attempt.beat.unlink()
                    os.close(self._descriptor)
            finally:
                if self._interrupts:
                    signal.signal(TAKEN_OVER, before or signal.SIG_DFL)

    def _keep(self) -> None:
        """Renew the lease. Once a newer attempt waits, the rest of this process has `YIELD_S` to stop: it may hang.

        A driver whose host was cut off hangs in a call to Ray, for example.
        """
        asked_at: float | None = None
        while not self._ends.wait(RENEW_S):
            with suppress(OSError):  # `check` says so if it lasts
                self._renew()
            if self.is_over and asked_at is None:
                asked_at = _now()
                if self._interrupts:
                    signal.pthread_kill(threading.main_thread().ident or 0, TAKEN_OVER)
            if asked_at is not None and _now() - asked_at > YIELD_S:
                self._is_lost = True  # it writes nothing more, whenever it goes on
                with suppress(OSError):
                    self.attempt.beat.unlink()
                return

    def _renew(self) -> None:
        """Renew the lease, then look for newer attempts: those that come later see the new lease."""
        with self._renewing:
            began = _now()
            has_lapsed = began - self._renewed_at > VALID_S
            self._count += 1
            try:
                descriptor = os.open(self.attempt.beat, os.O_WRONLY | os.O_CLOEXEC)
                try:
                    write_all(descriptor, self._sign())
                finally:
                    os.close(descriptor)
            except OSError as error:
                if error.errno not in (errno.ENOENT, errno.ESTALE):
                    raise
                self._is_lost = True
                return
            self._newer = self._newer or self.attempt.newer(asked=not has_lapsed)
            if has_lapsed and self._newer is not None:
                self._is_lost = True
            else:
                self._renewed_at = began

    def _sign(self) -> bytes:
        return f"{self._uid} {self._count:012d}\n".encode()


class _Watched:
    """What this process sees of another attempt. Mutable."""

    def __init__(self, attempt: Attempt) -> None:
        self.attempt = attempt
        self.is_alive = False  # or stopped, for certain
        self._seen: bytes | None = None
        self._since = 0.0

    def is_over(self) -> bool:
        """Look again; return whether it is over."""
        sign = self.attempt.sign()
        if sign is None:
            return True
        is_locked = self.attempt.is_locked()
        self.is_alive = self.is_alive or is_locked is True or self._seen not in (None, sign)
        if sign != self._seen:
            self._seen, self._since = sign, _now()
        return is_locked is False or _now() - self._since > LEASE_S


@contextmanager
def hold(folder: Path, what: str, *, take: bool = False, note: Callable[[str], None] = lambda text: None) -> Iterator[Held]:
    """Hold the folder of a run, a sweep or a demo.

    Args:
        folder: which must exist.
        what: "run", "sweep" or "demo", for messages.
        take: if another process holds it, have that one stop, and wait for it; otherwise InputError says that it does.
        note: told that it waits.

    Raises:
        InputError: another process holds it.
        SupersededError: a newer attempt has taken it over. In the main thread, the block is interrupted like by Ctrl-C.
    """
    if _is_held_by_old(folder):
        raise InputError(f"{folder}: another process is running this {what}; wait for it or stop it")
    held = Held(folder, takes=take)
    try:
        with held.kept():
            held.wait(what, note, takes=take)
            yield held
    except SupersededError:
        raise
    except (Exception, KeyboardInterrupt) as error:
        if held.is_over:
            raise held.attempt.superseded() from error
        raise


def held_ones(folders: Sequence[Path]) -> set[Path]:
    """Return the folders that a process holds. Attempts on other hosts are watched for up to `LEASE_S`, all at once."""
    found = {folder for folder in folders if _is_held_by_old(folder)}
    watched = [_Watched(attempt) for folder in folders for attempt in _attempts(folder)]
    while watched := [one for one in watched if one.attempt.folder not in found and not one.is_over()]:
        found |= {one.attempt.folder for one in watched if one.is_alive}
        if any(one.attempt.folder not in found for one in watched):
            time.sleep(_POLL_S)
    return found


def seems_held(folder: Path) -> bool:
    """Return whether a process holds the folder, at once, for people: of another host's, the time of its last renewal tells."""
    for attempt in _attempts(folder):
        with suppress(FileNotFoundError):
            renewed = attempt.beat.stat().st_mtime
            is_locked = attempt.is_locked()
            if is_locked or (is_locked is None and time.time() - renewed < _RECENT_S):
                return True
    return _is_held_by_old(folder)


def was_held(folder: Path) -> bool:
    """Return whether a process has ever held the folder."""
    return (folder / _OLD_LOCK).is_file() or bool(_attempts(folder))


def _attempts(folder: Path) -> list[Attempt]:
    return [Attempt(folder, int(path.stem)) for path in (folder / "attempts").glob("[0-9]*.json")]


def _is_held_by_old(folder: Path) -> bool:
    with suppress(FileNotFoundError), (folder / _OLD_LOCK).open("rb") as file:
        return _lock(file.fileno(), fcntl.LOCK_SH) is False
    return False


def _lock(descriptor: int, kind: int) -> bool | None:
    """Lock a file; return whether that was possible, or None if the file system has no locks."""
    try:
        fcntl.flock(descriptor, kind | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    except OSError:
        return None
    return True


def _identity(descriptor: int) -> list[int]:
    """Return which file this is, on this kernel: the same file system mounted twice may not share locks."""
    status = os.fstat(descriptor)
    return [status.st_dev, status.st_ino]


@cache
def _kernel() -> str:
    """Return what is the same for all processes that see each other's locks: containers may share a host's name, or not."""
    try:
        return Path("/proc/sys/kernel/random/boot_id").read_text().strip()
    except OSError:
        return f"{socket.gethostname()} {uuid.getnode():x}"


def _read(path: Path) -> bytes | None:
    try:
        return path.read_bytes()
    except OSError as error:
        if error.errno in (errno.ENOENT, errno.ESTALE):
            return None
        raise


def _interrupt(number: int, frame: FrameType | None) -> None:
    raise KeyboardInterrupt


_now = time.monotonic
