"""The sender: a thread that sends the outboxes of one run, or of all runs below a folder, while they are written.

It never delays the run. While MLflow does not answer, it asks again at growing intervals. At the end of the run it gives up,
and `distil sync` sends what is left.
"""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable, Sequence
from pathlib import Path

from distil.errors import InputError, RunError
from distil.tracking.delivery import Delivery
from distil.tracking.outbox import Outbox
from distil.tracking.server import Server
from distil.types import Note, unheard

_EVERY_S = 1.0
_RETRY_S, _RETRY_MAX_S = 1.0, 15.0
_ANSWER_S, _LAST_ANSWER_S = 2.0, 0.3  # to connect: during the run, and in the main thread at its start and its end
_STALL_S, _END_S = 5.0, 30.0  # at the end of the run: without any progress, and in total
_FILE_STALL_S, _FILE_END_S = (
    60.0,
    120.0,
)  # the same for a database on this machine, whose other users are processes like this one


class Sender:
    """Sends outboxes to one MLflow from a thread of its own.

    Args:
        server: where to.
        find: returns the outboxes; outer runs come before those that belong to them.
        note: shown in one line what does not work. It is called in the thread that calls this object.
    """

    def __init__(self, server: Server, find: Callable[[], Sequence[Outbox]], note: Note = unheard) -> None:
        self._server, self._find, self._note = server, find, note
        self._deliveries: dict[Path, Delivery] = {}
        self._wake, self._closing = threading.Event(), False
        self._thread: threading.Thread | None = None
        self._news: list[str] = []
        self._fault: str | None = None  # why the last attempt failed
        self._moved_at = 0.0

    def start(self) -> None:
        """Start the thread. MLflow is imported here if it answers: a thread would only compete with the run for the CPU."""
        try:
            self._server.require_answer(_LAST_ANSWER_S)
            self._server.client  # noqa: B018
        except Exception as error:  # the thread tries again
            self._failed(error)
        self._thread = threading.Thread(target=self._run, name="distil-tracking", daemon=True)
        self._thread.start()

    def tell(self) -> None:
        """Show what did not work since the last call."""
        while self._news:
            self._note(self._news.pop(0))

    def close(self) -> None:
        """Send what is left, for a short time while there is progress; say what is left then."""
        assert self._thread is not None, "it was started"
        self._closing, self._moved_at = True, time.monotonic()
        stall_s, end_s = (_FILE_STALL_S, _FILE_END_S) if self._server.is_file else (_STALL_S, _END_S)
        ends = self._moved_at + end_s
        self._wake.set()
        while self._thread.is_alive() and time.monotonic() < min(ends, self._moved_at + stall_s):
            self._thread.join(0.05)
        self._news = [text for text in self._news if text != self._told()]  # the next line says so, too
        self.tell()
        self._say_left()

    def _say_left(self) -> None:
        left = {outbox.folder: num for outbox in self._find() if (num := outbox.left())}
        if left:
            why = self._fault or f"MLflow at {self._server.name} is slow"
            self._note(f"{why}; {sum(left.values())} records are left: send them with distil sync {os.path.commonpath(left)}")

    def _run(self) -> None:
        wait_s = _RETRY_S
        while True:
            closing = self._closing
            try:
                self._send(_LAST_ANSWER_S if closing else _ANSWER_S)
                self._fault, wait_s = None, _RETRY_S
            except Exception as error:  # MLflow passes on whatever SQLAlchemy, requests or a plugin raises
                self._failed(error)
                wait_s = min(_RETRY_MAX_S, 2 * wait_s)
            if closing:
                return
            self._wake.wait(wait_s if self._fault else _EVERY_S)

    def _send(self, timeout_s: float) -> None:
        """Send what there is. A run that MLflow refuses stops no other one; that MLflow does not answer stops them all."""
        refused: Exception | None = None
        waiting = [delivery for outbox in self._find() if not (delivery := self._delivery(outbox)).is_done]
        if waiting:
            self._server.require_answer(timeout_s)
        for delivery in waiting:
            try:
                delivery.send(self._has_moved)
            except Exception as error:
                if not _is_refusal(error):
                    raise
                refused = refused or error
        if refused is not None:
            raise refused

    def _delivery(self, outbox: Outbox) -> Delivery:
        if outbox.path not in self._deliveries:
            self._deliveries[outbox.path] = Delivery(self._server, outbox, self._news.append)
        return self._deliveries[outbox.path]

    def _has_moved(self) -> None:
        self._moved_at = time.monotonic()

    def _failed(self, error: Exception) -> None:
        is_first = self._fault is None
        self._fault = self._server.fault(error)
        if is_first:
            self._news.append(self._told())

    def _told(self) -> str:
        return f"{self._fault}; the run continues, and its records are sent later"


def _is_refusal(error: Exception) -> bool:
    """Return whether it is about one run: MLflow answered that it does not want a record, or a file is damaged."""
    if isinstance(error, InputError | RunError):
        return True
    status = getattr(error, "get_http_status_code", lambda: 500)()
    return isinstance(status, int) and 400 <= status < 500 and status != 429
