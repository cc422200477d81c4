"""Attempts in processes of their own, with real locks, signals and kills. Another host is a process with another kernel id."""

from __future__ import annotations

import fcntl
import itertools
import os
import pickle
import signal
import threading
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import pytest
import ray
import torch
from fencebed import ELSEWHERE, FAST, holder, stream

from distil import fence
from distil.errors import InputError, SupersededError
from distil.fence import Attempt, Held, held_ones, hold, seems_held
from distil.learners.checkpoints import Checkpoint, Checkpoints
from distil.rllib.checkpoints import Checkpoints as RllibCheckpoints
from distil.rundir import RunDir
from distil.tracking.outbox import Cursor, Outbox


@pytest.fixture
def fast(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, seconds in {"LEASE_S": 2.0, "VALID_S": 1.5, "RENEW_S": 0.1, "YIELD_S": 1.0}.items():
        monkeypatch.setattr(fence, name, seconds)


def test_an_older_attempt_that_is_asked_to_stop_does_so(tmp_path: Path) -> None:
    with holder(tmp_path) as older:
        with hold(tmp_path, "run", take=True) as held:
            assert (tmp_path / "ended").exists()
            held.check()
        _, words = older.communicate()
        assert older.returncode == 1
    assert "taken over by attempt 2 (process " in words
    assert words.count("\n") == 1


def test_an_older_attempt_that_hangs_when_it_is_asked_to_stop_gives_way(tmp_path: Path, fast: None) -> None:
    """Like a driver in a call to Ray whose cluster is gone; its lease would be renewed for ever."""
    hangs, holds, found = threading.Event(), threading.Event(), list[Held]()

    def older() -> None:
        with suppress(SupersededError), hold(tmp_path, "run") as held:
            found.append(held)
            holds.set()
            hangs.wait()
            held.check()

    thread = threading.Thread(target=older)
    thread.start()
    holds.wait()
    try:
        with hold(tmp_path, "run", take=True) as held:
            held.check()
            with pytest.raises(SupersededError, match="taken over by attempt 2"):
                found[0].check()
    finally:
        hangs.set()
        thread.join()


def test_a_newer_attempt_waits_until_the_older_one_has_ended_and_says_for_whom(tmp_path: Path) -> None:
    notes: list[str] = []

    def note(text: str) -> None:
        notes.append(text)
        stream(older.stdin).write("go on\n")
        stream(older.stdin).flush()

    with holder(tmp_path, "fence.RENEW_S = 1e6", body="write") as older:
        with hold(tmp_path, "run", take=True, note=note):
            assert (tmp_path / "written").exists()
        older.communicate()
        assert older.returncode == 0
    (text,) = notes
    assert text.startswith(f"{tmp_path}: waiting for attempt 1 (process {older.pid} on host ")


@pytest.mark.parametrize("where", ["fence", ELSEWHERE])
def test_unless_it_takes_over_a_newer_attempt_is_refused(tmp_path: Path, where: str) -> None:
    with holder(tmp_path, where, body="write") as older:
        assert held_ones([tmp_path]) == {tmp_path}
        assert seems_held(tmp_path)
        with pytest.raises(InputError, match=f"another process is running this demo: .*{older.pid}"), hold(tmp_path, "demo"):
            pass
        older.communicate("go on\n")
        assert older.returncode == 0
    assert (tmp_path / "written").exists()
    assert held_ones([tmp_path]) == set()
    assert not seems_held(tmp_path)


def test_after_a_kill_on_this_host_nothing_is_waited_for(tmp_path: Path) -> None:
    with holder(tmp_path) as older:
        older.kill()
    notes: list[str] = []
    assert held_ones([tmp_path]) == set()
    assert not seems_held(tmp_path)
    with hold(tmp_path, "run", note=notes.append) as held:
        assert held.attempt.number == 2
    assert notes == []


def test_after_a_kill_on_another_host_the_lease_decides(tmp_path: Path, fast: None) -> None:
    with holder(tmp_path, ELSEWHERE, FAST) as older:
        older.kill()
    notes: list[str] = []
    assert held_ones([tmp_path]) == set()
    assert seems_held(tmp_path)  # its last renewal is recent
    os.utime(tmp_path / "attempts/000001.beat", (0, 0))
    assert not seems_held(tmp_path)
    with hold(tmp_path, "run", note=notes.append) as held:
        assert Attempt(tmp_path, 1).sign() is None
        held.check()
    assert len(notes) == 1


def test_an_attempt_that_stood_still_writes_nothing_once_a_newer_one_does(tmp_path: Path, fast: None) -> None:
    with holder(tmp_path, FAST, body="write") as older:
        older.send_signal(signal.SIGSTOP)
        with pytest.raises(InputError, match="another process"), hold(tmp_path, "run"):
            pass
        with hold(tmp_path, "run", take=True):
            stream(older.stdin).write("go on\n")
            stream(older.stdin).flush()
            older.send_signal(signal.SIGCONT)
            _, words = older.communicate()
        assert "taken over by attempt 3" in words
    assert not (tmp_path / "written").exists()


def test_a_lease_that_was_not_renewed_is_renewed_before_the_next_write(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Ctrl-Z, and a file system that stood still: nobody has claimed the folder, so the run continues."""
    monkeypatch.setattr(fence, "RENEW_S", 1e6)
    with hold(tmp_path, "run") as held:
        before = held.attempt.sign()
        held.check()
        assert held.attempt.sign() == before
        now = fence._now()
        monkeypatch.setattr(fence, "_now", lambda: now + fence.VALID_S + 1)
        held.check()
        assert held.attempt.sign() != before


def test_a_lease_that_was_not_renewed_is_lost_to_who_waits_for_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Even before the newer attempt has removed it."""
    monkeypatch.setattr(fence, "RENEW_S", 1e6)
    now = fence._now()
    with hold(tmp_path, "run") as held:
        Held(tmp_path, takes=False)
        held.check()
        monkeypatch.setattr(fence, "_now", lambda: now + fence.VALID_S + 1)
        with pytest.raises(SupersededError, match="taken over by attempt 2"):
            held.check()


def test_of_many_at_once_one_holds_the_folder(tmp_path: Path) -> None:
    start, inside, most, refused = threading.Barrier(8), itertools.count(), [], []
    leave = threading.Barrier(8)

    def attempt() -> None:
        start.wait()
        try:
            with hold(tmp_path, "run"):
                most.append(next(inside))
                leave.wait()
        except InputError:
            refused.append(1)
            leave.wait()

    threads = [threading.Thread(target=attempt) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert (len(most), len(refused)) == (1, 7)


def test_a_number_is_claimed_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Another process claims the number that was free a moment ago."""
    others, write, is_first = list[Held](), Path.write_bytes, itertools.chain([True], itertools.repeat(False))

    def first_another(path: Path, content: bytes) -> int:
        if next(is_first):
            others.append(Held(tmp_path, takes=False))
        return write(path, content)

    monkeypatch.setattr(Path, "write_bytes", first_another)
    assert Held(tmp_path, takes=False).attempt.number == 2
    assert others[0].attempt.number == 1


def test_a_process_of_distil_0_1_is_respected(tmp_path: Path) -> None:
    (tmp_path / ".lock").touch()
    assert fence.was_held(tmp_path)
    with (tmp_path / ".lock").open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        assert held_ones([tmp_path]) == {tmp_path}
        assert seems_held(tmp_path)
        with pytest.raises(InputError, match="another process is running this run"), hold(tmp_path, "run", take=True):
            pass
    with hold(tmp_path, "run") as held:
        assert held.attempt.number == 1


def writes(run: RunDir) -> dict[str, Callable[[], object]]:
    """Everything that a run writes into its folder."""
    checkpoint = Checkpoint(tensors={"w": torch.ones(1)}, state={"round": 0, "step": 1, "done": False})
    outbox = Outbox(run.path, run.check)
    elsewhere = pickle.loads(ray.cloudpickle.dumps(run.check))  # plain pickle would take a method along by its name
    return {
        "journal": lambda: run.append("collected", round=0),
        "results": lambda: run.finish({}),
        "policies": lambda: run.forget_policies(0),
        "checkpoint": lambda: Checkpoints(run.checkpoints, run.check).save(checkpoint),
        "a rank's checkpoint": lambda: Checkpoints(run.checkpoints, elsewhere).save(checkpoint),
        "record": lambda: outbox.append("end", status="FAILED"),
        "cursor": lambda: outbox.keep(Cursor()),
        "RLlib's": lambda: RllibCheckpoints(run.rllib, run.check).save(None, 0),
    }


def test_an_attempt_whose_lease_is_gone_writes_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fence, "RENEW_S", 1e6)
    run = RunDir.create(tmp_path, "a", "name: a\n")
    with run.lock():
        all_writes = writes(run)
        for name in ("journal", "checkpoint", "a rank's checkpoint", "record", "cursor"):
            all_writes[name]()
        Attempt(run.path, 1).beat.unlink()
        before = {path: path.read_bytes() for path in run.path.rglob("*") if path.is_file()}
        for write in all_writes.values():
            with pytest.raises(SupersededError, match="its lease is gone"):
                write()
        assert {path: path.read_bytes() for path in run.path.rglob("*") if path.is_file()} == before
