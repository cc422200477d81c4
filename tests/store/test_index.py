from __future__ import annotations

import numpy as np
import pyarrow as pa

from distil.store.index import gather_index
from distil.store.schema import INDEX_SCHEMA


def batch(*uids: str) -> pa.RecordBatch:
    columns = {field.name: [0] * len(uids) for field in INDEX_SCHEMA}
    columns |= {"uid": list(uids), "source": [f"by {uid}" for uid in uids], "digest": [uid.encode() * 16 for uid in uids]}
    columns["seed"] = [ord(uid) for uid in uids]
    return pa.RecordBatch.from_pydict(columns, INDEX_SCHEMA)


def test_the_order_is_by_uid_whatever_the_shards_are() -> None:
    index = gather_index(pa.Table.from_batches([batch("c", "a"), batch("b")]), [2, 1])
    assert index.uid.tolist() == ["a", "b", "c"]
    assert index.shard.tolist() == [0, 1, 0]
    assert index.seed.tolist() == [97, 98, 99]
    assert index.source.tolist() == ["by a", "by b", "by c"]
    assert index.digest[2].tobytes() == b"c" * 16


def test_empty_and_taken() -> None:
    assert len(gather_index(pa.Table.from_batches([], INDEX_SCHEMA), [])) == 0
    taken = gather_index(pa.Table.from_batches([batch("a", "b", "c")]), [3]).take(np.array([2, 0]))
    assert taken.uid.tolist() == ["c", "a"]
    assert len(taken) == 2
