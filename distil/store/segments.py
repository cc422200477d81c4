"""Segments: immutable files that list many shards each. A version names its segments, so a commit writes only what is new.

A version's own file lists its newest shards, at most `MAX_TAIL`. When there are more, they become a segment; when there are
`FANOUT` segments of about one size, they become one. So n shards are in O(log n) segments, and each shard has been written
O(log n) times. Segments stay as they are for the older versions that name them, until `gc` finds that none does.
"""

from __future__ import annotations

import re
import secrets
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import chain, takewhile
from typing import Any

import xxhash

from distil.errors import RunError
from distil.store.backend import backend, read_json
from distil.store.entry import ShardEntry
from distil.store.files import dump_json
from distil.store.location import Location

SEGMENTS = "segments"
MAX_TAIL, FANOUT = 16, 4
_NAME = re.compile(r"([0-9a-f]{32})-[0-9a-f]{8}")
_FILE = re.compile(rf"{SEGMENTS}/({_NAME.pattern})\.json")


@dataclass(frozen=True, kw_only=True)
class Sums:
    """What some shards have together."""

    num_shards: int = 0
    num_bytes: int = 0
    num_episodes: int = 0
    num_transitions: int = 0

    @staticmethod
    def of(entries: Sequence[ShardEntry]) -> Sums:
        """Return the sums of `entries`."""
        return Sums(
            num_shards=len(entries),
            num_bytes=sum(entry.num_bytes for entry in entries),
            num_episodes=sum(entry.num_episodes for entry in entries),
            num_transitions=sum(entry.num_transitions for entry in entries),
        )

    def __add__(self, other: Sums) -> Sums:
        return Sums(**{name: value + getattr(other, name) for name, value in self.__dict__.items()})


class Segment:
    """A list of shards in a file of its own, which is read when it is first asked for."""

    def __init__(self, name: str, num_shards: int, load: Callable[[], tuple[ShardEntry, ...]]) -> None:
        """Name a segment.

        Args:
            name: of its file; it tells the content.
            num_shards: in it.
            load: reads it.
        """
        self.name, self.num_shards, self._load = name, num_shards, load

    @cached_property
    def entries(self) -> tuple[ShardEntry, ...]:
        """Its shards; RunError if the file is damaged or missing."""
        return self._load()

    @cached_property
    def sums(self) -> Sums:
        """What its shards have together."""
        return Sums.of(self.entries)


def segment_key(name: str) -> str:
    """Return the key of a segment's file."""
    return f"{SEGMENTS}/{name}.json"


def segment_name(key: str) -> str | None:
    """Return the name of the segment that a file is of; None if it is none."""
    match = _FILE.fullmatch(key)
    return match[1] if match else None


def refer(data: Any, root: Location, store: str, row_bytes: int) -> Segment:
    """Return the segment that a version refers to by `data`, [name, number of shards]; ValueError if that can't be true."""
    name, num_shards = data
    if not isinstance(name, str) or not _NAME.fullmatch(name) or type(num_shards) is not int or num_shards < 1:
        raise ValueError(f"segment {name!r} makes no sense")
    return Segment(name, num_shards, lambda: _read(root, name, num_shards, store, row_bytes))


def _read(root: Location, name: str, num_shards: int, store: str, row_bytes: int) -> tuple[ShardEntry, ...]:
    where = root / segment_key(name)
    try:
        data = read_json(root, segment_key(name))
        if xxhash.xxh3_128_hexdigest(dump_json(data)) != name.split("-")[0] or data["store"] != store:
            raise ValueError("it belongs to another store or has another name")
        return _parse(data["shards"], num_shards, row_bytes)
    except FileNotFoundError:
        raise RunError(f"{where}: the list of shards is missing; restore it from a copy or read an older snapshot") from None
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise RunError(f"{where}: refused: {error}; restore it from a copy or read an older snapshot") from None


def _parse(columns: Mapping[str, list[Any]], num_shards: int, row_bytes: int) -> tuple[ShardEntry, ...]:
    rows = zip(*columns.values(), strict=True)
    entries = tuple(ShardEntry.from_json(dict(zip(columns, row, strict=True)), row_bytes) for row in rows)
    if len({entry.path for entry in entries}) != num_shards or len(entries) != num_shards:
        raise ValueError("it lists a shard twice, or not as many as it should")
    return entries


def write_segment(root: Location, store: str, entries: Sequence[ShardEntry]) -> Segment:
    """Write a new segment durably, which no version names yet."""
    columns = {name: [getattr(entry, name) for entry in entries] for name in ShardEntry.__dataclass_fields__}
    content = dump_json({"store": store, "shards": columns})
    name = f"{xxhash.xxh3_128_hexdigest(content)}-{secrets.token_hex(4)}"  # a new name even for old content, which gc may take
    backend(root).put_if_absent(segment_key(name), content)
    listed = tuple(entries)
    return Segment(name, len(listed), lambda: listed)


def fold(segments: Sequence[Segment], tail: Sequence[ShardEntry]) -> tuple[tuple[Segment, ...], tuple[ShardEntry, ...]]:
    """Return the segments that stay, and the shards that make a new one: the last segments' and those of `tail`."""
    sizes, num_new = [segment.num_shards for segment in segments], len(tail)
    while num := _num_merged(sizes, num_new):
        num_new += sum(sizes[-num:])
        del sizes[-num:]
    merged = segments[len(sizes) :]
    return tuple(segments[: len(sizes)]), (*chain.from_iterable(segment.entries for segment in merged), *tail)


def _num_merged(sizes: Sequence[int], num_new: int) -> int:
    """Return how many of the last segments become one with `num_new` new shards: enough of that size, or all much smaller."""
    alike = len(list(takewhile(lambda size: size < FANOUT * num_new, reversed(sizes))))
    small = len(list(takewhile(lambda size: size * FANOUT <= num_new, reversed(sizes))))
    return alike if alike >= FANOUT - 1 else small
