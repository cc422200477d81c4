"""A run's journal: one JSON object a line, durable when `append` returns. It is read once, and then kept in memory."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

from distil.durable import fsync_folder, write_all
from distil.errors import RunError
from distil.fence import Check, unfenced

Entry = dict[str, Any]


class Journal:
    """The lines of one file, as they are when it is opened, and those that this object appends. Mutable.

    One process at a time appends. A last line without its end was torn by a kill: it is not read, and the next `append`
    removes it.
    """

    def __init__(self, path: Path, check: Check = unfenced) -> None:
        """Read the file `path`; the first `append` makes it.

        Args:
            path: of the file.
            check: called before each line is written; see `distil.fence`.

        Raises:
            RunError: a line is damaged.
        """
        self._path, self._check = path, check
        self._entries: list[Entry] = []
        self._by_kind: dict[str, list[Entry]] = {}
        self._last: dict[tuple[str, Any], Entry] = {}
        self._end = 0  # of the last complete line, in bytes
        content = self._path.read_bytes() if self._path.exists() else b""
        self._take(content[: content.rfind(b"\n") + 1])

    def append(self, kind: str, **data: Any) -> None:
        """Add a line durably: when this returns, a kill does not lose it. What `check` raises is passed on."""
        line = (json.dumps({"kind": kind} | data) + "\n").encode()
        new = not self._path.exists()
        descriptor = os.open(self._path, os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC, 0o666)
        try:
            self._check()
            os.ftruncate(descriptor, self._end)
            os.lseek(descriptor, self._end, os.SEEK_SET)
            write_all(descriptor, line)
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
        if new:
            fsync_folder(self._path.parent)
        self._take(line)

    def entries(self, kind: str | None = None) -> list[Entry]:
        """Return the complete lines, oldest first: all of them, or those of one kind."""
        return list(self._entries if kind is None else self._by_kind.get(kind, ()))

    def find(self, kind: str, round_index: int) -> Entry | None:
        """Return the last line of that kind and round, or None."""
        return self._last.get((kind, round_index))

    def _parse(self, line: bytes) -> Entry:
        try:
            entry: Entry = json.loads(line)
            hash((entry["kind"], entry.get("round")))
        except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
            number = len(self._entries) + 1
            raise RunError(f"{self._path} line {number}: damaged; restore it from a copy, or start the run anew") from None
        return entry

    def _take(self, lines: bytes) -> None:
        for line in lines.splitlines():
            entry = self._parse(line)
            self._entries.append(entry)
            self._by_kind.setdefault(entry["kind"], []).append(entry)
            self._last[entry["kind"], entry.get("round")] = entry
        self._end += len(lines)
