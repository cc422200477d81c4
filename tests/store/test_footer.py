from __future__ import annotations

import pickle
import random
from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pyarrow as pa
import pytest

from distil.errors import RunError
from distil.store import Store, footer
from distil.store.footer import Footer, describe, footer_metadata, parse_index, read_index, read_tail
from distil.store.schema import INDEX_SCHEMA

Fill = Callable[..., Store]


def test_the_index_is_read_without_the_steps(fill: Fill, monkeypatch: pytest.MonkeyPatch) -> None:
    store = fill([3, 4, 5])
    entry = store.snapshot().entries[0]
    whole = read_index(store.path, entry)
    assert whole.column("length").to_pylist() == [5, 4, 3]
    assert whole.schema.equals(INDEX_SCHEMA)
    monkeypatch.setattr(footer, "_TAIL_BYTES", 64)  # then the footer takes a second read
    assert read_index(store.path, entry).equals(whole)
    path = store.path / entry.path
    content = path.read_bytes()
    tail = read_tail(store.path, entry.path, entry.num_bytes)
    assert content.endswith(tail)
    path.write_bytes(b"\0" * (len(content) - len(tail)) + tail)
    assert read_index(store.path, entry).equals(whole)


def test_a_shard_describes_itself(fill: Fill) -> None:
    store = fill([3, 4])
    entry = store.snapshot().entries[0]
    assert replace(describe(store.path, entry.path, entry.num_bytes), digest=entry.digest) == entry
    path = store.path / entry.path
    content = path.read_bytes()
    for num in (0, 5, 10, 100, entry.num_bytes - 1):
        path.write_bytes(content[:num])
        with pytest.raises(RunError, match="damaged"):
            describe(store.path, entry.path, num)
    with pytest.raises(FileNotFoundError):
        describe(store.path, "data/none.arrow", 100)


@pytest.mark.parametrize("size", [0, -1, 1 << 30, (1 << 31) - 1, 100_000])
def test_impossible_sizes_of_the_footer_are_refused(fill: Fill, size: int) -> None:
    store = fill([3])
    entry = store.snapshot().entries[0]
    path = store.path / entry.path
    content = path.read_bytes()
    path.write_bytes(content[:-10] + size.to_bytes(4, "little", signed=True) + content[-6:])
    with pytest.raises(RunError, match="impossible size"):
        read_index(store.path, entry)


def test_shards_from_before_success_was_kept_read_as_unknown(fill: Fill) -> None:
    store = fill([3, 4])
    entry = store.snapshot().entries[0]
    path = store.path / entry.path
    index = read_index(store.path, entry)
    older = index.select([name for name in index.schema.names if name != "success"])
    with pa.ipc.open_file(pa.BufferReader(path.read_bytes())) as reader:
        table = reader.read_all()
    with pa.ipc.new_file(str(path), table.schema, metadata=footer_metadata(older)) as writer:
        writer.write_table(table)
    num = path.stat().st_size
    assert parse_index(read_tail(store.path, entry.path, num), path).column("success").to_pylist() == [-1, -1]
    snapshot = store.publish(store.manifest().listing((describe(store.path, entry.path, num),), ""))
    assert snapshot is not None
    assert [snapshot.episode(number).success for number in range(2)] == [None, None]


def test_random_changes_are_refused_or_harmless(fill: Fill) -> None:
    """Whatever the footer says, the index that comes has the columns, the counts and the rows that the manifest names."""
    store = fill([3, 4, 5])
    entry = store.snapshot().entries[0]
    path, rng = store.path / entry.path, random.Random(0)
    content = path.read_bytes()
    for _ in range(500):
        mutant = bytearray(content)
        at = len(content) - 1 - rng.randrange(3500)
        mutant[at : at + 4] = rng.choice([rng.randbytes(4), b"\xff" * 4, b"\0" * 4])
        path.write_bytes(mutant[: len(content)])
        try:
            index = read_index(store.path, entry)
        except RunError:
            continue
        assert index.schema.equals(INDEX_SCHEMA)
        assert int(np.sum(index.column("length").to_numpy() + 1)) == entry.num_rows


def test_a_footer_that_travels_stands_for_the_file(fill: Fill) -> None:
    store = fill([3, 4], [0, 1])
    entry = store.snapshot().entries[0]
    whole, footer = read_index(store.path, entry), pickle.loads(pickle.dumps(Footer.read(store.path, entry)))
    (store.path / entry.path).unlink()
    assert footer.index(store.path, entry).equals(whole)


def test_a_wrong_footer_is_never_taken(fill: Fill) -> None:
    """Of a shard of the same size, with its check or without; altered on its way; of a file that isn't what was sealed."""
    store = fill([3, 3], [0, 1])
    entry, other = store.snapshot().entries
    own, others = (Footer.read(store.path, shard) for shard in (entry, other))
    altered = replace(own, tail=own.tail[:300] + bytes([own.tail[300] ^ 1]) + own.tail[301:])
    for wrong in (others, replace(own, tail=others.tail), replace(others, tail=own.tail), altered):
        with pytest.raises(RunError, match=rf"^[^\n]*{entry.path}: [^\n]* another shard's footer, or an altered one; [^\n]*$"):
            Store.open(store.path).shards.tell(entry, wrong)
    (store.path / entry.path).write_bytes((store.path / entry.path).read_bytes()[:-1])
    with pytest.raises(RunError, match=f"{entry.path}: .* truncated or altered"):
        Footer.read(store.path, entry)
