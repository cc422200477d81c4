"""A snapshot's episodes and steps as Arrow tables, for DuckDB, Polars, pandas and whatever else reads Arrow.

One line, where `episodes = query.episodes(store.snapshot())`:
`duckdb.sql("SELECT source, avg(total_reward) FROM episodes GROUP BY source")`; the same with `steps`.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import fields

import numpy as np
import pyarrow as pa
import pyarrow.dataset as ds

from distil.store.shard import open_shard
from distil.store.snapshot import Snapshot
from distil.types import Array

_BATCH_ROWS = 1 << 16
_NOT_FACTS = ("digest", "shard", "first_row")


def episodes(snapshot: Snapshot) -> pa.Table:
    """Return one row an episode, in the snapshot's order: uid, length, total_reward, terminated, source and so on."""
    facts = snapshot.episodes
    names = [item.name for item in fields(facts) if item.name not in _NOT_FACTS]
    columns: dict[str, Array] = {name: getattr(facts, name) for name in names}
    return pa.table(
        {name: pa.array(values.tolist() if values.dtype.kind == "U" else values) for name, values in columns.items()}
    )


def steps(snapshot: Snapshot) -> ds.Dataset:
    """Return one row a step, T + 1 an episode, as a pyarrow dataset over the mapped shards: a column is read when it is used.

    The columns are the store's, and `uid` in the place of `episode`. A value of more than one number is a list, flattened in
    C order. An episode's last row (`step` = its length) has only an observation, zeros elsewhere: leave it out with
    `labelled = 1`, or keep it for the final observation.
    """
    schema = pa.schema([pa.field("uid", pa.dictionary(pa.int32(), pa.string())), *_fields(snapshot)])
    return ds.dataset(list(_batches(snapshot, schema)), schema=schema)


def _fields(snapshot: Snapshot) -> Iterator[pa.Field]:
    for column in snapshot.spec.columns():
        if column.name != "episode":
            value = pa.from_numpy_dtype(column.dtype)
            kind = pa.list_(value, int(np.prod(column.shape))) if column.shape else value
            yield pa.field(column.name, kind)
    if snapshot.spec.infos:
        yield pa.field("infos", pa.large_string())


def _batches(snapshot: Snapshot, schema: pa.Schema) -> Iterator[pa.RecordBatch]:
    facts = snapshot.episodes
    for number in np.unique(facts.shard):
        chosen = np.flatnonzero(facts.shard == number)
        chosen = chosen[np.argsort(facts.first_row[chosen])]
        with open_shard(snapshot.path, snapshot.entries[number], snapshot.spec) as shard:
            columns = {name: shard.column(name) for name in schema.names if name not in ("uid", "infos")}
            for run in np.split(chosen, np.flatnonzero(_gaps(facts.first_row[chosen], facts.length[chosen] + 1)) + 1):
                first, end = int(facts.first_row[run[0]]), int(facts.first_row[run[-1]] + facts.length[run[-1]] + 1)
                numbers = np.repeat(np.arange(len(run), dtype=np.int32), facts.length[run] + 1)
                uid = pa.DictionaryArray.from_arrays(numbers, pa.array(facts.uid[run].tolist(), pa.string()))
                arrays = [uid] + [_arrow(columns[name][first:end]) for name in schema.names if name in columns]
                if snapshot.spec.infos:
                    arrays.append(pa.array(shard.infos(first, end - first), pa.large_string()))
                batch = pa.record_batch(arrays, schema=schema)
                yield from (batch.slice(at, _BATCH_ROWS) for at in range(0, batch.num_rows, _BATCH_ROWS))


def _gaps(first: Array, rows: Array) -> Array:
    gaps: Array = first[1:] != first[:-1] + rows[:-1]
    return gaps


def _arrow(values: Array) -> pa.Array:
    flat = pa.array(values.reshape(-1))
    return flat if values.ndim == 1 else pa.FixedSizeListArray.from_arrays(flat, int(np.prod(values.shape[1:])))
