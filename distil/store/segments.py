"""Segments: immutable files that list many shards each. A version names its segments, so a commit writes only what is new.

A version's own file lists its newest shards, at most `MAX_TAIL`. When there are more, they become a segment; when there are
`FANOUT` segments of about one size, they become one. So n shards are in O(log n) segments, and each shard has been written
O(log n) times. Segments stay as they are for the older versions that name them, until `gc` finds that none does.

    segments/NAME.json     the shards, column by column, and the name of the next file
    segments/NAME.arrow    the index of their episodes, joined from the shards' footers: a store is opened without them

Names begin with the xxh3-128 of the content. The second file may be missing (older ones have none): it only saves time.
"""

from __future__ import annotations

import binascii
import json
import re
import secrets
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import chain, takewhile
from typing import Any

import pyarrow as pa
import xxhash

from distil.errors import RunError
from distil.store.backend import backend, read_small
from distil.store.entry import READ_FAULTS, ShardEntry, check_columns
from distil.store.files import dump_json
from distil.store.footer import check_index, index_stream, parse_stream
from distil.store.location import Location

SEGMENTS = "segments"
MAX_TAIL, FANOUT = 16, 4
_NAME = re.compile(r"([0-9a-f]{32})-[0-9a-f]{8}")
_FILE = re.compile(rf"{SEGMENTS}/{_NAME.pattern}\.(json|arrow)")
_FIELDS = tuple(ShardEntry.__dataclass_fields__)


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


@dataclass(frozen=True, eq=False)
class Listing:
    """Some shards, column by column: 100,000 of them are read in a tenth of a second."""

    columns: Mapping[str, list[Any]]  # field of `ShardEntry` -> its value of each shard
    episodes: str = ""  # name of the file with the index of their episodes; empty: there is none

    @staticmethod
    def of(entries: Sequence[ShardEntry]) -> Listing:
        """Return the listing of `entries`."""
        return Listing({name: [getattr(entry, name) for entry in entries] for name in _FIELDS})

    @cached_property
    def entries(self) -> tuple[ShardEntry, ...]:
        """The shards."""
        rows = zip(*(self.columns[name] for name in _FIELDS), strict=True)
        return tuple(ShardEntry(**dict(zip(_FIELDS, row, strict=True))) for row in rows)

    @cached_property
    def sums(self) -> Sums:
        """What they have together."""
        names = ("num_bytes", "num_episodes", "num_transitions")
        return Sums(num_shards=len(self.columns["path"]), **{name: sum(self.columns[name]) for name in names})


class Segment:
    """A list of shards in a file of its own, which is read when it is first asked for."""

    def __init__(
        self,
        name: str,
        num_shards: int,
        load: Callable[[], Listing],
        load_index: Callable[[Listing], pa.RecordBatch | None] = lambda listing: None,
    ) -> None:
        """Name a segment.

        Args:
            name: of its file; it tells the content.
            num_shards: in it.
            load: reads it.
            load_index: reads the index of their episodes, if there is one.
        """
        self.name, self.num_shards, self._load, self._load_index = name, num_shards, load, load_index

    @cached_property
    def listing(self) -> Listing:
        """Its shards; RunError if the file is damaged or missing."""
        return self._load()

    @cached_property
    def index(self) -> pa.RecordBatch | None:
        """The index of the episodes, shard by shard (columns of `INDEX_SCHEMA`); None: it is only in the shards' footers.

        RunError if its file is damaged.
        """
        return self._load_index(self.listing)

    @property
    def entries(self) -> tuple[ShardEntry, ...]:
        """See `Listing.entries`."""
        return self.listing.entries

    @property
    def sums(self) -> Sums:
        """See `Listing.sums`."""
        return self.listing.sums

    @property
    def keys(self) -> list[str]:
        """Its files, of which the second may be missing."""
        return [segment_key(self.name), *([_index_key(self.listing.episodes)] if self.listing.episodes else [])]


def segment_key(name: str) -> str:
    """Return the key of a segment's file."""
    return f"{SEGMENTS}/{name}.json"


def _index_key(name: str) -> str:
    return f"{SEGMENTS}/{name}.arrow"


def is_segment(key: str) -> bool:
    """Return whether a key is that of a segment's file."""
    return _FILE.fullmatch(key) is not None


