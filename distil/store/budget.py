"""Dividing a budget of memory among the stores that are read: what each needs, and streams for those that need more."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

import psutil

from distil.errors import InputError
from distil.store.blocks import BudgetError
from distil.store.cache import HeldTable
from distil.store.order import SampleSource
from distil.store.rows import RowReader
from distil.store.sampler import whole_episodes
from distil.store.snapshot import Snapshot
from distil.store.stream import StreamSampler
from distil.store.weights import WEIGHT_BYTES
from distil.store.windows import Layout, place

_UNITS = {"": 1, "B": 1, "KB": 10**3, "MB": 10**6, "GB": 10**9, "TB": 10**12}
_UNITS |= {"KIB": 1 << 10, "MIB": 1 << 20, "GIB": 1 << 30, "TIB": 1 << 40}
_SIZE = re.compile(r"(\d+(?:\.\d+)?) ?([KMGT]?I?B)?", re.IGNORECASE)
_INDEX_BYTES = 24  # a sample: its row, and the orders of two epochs


def parse_bytes(size: int | str) -> int:
    """Return the bytes of a number or a text such as 500MB or 8GiB; 0 if it is neither."""
    if isinstance(size, int):
        return size
    match = _SIZE.fullmatch(size.strip())
    return int(float(match[1]) * _UNITS[(match[2] or "").upper()]) if match else 0


def available_bytes(group: Path = Path("/sys/fs/cgroup")) -> int:
    """Return the memory that is free here: the machine's, or what the control group `group` leaves.

    Cached files count as free, since the system drops them when memory is needed.
    """
    free = int(psutil.virtual_memory().available)
    try:
        limit, used = (int((group / name).read_text()) for name in ("memory.max", "memory.current"))
        facts = dict(line.split() for line in (group / "memory.stat").read_text().splitlines())
        return min(free, max(0, limit - used + int(facts.get("inactive_file", 0))))
    except (OSError, ValueError):
        return free


def needed_bytes(snapshot: Snapshot, layout: Layout) -> int:
    """Return the bytes that all samples of `snapshot` take in memory."""
    pieces = whole_episodes(snapshot, layout.windows)
    index_bytes = _INDEX_BYTES + (snapshot.weights is not None) * WEIGHT_BYTES
    out = place(pieces, layout.windows).end * layout.row_bytes + snapshot.num_transitions * index_bytes
    if layout.compressed:
        reader = RowReader(snapshot.path, snapshot.entries, snapshot.spec)
        rows = sum(entry.num_rows for entry in snapshot.entries)
        wanted = snapshot.num_transitions + snapshot.num_episodes
        out += -(-sum(reader.blocks_bytes(name) for name in layout.compressed) * wanted // rows)
    return out


def share_out(budget: int, needs: Sequence[int]) -> list[int]:
    """Return each store's part of the budget: what it needs, or else as much as any other one gets."""
    shares, rest = [0] * len(needs), budget
    ascending = sorted(range(len(needs)), key=lambda i: needs[i])
    for done, i in enumerate(ascending):
        level = rest // (len(needs) - done)
        shares[i] = level if done == len(needs) - 1 else min(needs[i], level)
        rest -= shares[i]
    return shares


class _ShareError(Exception):
    """A store can't be streamed with its share of the budget; `share` is one that suffices."""

    def __init__(self, what: str, share: int) -> None:
        super().__init__(what)
        self.share = share


def stream_large(
    stores: Sequence[Sequence[Snapshot]], layouts: Sequence[Layout], needs: Sequence[int], shares: Sequence[int]
) -> dict[int, list[SampleSource]]:
    """Return the sources of those stores that need more than their share; InputError says which budget suffices for all."""
    out, faults = dict[int, list[SampleSource]](), list[_ShareError]()
    for i in (i for i, need in enumerate(needs) if need > shares[i]):
        try:
            out[i] = _stream(stores[i], layouts[i], shares[i])
        except _ShareError as error:
            faults.append(error)
    if faults:
        level = max(fault.share for fault in faults)
        total = sum(min(need, level) for need in needs)
        raise InputError(f"{faults[0]}: set learner.read.memory_budget to at least {total} bytes, it is {sum(shares)}")
    return out


def _stream(parts: Sequence[Snapshot], layout: Layout, share: int) -> list[SampleSource]:
    """Return the sources of a store's parts, which divide its share of the budget.

        |<------ 7/8, or all of it without others: the first part ------>|<- 1/8: the others, in equal parts ->|

    The first part is streamed. Another one is held in memory if it fits into its part of the eighth.
    """
    num_others = len(parts) - 1
    small = share // 8 // max(1, num_others)
    out, faults = list[SampleSource](), list[_ShareError]()
    for i, part in enumerate(parts):
        held = needed_bytes(part, layout)
        if i and held <= small:
            out.append(HeldTable(layout).sampler(part))
            continue
        budget = small if i else share - small * num_others
        try:
            out.append(StreamSampler(part, memory_budget=budget, **asdict(layout.windows)))
        except BudgetError as error:
            if i:
                which, need = "held-out episodes, which get an eighth of it", min(held, error.needed_bytes) * 8 * num_others
            else:
                which, need = "training episodes", error.needed_bytes * 8 // (8 - bool(num_others)) + 1
            faults.append(_ShareError(f"{part.path}: too little memory to stream the {which}", need))
    if faults:
        raise max(faults, key=lambda fault: fault.share)
    return out
