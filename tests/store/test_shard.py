from __future__ import annotations

import os
import random
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
import xxhash

from distil.errors import RunError
from distil.store import Store
from distil.store.schema import INDEX_HASH_KEY, INDEX_KEY
from distil.store.shard import ShardEntry, open_shard, read_index

Fill = Callable[..., Store]


@pytest.fixture
def store(fill: Fill) -> Store:
    return fill([3, 4])


def only(store: Store) -> tuple[Path, ShardEntry]:
    entry = store.snapshot().entries[0]
    return store.path / entry.path, entry


def test_columns_are_views_of_the_mapped_file(store: Store) -> None:
    with open_shard(store.path, only(store)[1], store.spec) as shard:
        before = pa.total_allocated_bytes()
        observations = shard.column("obs")
        assert observations.shape == (9, 2)
        assert not observations.flags.writeable
        assert not observations.flags.owndata
        assert pa.total_allocated_bytes() == before
        assert shard.column("step").tolist() == [0, 1, 2, 3, 4, 0, 1, 2, 3]
        assert shard.column("episode").tolist() == [0] * 5 + [1] * 4


def test_a_shard_is_a_plain_arrow_file_of_one_batch(store: Store) -> None:
    path, entry = only(store)
    with pa.ipc.open_file(str(path)) as reader:
        assert reader.num_record_batches == 1
        reader.read_all().validate(full=True)
        footer = reader.metadata
    assert all(value.decode().isascii() for value in footer.values())  # other Arrow readers insist on text
    assert (entry.num_rows, entry.num_episodes, entry.num_transitions) == (9, 2, 7)
    assert entry.digest == xxhash.xxh3_128_hexdigest(path.read_bytes())
    assert ShardEntry.from_json(entry.to_json(), store.spec.row_bytes) == entry


def test_a_last_row_has_only_an_observation(store: Store) -> None:
    """CORRECTNESS 2: the row after the last action keeps the final observation."""
    with open_shard(store.path, only(store)[1], store.spec) as shard:
        assert shard.column("obs")[4].tolist() == [1004.0, -4.0]
        for name in ("action", "expert_action", "reward", "labelled", "acted_by_expert", "terminated", "truncated"):
            assert not shard.column(name)[[4, 8]].any()


def test_truncated_missing_and_foreign_files_are_named(store: Store) -> None:
    path, entry = only(store)
    content = path.read_bytes()
    for damaged, text in (
        (content[:-1], "truncated or altered"),
        (b"x" * len(content), "damaged"),
        (b"", "truncated or altered"),
    ):
        path.write_bytes(damaged)
        with pytest.raises(RunError, match=f"{path.name}: .*{text}"):
            read_index(store.path, entry)
        with pytest.raises(RunError, match=f"{path.name}: .*{text}"), open_shard(store.path, entry, store.spec):
            pass
    path.unlink()
    with pytest.raises(RunError, match=f"{path.name}: the shard is missing"):
        read_index(store.path, entry)
    path.mkdir()
    with pytest.raises(RunError, match="not a plain file"):
        read_index(store.path, entry)


def test_a_link_out_of_the_folder_is_refused(store: Store, tmp_path: Path) -> None:
    path, entry = only(store)
    path.rename(tmp_path / "elsewhere.arrow")
    path.symlink_to(tmp_path / "elsewhere.arrow")
    with pytest.raises(RunError, match="not a plain file"):
        read_index(store.path, entry)


def test_other_counts_than_the_manifests_are_refused(store: Store) -> None:
    _, entry = only(store)
    with pytest.raises(RunError, match="doesn't fit the manifest"):
        read_index(store.path, replace(entry, num_episodes=3))
    with pytest.raises(RunError, match="lengths of its episodes"):
        read_index(store.path, replace(entry, num_rows=10))
    with pytest.raises(RunError, match="9 rows, not 10"), open_shard(store.path, replace(entry, num_rows=10), store.spec):
        pass


def rewrite(store: Store, footer: dict[bytes, bytes]) -> ShardEntry:
    """Write the shard again with another footer, as a malicious writer could."""
    path, entry = only(store)
    with pa.ipc.open_file(pa.BufferReader(path.read_bytes())) as reader:
        table, kept = reader.read_all(), dict(reader.metadata)
    with pa.ipc.new_file(str(path), table.schema, metadata=kept | footer) as writer:
        writer.write_table(table)
    return replace(entry, num_bytes=path.stat().st_size, digest=xxhash.xxh3_128_hexdigest(path.read_bytes()))


@pytest.mark.parametrize(
    ("footer", "text"),
    [
        ({b"distil.format": b"2"}, "format version 2, this distil reads 1; upgrade"),
        ({b"distil.format": b"x"}, "damaged"),
        ({INDEX_KEY: b"!!"}, "damaged"),
        ({INDEX_KEY: b"AAAA"}, "index of its episodes is altered"),
        ({INDEX_HASH_KEY: b"0"}, "index of its episodes is altered"),
    ],
)
def test_a_foreign_footer_is_refused(store: Store, footer: dict[bytes, bytes], text: str) -> None:
    entry = rewrite(store, footer)
    with pytest.raises(RunError, match=text):
        read_index(store.path, entry)


def test_1000_flipped_bits_never_crash_a_reader_or_change_a_shape(store: Store) -> None:
    path, entry = only(store)
    content, rng = path.read_bytes(), random.Random(0)
    for _ in range(1000):
        flipped = bytearray(content)
        flipped[rng.randrange(len(content))] ^= 1 << rng.randrange(8)
        path.write_bytes(flipped)
        try:
            assert read_index(store.path, entry).num_rows == 2
            with open_shard(store.path, entry, store.spec) as shard:
                for column in store.spec.columns():
                    values = shard.column(column.name)
                    assert values.shape == (9, *column.shape)
                    np.array(values)
        except RunError as error:
            assert path.name in str(error)  # noqa: PT017
            assert "\n" not in str(error)  # noqa: PT017
    assert not [name for name in os.listdir(path.parent) if name != path.name]
