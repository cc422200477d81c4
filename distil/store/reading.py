"""Choosing how to read: from memory when the data fits the budget, streamed when it doesn't; what was read stays."""

from __future__ import annotations

import os
import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Unpack

import numpy as np
import psutil
from pydantic import Field, field_validator

from distil.config import Config
from distil.errors import RunError
from distil.store.cache import HeldTable, SharedFolder, has_space, shared_name
from distil.store.order import SampleSource
from distil.store.rows import RowReader
from distil.store.sampler import whole_episodes
from distil.store.snapshot import Snapshot
from distil.store.stream import StreamSampler
from distil.store.windows import Layout, WindowOptions, Windows, place

_UNITS = {"": 1, "B": 1, "KB": 10**3, "MB": 10**6, "GB": 10**9, "TB": 10**12}
_UNITS |= {"KIB": 1 << 10, "MIB": 1 << 20, "GIB": 1 << 30, "TIB": 1 << 40}
_SIZE = re.compile(r"(\d+(?:\.\d+)?) ?([KMGT]?I?B)?", re.IGNORECASE)
_INDEX_BYTES = 24  # a sample: its row, and the orders of two epochs
_SHARED_ROOT = Path("/dev/shm")


class ReadConfig(Config):
    """How demonstrations are read."""

    memory_budget: int | str | None = Field(default=None)  # bytes, or such as 8GiB; None: half of what is free
    share: bool = True  # one copy for all ranks of a node (Linux)

    @field_validator("memory_budget")
    @classmethod
    def _size(cls, value: int | str | None) -> int | str | None:
        if value is not None and parse_bytes(value) < 1:
            raise ValueError(f"memory_budget {value!r}: write a number of bytes, or such as 500MB or 8GiB")
        return value

    @property
    def budget_bytes(self) -> int:
        """The budget; of None, half of this machine's (or container's) free memory."""
        return available_bytes() // 2 if self.memory_budget is None else parse_bytes(self.memory_budget)


@dataclass(frozen=True, kw_only=True)
class ReadReport:
    """What was chosen, and what it cost."""

    tier: int  # 1: in memory, 2: streamed
    num_bytes: int  # that the samples take in memory
    budget_bytes: int
    bytes_read: int  # from the shards, now
    shared: bool

    def __str__(self) -> str:
        where = "in memory" if self.tier == 1 else "streamed"
        of = f"{self.num_bytes / 1e6:.1f} MB, budget {self.budget_bytes / 1e6:.1f} MB"
        return f"demonstrations {where} ({of}{', shared by the processes of this node' if self.shared else ''})"


