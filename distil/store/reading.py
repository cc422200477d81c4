"""Choosing how to read: from memory when the data fits the budget, streamed when it doesn't; what was read stays."""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Unpack

import numpy as np
from pydantic import Field, field_validator

from distil.config import Config
from distil.errors import RunError
from distil.store.budget import available_bytes, needed_bytes, parse_bytes, share_out, stream_large
from distil.store.cache import HeldTable, SharedFolder, has_space, shared_name
from distil.store.heap import SpaceError
from distil.store.order import SampleSource
from distil.store.snapshot import Snapshot
from distil.store.weights import join_weights
from distil.store.windows import Layout, WindowOptions, Windows
from distil.types import Note, unheard

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
        return available_bytes() // 2 if self.memory_budget is None else min(parse_bytes(self.memory_budget), sys.maxsize)


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

    def __init__(self, config: ReadConfig | None = None, *, shared_root: Path | None = None, note: Note = unheard) -> None:
        """Prepare; nothing is read.

        Args:
            config: the settings.
            shared_root: folder in RAM for shared tables; None: one of the user's own in /dev/shm.
            note: told, once, that shared memory has run out of space.
        """
        self._config, self._note_space = config or ReadConfig(), note
        self._root = shared_root or _SHARED_ROOT / f"distil-{os.getuid()}"
        self._tables: dict[str, HeldTable] = {}
        self._folders: dict[str, SharedFolder] = {}
        self._budget: int | None = None
        self.report: ReadReport | None = None

    @property
    def budget_bytes(self) -> int:
        """The budget, decided once: what this reader holds doesn't change its choice, nor does the machine's free memory.

        The order of streamed samples depends on it, so processes that read in parallel set the same one.
        """
        if self._budget is None:
            self._budget = self._config.budget_bytes
        return self._budget

    @budget_bytes.setter
    def budget_bytes(self, value: int) -> None:
        self._budget = value

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
        return self.mixture([parts], [windows])[0]

    def mixture(
        self, stores: Sequence[Sequence[Snapshot]], windows: Sequence[WindowOptions] | None = None
    ) -> list[list[SampleSource]]:
        """Return what `samplers` does, of several stores that share the budget: the small ones are in memory first.

        Args:
            stores: of each, the parts of one version. The same store may come again, with other windows or the same.
            windows: of each store, the fields of `Windows`; None: the defaults for all.
        """
        options = windows or [WindowOptions()] * len(stores)
        layouts = [Layout(parts[0].spec, Windows(**each)) for parts, each in zip(stores, options, strict=True)]
        wholes, budget = [_union(parts) for parts in stores], self.budget_bytes
        needs = [needed_bytes(whole, layout) for whole, layout in zip(wholes, layouts, strict=True)]
        shares = share_out(budget, needs)
        out = stream_large(stores, layouts, needs, shares)
        room, streams, bytes_read, shared = budget - sum(shares[i] for i in out), bool(out), 0, False
        wanted = {shared_name(whole, layout) for whole, layout in zip(wholes, layouts, strict=True)}
        for name in self._tables.keys() - wanted:
            self._forget(name)
        for i in set(range(len(stores))) - out.keys():
            table, out[i], new_bytes = self._held(wholes[i], stores[i], layouts[i], room)
            bytes_read, shared = bytes_read + new_bytes, shared or table.is_shared
        self._note(1 + streams, sum(needs), budget, bytes_read, shared)
        return [out[i] for i in range(len(stores))]

    def _note(self, tier: int, num_bytes: int, budget: int, bytes_read: int, shared: bool) -> None:
        self.report = ReadReport(tier=tier, num_bytes=num_bytes, budget_bytes=budget, bytes_read=bytes_read, shared=shared)

    def _forget(self, name: str) -> None:
        del self._tables[name]
        if name in self._folders:
            self._folders.pop(name).close()

    def _held(
        self, whole: Snapshot, parts: Sequence[Snapshot], layout: Layout, room: int
    ) -> tuple[HeldTable, list[SampleSource], int]:
        """Return the table that holds `parts`, their samplers, and the bytes read from shards for them."""
        table = self._table(whole, layout, room)
        before = table.bytes_read
        try:
            return table, [table.sampler(part) for part in parts], table.bytes_read - before
        except SpaceError as error:
            if not table.is_shared:
                raise
            fault = str(error)
        name = shared_name(whole, layout)
        self._forget(name)
        table = self._tables[name] = HeldTable(layout)  # others keep what they share
        self._note_space(f"{fault.split(';')[0]}: demonstrations are kept in this process's own memory instead")
        return table, [table.sampler(part) for part in parts], table.bytes_read

    def _table(self, snapshot: Snapshot, layout: Layout, room: int) -> HeldTable:
        name, num_bytes = shared_name(snapshot, layout), needed_bytes(snapshot, layout)
        table = self._tables.get(name)
        if table is not None and table.num_bytes + table.share_lacking(snapshot) * num_bytes > room:
            self._forget(name)
            table = self._tables[name] = HeldTable(layout)  # without what isn't wanted any more, which others may still hold
        if table is None:
            table = self._tables[name] = self._new_table(layout, name, num_bytes)
        return table

    def _new_table(self, layout: Layout, name: str, num_bytes: int) -> HeldTable:
        try:
            return HeldTable(layout, self._folder(name, num_bytes))
        except SpaceError:
            self._folders.pop(name).close()
            return HeldTable(layout)

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


def _union(parts: Sequence[Snapshot]) -> Snapshot:
    """Return the view of all episodes of `parts`; they don't overlap."""
    selection = np.concatenate([part.selection for part in parts])
    return replace(parts[0], chosen=selection, weights=join_weights(parts))
