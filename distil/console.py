"""Progress for people, on stderr: bars on a terminal, occasional plain lines in a log, nothing when quiet."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self, TextIO

if TYPE_CHECKING:
    from rich.progress import Progress, TaskID

_FIRST_LINE_S = 2.0  # shorter work prints only its last line
_LINE_EVERY_S = 10.0
_LINE_GROWTH = 1.5  # the interval between lines grows: an hour prints 16 of them
_LINE_EVERY_MAX_S = 300.0


@dataclass(kw_only=True)
class _Work:
    """One task in progress."""

    started: float
    next_line: float
    every_s: float = _LINE_EVERY_S
    done: int = 0
    task: TaskID | None = None


class Console:
    """A `distil.types.Progress` that shows progress to people.

    On a terminal each task has a bar while it runs and leaves one line. In a log it prints a line after two seconds, then at
    growing intervals, and one at the end. Tasks are identified by name; a name whose count decreases is a new task.

    Use it as a context manager, so that the terminal is restored in every case.

    Args:
        stream: where to write.
        quiet: show nothing (for `--json`).
        terminal: bars instead of lines; None: bars if `stream` is a terminal.
        clock: seconds since a fixed moment.
    """

    def __init__(
        self,
        stream: TextIO | None = None,
        *,
        quiet: bool = False,
        terminal: bool | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._stream = sys.stderr if stream is None else stream
        self._quiet = quiet
        self._terminal = self._stream.isatty() if terminal is None else terminal
        self._clock = clock
        self._works: dict[str, _Work] = {}
        self._places: list[str] = []  # of all work, the outermost first
        self._shown = ""  # above the bars
        self._bars: Progress | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.close()

    def __call__(self, what: str, done: int, total: int, /, **figures: float) -> None:
        """Show `done` of `total` units of `what`, with `figures` (name -> value)."""
        if self._quiet:
            return
        now = self._clock()
        work = self._works.get(what)
        if work is None or done < work.done:
            if work is not None and work.task is not None and self._bars is not None:
                self._bars.remove_task(work.task)
            work = self._works[what] = _Work(started=now, next_line=now + _FIRST_LINE_S)
        work.done = done
        if self._terminal:
            self._show_bar(work, what, total, figures)
        elif now >= work.next_line and done < total:
            self._write(_line(self._name(what), done, total, now - work.started, figures))
            work.next_line, work.every_s = now + work.every_s, min(_LINE_EVERY_MAX_S, work.every_s * _LINE_GROWTH)
        if done >= total:
            self._end(what, work, total, now, figures)

    @contextmanager
    def within(self, *places: str) -> Iterator[None]:
        """Name what all work in the block belongs to, such as a run and "round 3 of 5"; blocks may be nested."""
        num = len(self._places)
        self._places += places
        try:
            yield
        finally:
            del self._places[num:]

    def show(self, text: str) -> None:
        """On a terminal, keep a text above the bars, such as a table that changes; an empty one removes it."""
        self._shown = text.rstrip("\n")

    def say(self, text: str) -> None:
        """Write one line of plain text, above the bars if there are any."""
        if not self._quiet:
            self._write(text)

    def close(self) -> None:
        """Remove the bars. Later calls start new ones."""
        bars, self._bars = self._bars, None
        if bars is not None:
            bars.stop()
        self._works.clear()

    def _name(self, what: str) -> str:
        return f"{', '.join(self._places)}: {what}" if self._places else what

    def _end(self, what: str, work: _Work, total: int, now: float, figures: Mapping[str, float]) -> None:
        if self._bars is not None and work.task is not None:
            self._bars.remove_task(work.task)
        del self._works[what]
        self._write(_line(self._name(what), total, total, now - work.started, figures))

    def _show_bar(self, work: _Work, what: str, total: int, figures: Mapping[str, float]) -> None:
        if self._bars is None:
            self._bars = _bars(self._stream, lambda: "\n".join(filter(None, [self._shown, ", ".join(self._places)])))
            self._bars.start()
        if work.task is None:
            work.task = self._bars.add_task(what, total=total, figures="")
        self._bars.update(work.task, completed=work.done, total=total, figures=_figures(figures))

    def _write(self, text: str) -> None:
        if self._bars is not None:
            self._bars.console.print(text, markup=False, highlight=False, soft_wrap=True)
        else:
            self._stream.write(text + "\n")
            self._stream.flush()


def _bars(stream: TextIO, place: Callable[[], str]) -> Progress:
    """Return a bar for each task, below what `place` says of them all."""
    from rich.console import Console as RichConsole
    from rich.console import RenderableType
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, ProgressColumn, Task, TextColumn
    from rich.table import Column
    from rich.text import Text

    class Times(ProgressColumn):
        """The elapsed time, and the remaining one where it can be told."""

        def render(self, task: Task) -> Text:
            return Text(_times(task.elapsed or 0.0, task.time_remaining), no_wrap=True)

    class Placed(Progress):
        def get_renderables(self) -> Iterable[RenderableType]:
            if text := place():
                yield Text(text, no_wrap=True, overflow="ellipsis")
            yield from super().get_renderables()

    columns: tuple[Any, ...] = (
        TextColumn("{task.description:<10}", style="bold"),
        BarColumn(bar_width=16),
        MofNCompleteColumn(),
        Times(),
        TextColumn(
            "{task.fields[figures]}", style="cyan", markup=False, table_column=Column(no_wrap=True, overflow="ellipsis")
        ),
    )
    return Placed(*columns, console=RichConsole(file=stream, force_terminal=True), transient=True)


def _times(elapsed_s: float, remaining_s: float | None) -> str:
    return f"{duration(elapsed_s)} elapsed" + (f", {duration(remaining_s)} left" if remaining_s is not None else "")


def _line(what: str, done: int, total: int, elapsed_s: float, figures: Mapping[str, float]) -> str:
    text = f"{what:<10} {done:,}/{total:,}"
    if 0 < done < total:
        text += f" ({done * 100 // total} %), {_times(elapsed_s, elapsed_s * (total - done) / done)}"
    else:
        text += f" in {duration(elapsed_s)}"
    shown = _figures(figures)
    return f"{text}  {shown}" if shown else text


def _figures(figures: Mapping[str, float]) -> str:
    return "  ".join(f"{name}={number(value)}" for name, value in figures.items())


def number(value: float) -> str:
    """Return a number in a short readable form: `12,345`, `3.142`, `0.0001234`."""
    if float(value).is_integer() and abs(value) < 1e15:
        return f"{int(value):,}"
    return f"{value:,.0f}" if abs(value) >= 1000 else f"{value:.4g}"


def duration(seconds: float) -> str:
    """Return a duration in readable units: `4.2 s`, `3 min 20 s`, `2 h 5 min`."""
    if seconds < 59.95:
        return f"{seconds:.1f} s" if seconds < 9.95 else f"{seconds:.0f} s"
    minutes, rest = divmod(round(seconds), 60)
    if minutes < 60:
        return f"{minutes} min {rest} s"
    hours, minutes = divmod(minutes, 60)
    return f"{hours} h {minutes} min"