def refer(data: Any, root: Location, store: str, row_bytes: int) -> Segment:
    """Return the segment that a version refers to by `data`, [name, number of shards]; ValueError if that can't be true."""
    name, num_shards = data
    if not isinstance(name, str) or not _NAME.fullmatch(name) or type(num_shards) is not int or num_shards < 1:
        raise ValueError(f"segment {name!r} makes no sense")
    return Segment(
        name,
        num_shards,
        lambda: _read(root, name, num_shards, store, row_bytes),
        lambda listing: _read_index(root, listing),
    )


def _read(root: Location, name: str, num_shards: int, store: str, row_bytes: int) -> Listing:
    where = root / segment_key(name)
    try:
        raw = read_small(root, segment_key(name))
        data: dict[str, Any] = json.loads(raw) if _is_named(raw, name) else {}
        if data.get("store") != store:
            raise ValueError("it belongs to another store or has another name, or it is damaged")
        columns, episodes = {field: data["shards"][field] for field in _FIELDS}, data.get("episodes", "")
        if {len(column) for column in columns.values()} != {num_shards} or len(set(columns["path"])) != num_shards:
            raise ValueError("it lists a shard twice, or not as many as it should")
        check_columns(columns, row_bytes)
        if episodes and not _NAME.fullmatch(episodes):
            raise ValueError(f"index {episodes!r} makes no sense")
        return Listing(columns, episodes)
    except FileNotFoundError:
        raise RunError(f"{where}: the list of shards is missing; restore it from a copy or read an older snapshot") from None
    except (KeyError, TypeError, ValueError, AttributeError, RecursionError) as error:
        raise RunError(f"{where}: refused: {error}; restore it from a copy or read an older snapshot") from None


def _read_index(root: Location, listing: Listing) -> pa.RecordBatch | None:
    if not listing.episodes:
        return None
    where = root / _index_key(listing.episodes)
    try:
        raw = backend(root).get(_index_key(listing.episodes))
        if not _is_named(raw, listing.episodes):
            raise ValueError("it is damaged or has another name")
        index = parse_stream(raw)
        check_index(index, listing.columns["num_episodes"], listing.columns["num_rows"])
    except FileNotFoundError:
        return None
    except (*READ_FAULTS, binascii.Error, StopIteration) as error:
        raise RunError(f"{where}: refused: {error}; remove it: the shards have the same, which takes longer to read") from None
    return index


def _is_named(content: bytes, name: str) -> bool:
    return xxhash.xxh3_128_hexdigest(content) == name.split("-")[0]


def _named(content: bytes) -> str:
    """Return a name for a file: a new one even for old content, which gc may take."""
    return f"{xxhash.xxh3_128_hexdigest(content)}-{secrets.token_hex(4)}"


def write_segment(root: Location, store: str, listings: Sequence[Listing], index: pa.RecordBatch | None = None) -> Segment:
    """Write a new segment durably of all shards of some listings and the index of their episodes."""
    columns = {name: [*chain(*(listing.columns[name] for listing in listings))] for name in _FIELDS}
    episodes = ""
    if index is not None:
        content = index_stream(index)
        episodes = _named(content)
        backend(root).put_if_absent(_index_key(episodes), content)
    content = dump_json({"store": store, "shards": columns} | ({"episodes": episodes} if episodes else {}))
    name, listing = _named(content), Listing(columns, episodes)
    backend(root).put_if_absent(segment_key(name), content)
    return Segment(name, listing.sums.num_shards, lambda: listing, lambda _: index)


def fold(segments: Sequence[Segment], num_new: int) -> int:
    """Return how many segments stay when `num_new` shards come; the others and these shards make a new one."""
    sizes = [segment.num_shards for segment in segments]
    while num := _num_merged(sizes, num_new):
        num_new += sum(sizes[-num:])
        del sizes[-num:]
    return len(sizes)


def _num_merged(sizes: Sequence[int], num_new: int) -> int:
    """Return how many of the last segments become one with `num_new` new shards: enough of that size, or all much smaller."""
    alike = len(list(takewhile(lambda size: size < FANOUT * num_new, reversed(sizes))))
    small = len(list(takewhile(lambda size: size * FANOUT <= num_new, reversed(sizes))))
    return alike if alike >= FANOUT - 1 else small
