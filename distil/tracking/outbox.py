"""An outbox: the file in a run's folder that holds what the run records, and how much of it has been sent.

RUN/
  outbox.jsonl       one JSON object a line, in the order in which it was recorded; only ever appended to
  outbox.sent.json   where it is sent to, the run's id there, and how many bytes have been sent

A line is one `write` and no fsync: a kill loses nothing, and a line costs some microseconds. A kill may leave a last line
without its end; nobody reads it, and the next writer removes it.
"""

from __future__ import annotations

import fcntl
import json
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from distil.durable import write_all
from distil.errors import RunError
from distil.fence import Check, unfenced

FILE, SENT = "outbox.jsonl", "outbox.sent.json"
Record = dict[str, Any]

_PIECE_BYTES = 1 << 20


@dataclass(frozen=True, kw_only=True)
class Cursor:
    """How much of an outbox has been sent, and to which run."""

    to: str = ""  # MLflow's tracking URI, without passwords
    run_id: str = ""  # MLflow's
    offset: int = 0  # bytes


class Outbox:
    """The records of the run in `folder`. One process at a time appends; any may read.

    `check` is called before it writes; see `distil.fence`.
    """

    def __init__(self, folder: Path, check: Check = unfenced) -> None:
        self.folder, self._check = folder, check
        self.path = folder / FILE
        self._descriptor: int | None = None

    def append(self, kind: str, **data: Any) -> None:
        """Add a record, with the time: when this returns, a kill of the process does not lose it.

        Raises:
            RunError: the disk is full, or refuses.
            SupersededError: see `distil.fence`.
        """
        self._check()
        line = json.dumps({"kind": kind, "at": time.time_ns() // 1_000_000} | data, default=str) + "\n"
        try:
            write_all(self._opened(), line.encode())
        except OSError as error:
            self.close()  # the next record removes what was written of this one
            raise RunError(f"{self.path}: {error.strerror}; free some space, then continue with --resume") from None

    def first(self) -> Record | None:
        """Return the first record, or None if nothing was recorded yet."""
        records = self.read(0)
        return next((record for record, _ in records), None)

    def read(self, offset: int) -> Iterator[tuple[Record, int]]:
        """Yield the complete records from a byte on, each with the byte where the next one begins.

        Raises:
            RunError: a line is damaged.
        """
        with suppress(FileNotFoundError), self.path.open("rb") as file:
            file.seek(offset)
            rest = b""
            while piece := file.read(_PIECE_BYTES):
                *lines, rest = (rest + piece).split(b"\n")
                for line in lines:
                    record = self._parse(line, offset)
                    offset += len(line) + 1
                    yield record, offset

    def left(self) -> int:
        """Return the number of complete records that have not been sent."""
        with suppress(FileNotFoundError), self.path.open("rb") as file:
            file.seek(self.cursor().offset)
            return sum(piece.count(b"\n") for piece in iter(lambda: file.read(_PIECE_BYTES), b""))
        return 0

    def size(self) -> int:
        """Return the number of bytes recorded."""
        try:
            return self.path.stat().st_size
        except FileNotFoundError:
            return 0

    def cursor(self) -> Cursor:
        """Return how much has been sent; a cursor that cannot be read counts as none, since sending twice changes nothing."""
        try:
            return Cursor(**json.loads((self.folder / SENT).read_bytes()))
        except (OSError, ValueError, TypeError):
            return Cursor()

    def keep(self, cursor: Cursor) -> None:
        """Keep how much has been sent."""
        self._check()
        part = self.folder / f".{SENT}.{os.getpid()}.tmp"
        part.write_text(json.dumps(asdict(cursor)) + "\n")
        part.replace(self.folder / SENT)

    @contextmanager
    def sending(self) -> Iterator[bool]:
        """Hold the outbox against other senders; yield whether none has it already."""
        try:
            file = self.path.open("rb")
        except FileNotFoundError:
            yield False
            return
        with file:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                yield False
                return
            except OSError:  # a network file system without locks
                pass
            yield True

    def close(self) -> None:
        """Close the file; the next `append` opens it again."""
        descriptor, self._descriptor = self._descriptor, None
        if descriptor is not None:
            os.close(descriptor)

    def _opened(self) -> int:
        if self._descriptor is None:
            self._descriptor = os.open(self.path, os.O_RDWR | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o666)
            size = os.fstat(self._descriptor).st_size
            if size and os.pread(self._descriptor, 1, size - 1) != b"\n":
                os.ftruncate(self._descriptor, self.path.read_bytes().rfind(b"\n") + 1)
        return self._descriptor

    def _parse(self, line: bytes, offset: int) -> Record:
        try:
            record: Record = json.loads(line)
            record["kind"], record["at"]
        except (ValueError, KeyError, TypeError, RecursionError):
            raise RunError(
                f"{self.path}: the line at byte {offset} is damaged; restore the file, or remove it to give up its records"
            ) from None
        return record


def outboxes(folder: Path, depth: int | None = None) -> list[Outbox]:
    """Return the outboxes in a folder and those below it, down to `depth` folders (None: all), outer ones first."""
    if depth is None:
        found = sorted(folder.rglob(FILE), key=lambda path: (len(path.parts), path))
    else:
        found = [path for level in range(depth + 1) for path in sorted(folder.glob(f"{'*/' * level}{FILE}"))]
    return [Outbox(path.parent) for path in found]
