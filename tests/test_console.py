"""Progress on a terminal, in a log, and quiet."""

from __future__ import annotations

import io
import re

import pytest

from distil.console import Console, duration, number
from distil.types import Progress, show, silent, within


class Clock:
    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def test_is_a_progress() -> None:
    out = io.StringIO()
    console: Progress = Console(out)
    console("collect", 1, 1)
    assert out.getvalue().startswith("collect    1/1 in ")


def test_log_lines_are_plain_and_at_growing_intervals() -> None:
    out, clock = io.StringIO(), Clock()
    with Console(out, clock=clock) as console:
        for second in range(3601):
            clock.now = float(second)
            console("update", second, 3600, loss=0.25)
    lines = out.getvalue().splitlines()
    assert lines[0] == "update     2/3,600 (0 %), 2.0 s elapsed, 59 min 58 s left  loss=0.25"
    assert lines[-1] == "update     3,600/3,600 in 1 h 0 min  loss=0.25"
    assert 10 <= len(lines) <= 25
    assert "\x1b" not in out.getvalue()


def test_short_work_in_a_log_is_one_line() -> None:
    out, clock = io.StringIO(), Clock()
    console = Console(out, clock=clock)
    for done in range(5):
        clock.now += 0.1
        console("evaluate", done, 4)
    assert out.getvalue() == "evaluate   4/4 in 0.4 s\n"


def test_a_decreasing_count_starts_a_new_task() -> None:
    out, clock = io.StringIO(), Clock()
    console = Console(out, clock=clock)
    for _ in range(2):
        console("collect", 0, 10)
        clock.now += 1.0
        console("collect", 10, 10)
    clock.now = 50.0
    console("collect", 5, 10)
    clock.now = 60.0
    console("collect", 1, 10)  # the one before was abandoned
    clock.now = 61.0
    console("collect", 10, 10)
    assert out.getvalue().splitlines() == ["collect    10/10 in 1.0 s"] * 3


def test_quiet_writes_nothing() -> None:
    out = Terminal()
    with Console(out, quiet=True) as console:
        console("collect", 0, 2)
        console("collect", 2, 2)
        console.say("hello")
    assert out.getvalue() == ""


def test_terminal_shows_a_bar_and_leaves_one_line() -> None:
    out, clock = Terminal(), Clock()
    with Console(out, clock=clock) as console:
        console("collect", 0, 200)
        console("collect", 50, 200, return_mean=251.3)
        console.say("a [bold] remark")
        clock.now = 12.0
        console("collect", 200, 200, return_mean=260.0)
        assert console._bars is not None
        assert console._bars.tasks == []  # its bar is gone
    text = out.getvalue()
    assert "━" in text
    assert "a [bold] remark\n" in text
    assert "collect    200/200 in 12 s  return_mean=260\n" in text


def test_work_says_where_it_belongs() -> None:
    out = io.StringIO()
    console = Console(out)
    with within(console, "DAgger, 20 episodes (5 of 6)"):
        with within(console, "round 3 of 5", ""):
            console("update", 7, 7)
        console("evaluate", 3, 3)
    console("collect", 1, 1)
    lines = [line.partition(" in ")[0] for line in out.getvalue().splitlines()]
    assert lines == [
        "DAgger, 20 episodes (5 of 6), round 3 of 5: update 7/7",
        "DAgger, 20 episodes (5 of 6): evaluate 3/3",
        "collect    1/1",
    ]
    with within(silent, "a"), pytest.raises(ValueError, match="x"), within(console, "b"):
        raise ValueError("x")
    console("collect", 1, 1)
    assert out.getvalue().splitlines()[-1].startswith("collect")  # nothing is left behind


def test_a_bar_with_a_long_place_fits_its_line(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    out, clock = Terminal(), Clock()
    with Console(out, clock=clock) as console, within(console, "a-run-with-a-long-name-001", "round 3 of 5"):
        console("update", 10, 200, loss=0.125)
        assert console._bars is not None
        console._bars.refresh()
    shown = re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", out.getvalue())
    lines = [line.strip() for line in re.split(r"[\r\n]+", shown)]
    assert max(map(len, lines[:-1])) <= 80
    above = [lines[i - 1] for i, line in enumerate(lines) if re.fullmatch(r"update +[━╸╺]+ +10/200 .* elapsed.*", line)]
    assert above[0] == "a-run-with-a-long-name-001, round 3 of 5"  # until the block is left


def test_closing_during_work_restores_the_cursor() -> None:
    out = Terminal()
    console = Console(out)

    def work() -> None:
        with console:
            console("update", 1, 10)
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        work()
    assert out.getvalue().count("\x1b[?25l") == out.getvalue().count("\x1b[?25h") == 1


@pytest.mark.parametrize(
    ("value", "text"),
    [(12345.0, "12,345"), (3.14159, "3.142"), (1234.5, "1,234"), (0.0001234, "0.0001234"), (float("nan"), "nan")],
)
def test_numbers_are_short(value: float, text: str) -> None:
    assert number(value) == text


@pytest.mark.parametrize(
    ("seconds", "text"), [(0.44, "0.4 s"), (9.97, "10 s"), (59.97, "1 min 0 s"), (200, "3 min 20 s"), (7500, "2 h 5 min")]
)
def test_durations_are_readable(seconds: float, text: str) -> None:
    assert duration(seconds) == text


def test_a_text_is_kept_in_sight_above_the_bars_of_a_terminal_only() -> None:
    for out, is_terminal in ((Terminal(), True), (io.StringIO(), False)):
        with Console(out) as console:
            show(console, "trial  score\na      0.5\n")
            console("search", 1, 4)
            assert ("a      0.5" in out.getvalue()) == is_terminal
            show(console, "")
            if console._bars is not None:
                console._bars.refresh()
                out.seek(0)
                out.truncate()
                console._bars.refresh()
            assert "a      0.5" not in out.getvalue()
    show(silent, "nothing happens")
