import multiprocessing
import os
import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from distil.errors import InputError, RunError
from distil.processes import work_in_processes
from distil.types import Progress, say


class Told:
    """A progress that keeps what it is told; a note that work waits interrupts it."""

    def __init__(self) -> None:
        self.notes: list[str] = []
        self.steps: list[tuple[str, int, int]] = []

    def __call__(self, what: str, done: int, total: int, /, **figures: float) -> None:
        self.steps.append((what, done, total))

    def say(self, text: str) -> None:
        self.notes.append(text)
        if text == "waiting":
            raise KeyboardInterrupt


@contextmanager
def opened(folder: Path, work: Callable[[Progress, Any], Any], progress: Progress) -> Iterator[Callable[[Any], Any]]:
    """Leave a file with the way in which the process ended."""
    say(progress, "begun")
    end = "killed"
    try:
        yield partial(work, progress)
        end = "closed"
    except KeyboardInterrupt:
        end = "interrupted"
        raise
    finally:
        (folder / str(os.getpid())).write_text(end)


def own_pid(progress: Progress, item: int) -> tuple[int, int]:
    os.kill(os.getpid(), signal.SIGINT)  # Ctrl-C reaches all processes of a terminal; only the first one answers
    return item, os.getpid()


def fail(progress: Progress, error: Exception) -> None:
    raise error


def die(progress: Progress, item: int) -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def wait(progress: Progress, item: int) -> None:
    say(progress, "waiting")
    signal.pause()


@pytest.fixture(autouse=True)
def _no_process_is_left() -> Iterator[None]:
    before = set(multiprocessing.active_children())  # other tests may keep theirs
    yield
    assert set(multiprocessing.active_children()) <= before


def ends(folder: Path) -> list[str]:
    return [path.read_text() for path in folder.iterdir()]


def test_results_are_in_the_order_of_the_items_and_notes_are_shown_once(tmp_path: Path) -> None:
    told = Told()
    results = work_in_processes(partial(opened, tmp_path, own_pid), range(5), 2, "items", told)
    assert [item for item, _ in results] == list(range(5))
    pids = {pid for _, pid in results}
    assert len(pids) == 2
    assert os.getpid() not in pids
    assert told.notes == ["begun"]
    assert told.steps == [("items", done, 5) for done in range(6)]
    assert ends(tmp_path) == ["closed"] * 2


def test_no_more_processes_start_than_there_are_items(tmp_path: Path) -> None:
    assert len(work_in_processes(partial(opened, tmp_path, own_pid), [7], 4, "items")) == 1
    assert ends(tmp_path) == ["closed"]


@pytest.mark.parametrize("error", [InputError("no such key"), RunError("the disk is full")])
def test_an_error_of_an_item_is_raised_here(tmp_path: Path, error: Exception) -> None:
    with pytest.raises(type(error), match=str(error)):
        work_in_processes(partial(opened, tmp_path, fail), [error], 1, "items")
    assert len(ends(tmp_path)) == 1


def test_a_process_that_dies_is_named(tmp_path: Path) -> None:
    with pytest.raises(RunError, match=r"items: a process was killed by signal 9; .*memory"):
        work_in_processes(partial(opened, tmp_path, die), [1], 1, "items")
    assert ends(tmp_path) == []


def test_an_unexpected_error_is_shown_by_its_process(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(RunError, match=r"items: a process ended with code 1; an error in it is shown above"):
        work_in_processes(partial(opened, tmp_path, fail), [ZeroDivisionError("by nothing")], 1, "items")
    assert "ZeroDivisionError: by nothing" in capfd.readouterr().err


def test_an_interrupt_here_interrupts_the_processes(tmp_path: Path) -> None:
    with pytest.raises(KeyboardInterrupt):
        work_in_processes(partial(opened, tmp_path, wait), [1], 1, "items", Told())
    assert ends(tmp_path) == ["interrupted"]
