"""Delay Ctrl-C, SIGTERM and `TAKEN_OVER` over a few statements that must happen together."""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

TAKEN_OVER = signal.SIGURG  # to the main thread: a newer attempt waits for this one to stop. Without a handler, it does nothing

_NUMBERS = (signal.SIGINT, signal.SIGTERM, TAKEN_OVER)


@contextmanager
def delayed_interrupts() -> Iterator[None]:
    """Call the handlers of signals that arrive in this block at its end, in order. It does nothing in other threads.

    For an action and its record, such as a call that is submitted and the reference that cancels it. The block must be short.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    arrived: list[tuple[int, FrameType | None]] = []
    before = {number: signal.getsignal(number) for number in _NUMBERS}
    changed = [number for number, handler in before.items() if callable(handler)]  # others are not Python's, and raise nothing
    try:
        for number in changed:
            signal.signal(number, lambda *signalled: arrived.append(signalled))
        yield
    finally:
        for number in changed:
            signal.signal(number, before[number])
        for arrived_number, frame in arrived:
            handler = before[signal.Signals(arrived_number)]
            assert callable(handler)
            handler(arrived_number, frame)