class Reader:
    """Reads snapshots for one process, again and again: what is in memory already isn't read twice."""

    def __init__(self, config: ReadConfig | None = None, *, shared_root: Path | None = None) -> None:
        """Prepare; nothing is read.

        Args:
            config: the settings.
            shared_root: folder in RAM for shared tables; None: one of the user's own in /dev/shm.
        """
        self._config = config or ReadConfig()
        self._root = shared_root or _SHARED_ROOT / f"distil-{os.getuid()}"
        self._tables: dict[str, HeldTable] = {}
        self._folders: dict[str, SharedFolder] = {}
        self._budget: int | None = None
        self.report: ReadReport | None = None

    def close(self) -> None:
        """Give the memory back. Samplers that are still in use keep theirs until they go."""
        self._tables.clear()
        while self._folders:
            self._folders.popitem()[1].close()

    def sampler(self, snapshot: Snapshot, **windows: Unpack[WindowOptions]) -> SampleSource:
        """Return a source of samples of `snapshot`; `windows` are the fields of `Windows`."""
        return self.samplers([snapshot], **windows)[0]

    def samplers(self, parts: Sequence[Snapshot], **windows: Unpack[WindowOptions]) -> list[SampleSource]:
        """Return a source for each of `parts` of one version, such as training and validation; one budget serves all.

        Streamed, the first part gets most of the budget, and each other one is in memory if it fits in an eighth of it.
        `report` says what was chosen.

        Raises:
            InputError: a part has nothing to sample, or the budget is too small to stream with.
            RunError: a shard is damaged.
        """
        layout = Layout(parts[0].spec, Windows(**windows))
        whole = _union(parts)
        num_bytes, budget = needed_bytes(whole, layout), self._budget_bytes()
        if num_bytes <= budget:
            table, shared = self._table(whole, layout, num_bytes)
            before = table.bytes_read
            out: list[SampleSource] = [table.sampler(part) for part in parts]
            self._note(1, num_bytes, budget, table.bytes_read - before, shared)
            return out
        small = budget // 8 // max(1, len(parts) - 1)
        first = StreamSampler(parts[0], memory_budget=budget - small * (len(parts) - 1), **windows)
        rest: list[SampleSource] = [self._small(part, layout, small, windows) for part in parts[1:]]
        self._note(2, num_bytes, budget, 0, False)
        return [first, *rest]

    def _small(self, part: Snapshot, layout: Layout, budget: int, windows: WindowOptions) -> SampleSource:
        if needed_bytes(part, layout) <= budget:
            return HeldTable(layout).sampler(part)
        return StreamSampler(part, memory_budget=budget, **windows)

    def _budget_bytes(self) -> int:
        if self._budget is None:  # once: what this reader holds must not change its choice
            self._budget = self._config.budget_bytes
        return self._budget

    def _note(self, tier: int, num_bytes: int, budget: int, bytes_read: int, shared: bool) -> None:
        self.report = ReadReport(tier=tier, num_bytes=num_bytes, budget_bytes=budget, bytes_read=bytes_read, shared=shared)

    def _table(self, snapshot: Snapshot, layout: Layout, num_bytes: int) -> tuple[HeldTable, bool]:
        name = shared_name(snapshot, layout)
        table = self._tables.get(name)
        if table is not None and table.num_bytes + table.share_lacking(snapshot) * num_bytes > self._budget_bytes():
            table = self._tables[name] = HeldTable(layout)  # without what isn't wanted any more, which others may still hold
            if name in self._folders:
                self._folders.pop(name).close()
        if table is None:
            table = self._tables[name] = HeldTable(layout, self._folder(name, num_bytes))
        return table, name in self._folders

    def _folder(self, name: str, num_bytes: int) -> Path | None:
        if not self._config.share or not self._root.parent.is_dir():
            return None
        try:
            folder = self._folders.get(name) or SharedFolder(self._root, name)
        except (OSError, RunError):
            return None  # memory of our own serves as well
        if not has_space(self._root, num_bytes):
            folder.close()
            self._folders.pop(name, None)
            return None
        self._folders[name] = folder
        return folder.path


def needed_bytes(snapshot: Snapshot, layout: Layout) -> int:
    """Return the bytes that all samples of `snapshot` take in memory."""
    pieces = whole_episodes(snapshot, layout.windows)
    out = place(pieces, layout.windows).end * layout.row_bytes + snapshot.num_transitions * _INDEX_BYTES
    if layout.compressed:
        reader = RowReader(snapshot.path, snapshot.entries, snapshot.spec)
        rows = sum(entry.num_rows for entry in snapshot.entries)
        wanted = snapshot.num_transitions + snapshot.num_episodes
        out += -(-sum(reader.blocks_bytes(name) for name in layout.compressed) * wanted // rows)
    return out


def parse_bytes(size: int | str) -> int:
    """Return the bytes of a number or a text such as 500MB or 8GiB; 0 if it is neither."""
    if isinstance(size, int):
        return size
    match = _SIZE.fullmatch(size.strip())
    return int(float(match[1]) * _UNITS[(match[2] or "").upper()]) if match else 0


def available_bytes() -> int:
    """Return the memory that is free here: the machine's, or what a control group leaves."""
    free = int(psutil.virtual_memory().available)
    limit, used = Path("/sys/fs/cgroup/memory.max"), Path("/sys/fs/cgroup/memory.current")
    try:
        return min(free, max(0, int(limit.read_text()) - int(used.read_text())))
    except (OSError, ValueError):
        return free


def _union(parts: Sequence[Snapshot]) -> Snapshot:
    """Return the view of all episodes of `parts`; they don't overlap."""
    joined = {name: np.concatenate([getattr(part.episodes, name) for part in parts]) for name in parts[0].episodes.__dict__}
    selection = np.concatenate([part.selection for part in parts])
    return replace(parts[0], episodes=type(parts[0].episodes)(**joined), selection=selection)
