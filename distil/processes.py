"""Independent pieces of work in several processes of this machine, without Ray: they start in the time that imports take."""

from __future__ import annotations

import gc
import multiprocessing
import signal
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, suppress
from dataclasses import dataclass
from multiprocessing import resource_tracker
from multiprocessing.connection import Connection, wait
from multiprocessing.process import BaseProcess
from typing import Any, TypeVar

from distil.errors import InputError, RunError
from distil.interrupts import delayed_interrupts
from distil.types import Progress, say, silent

T = TypeVar("T")
R = TypeVar("R")
Opened = Callable[[Progress], AbstractContextManager[Callable[[T], R]]]

_STOP_S = 10.0  # that a process gets to end what it does when it is stopped


def work_in_processes(opened: Opened[T, R], items: Sequence[T], num: int, what: str, progress: Progress = silent) -> list[R]:
    """Return the result for each item, in the order of the items. A process that becomes free takes the next item.

    Ctrl-C and SIGTERM are this process's to handle: whatever ends this call stops the processes, as if each was interrupted.

    Args:
        opened: called once in each process, with a progress that passes notes on; gives what does one item. It, the items and
            the results are pickled, and travel through pipes.
        items: what there is to do.
        num: number of processes, at least 1; no more start than there are items.
        what: the work, as progress calls it.
        progress: told of items as they end, and shown the processes' notes, equal ones once.

    Raises:
        InputError, RunError: the first one that an item raised.
        RunError: a process died.
    """
    results: dict[int, R] = {}
    waiting, doing, said = iter(enumerate(items)), dict[Connection, int](), set[str]()
    progress(what, 0, len(items))
    with _started(opened, min(num, len(items))) as processes:
        for link in processes:
            doing[link], item = next(waiting)
            link.send(item)
        while doing:
            ready = wait(list(doing))
            for link in [link for link in doing if link in ready]:
                message = _receive(link, processes[link], what)
                if isinstance(message, _Note):
                    if message.text not in said:
                        said.add(message.text)
                        say(progress, message.text)
                    continue
                results[doing.pop(link)] = message
                progress(what, len(results), len(items))
                if (following := next(waiting, None)) is not None:
                    doing[link], item = following
                    link.send(item)
    return [results[index] for index in range(len(items))]


@dataclass(frozen=True)
class _Note:
    text: str


class _Notes:
    """The `Progress` of a process: it passes notes to the process that started it, and reports nothing else."""

    def __init__(self, link: Connection) -> None:
        self._link = link

    def __call__(self, what: str, done: int, total: int, /, **figures: float) -> None:
        """Report nothing: the work of several processes would be told as one."""

    def say(self, text: str) -> None:
        self._link.send(_Note(text))


@contextmanager
def _started(opened: Opened[Any, Any], num: int) -> Iterator[dict[Connection, BaseProcess]]:
    """Start processes; give the link to each. At the end of the block they have ended, whatever the reason."""
    context, processes = multiprocessing.get_context("spawn"), dict[Connection, BaseProcess]()
    resource_tracker.ensure_running()  # if it started with the first process, it would unblock the signal that is blocked below
    try:
        for _ in range(num):
            link, end = context.Pipe()
            process: BaseProcess = context.Process(target=_serve, args=(end, opened), daemon=True)
            with delayed_interrupts():
                before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})  # the process inherits it
                try:
                    process.start()
                finally:
                    signal.pthread_sigmask(signal.SIG_SETMASK, before)
                processes[link] = process
            end.close()
        yield processes
        for link in processes:
            link.close()
    except BaseException:
        for process in processes.values():
            process.terminate()
        raise
    finally:
        for process in processes.values():
            process.join(_STOP_S)
            process.kill()
            process.join()


def _receive(link: Connection, process: BaseProcess, what: str) -> Any:
    """Return a process's message; raise the error that it reports."""
    try:
        message = link.recv()
    except (EOFError, ConnectionError):
        process.join(_STOP_S)
        code = process.exitcode
        how = f"was killed by signal {-code}" if code is not None and code < 0 else f"ended with code {code}"
        raise RunError(f"{what}: a process {how}; an error in it is shown above; is there too little memory?") from None
    if isinstance(message, InputError | RunError):
        raise message
    return message


def _serve(link: Connection, opened: Opened[Any, Any]) -> None:
    """Do the items that come through a link until it is closed. The other side is the only one that stops this process."""
    signal.signal(signal.SIGTERM, _interrupt)
    with suppress(KeyboardInterrupt):
        try:
            with opened(_Notes(link)) as do:
                for item in _received(link):
                    link.send(do(item))
        except (InputError, RunError) as error:
            link.send(error)
    gc.freeze()  # the interpreter ends without a last search for garbage, which takes a second


def _received(link: Connection) -> Iterator[Any]:
    with suppress(EOFError, ConnectionError):  # the other side has all results, or is gone
        while True:
            yield link.recv()


def _interrupt(number: int, frame: object) -> None:
    raise KeyboardInterrupt
