"""Plain Parquet: one row a step, one column an observation leaf; what pandas, Polars, DuckDB and Spark read as it is.

Written: `steps/part-NNNNN.parquet`, T + 1 rows an episode, the last of which has only its observation (all else is null), and
`episodes.parquet`, one row an episode. The spaces are in the files' metadata (`distil.spec`), so that what was written comes
back as it was, uids included. Read: that, or any rows that name their episode.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, ClassVar, Literal

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from distil.errors import InputError
from distil.interchange.base import Contents, Exporter, fresh
from distil.interchange.columns import Rows, parquet_files, runs, schema_of, to_numpy
from distil.interchange.episodes import BadEpisodeError, Report, check_episode, facts, fit, read_facts
from distil.interchange.tabular import TableImport, TabularRows
from distil.spaces import Leaf
from distil.store.schema import StoreSpec, spec_from_json
from distil.store.snapshot import Snapshot
from distil.types import Array, Episode

_SPEC = b"distil.spec"
_PART_BYTES = 128 << 20
_FLAGS = ("labelled", "acted_by_expert")
_ACTIONS = ("action", "expert_action")
_ENDS = ("terminated", "truncated")


class ParquetImport(TableImport):
    """Reads Parquet rows. Files that distil wrote need no options."""

    summary: ClassVar[str] = "plain Parquet: a row a step, as pandas, Polars, DuckDB or Spark write it"
    kind: Literal["parquet"] = "parquet"

    def read(self, source: Path, report: Report) -> Contents:
        """Return the spaces and the episodes of a Parquet file, or of a folder of them."""
        steps = source / "steps" if (source / "steps").is_dir() else source
        files = parquet_files(steps)
        metadata = schema_of(files[0]).metadata or {}
        loaders: Iterator[tuple[str, Callable[[], Episode]]]
        if _SPEC in metadata:
            spec = _read_spec(metadata[_SPEC], files[0])
            loaders = ((str(rows.key), _own_loader(spec, rows)) for rows in runs(files, "uid"))
        else:
            table = TabularRows(self, files, report)
            spec = table.spec()
            loaders = table.loaders(spec)
        return Contents(spec=spec, episodes=loaders, stem=source.stem)


class ParquetExport(Exporter):
    """Writes a folder of Parquet files: `steps/` and `episodes.parquet`. Nothing is lost."""

    summary: ClassVar[str] = "plain Parquet: a row a step, for pandas, Polars, DuckDB, Spark; lossless"
    kind: Literal["parquet"] = "parquet"
    compression: Literal["none", "snappy", "zstd"] = "zstd"

    def write(self, snapshot: Snapshot, target: Path, *, report: Report) -> None:
        """Write the folder. `report` isn't told anything: the format holds everything."""
        if self.actions != "executed":
            raise InputError(f"actions={self.actions}: plain Parquet holds both kinds of actions; leave the option out")
        schema = _schema(snapshot.spec)
        with fresh(target) as folder:
            (folder / "steps").mkdir(parents=True)
            index = []
            writer, num_bytes, part = None, 0, 0
            for number in range(snapshot.num_episodes):
                episode = snapshot.episode(number)
                if writer is None:
                    writer = pq.ParquetWriter(
                        folder / "steps" / f"part-{part:05d}.parquet", schema, compression=self.compression
                    )
                table = _table(snapshot.spec, episode, schema)
                writer.write_table(table)
                index.append(_index_row(episode))
                num_bytes += table.nbytes
                if num_bytes >= _PART_BYTES:
                    writer.close()
                    writer, num_bytes, part = None, 0, part + 1
            if writer is not None:
                writer.close()
            pq.write_table(pa.Table.from_pylist(index), folder / "episodes.parquet", compression=self.compression)


def _schema(spec: StoreSpec) -> pa.Schema:
    fields = [pa.field("uid", pa.string(), nullable=False), pa.field("step", pa.int32(), nullable=False)]
    for column in spec.columns():
        if column.name in ("episode", "step"):
            continue
        kind = pa.bool_() if column.name in (*_FLAGS, *_ENDS) else pa.from_numpy_dtype(column.dtype)
        if column.shape:  # pyarrow reads no Parquet with nulls among lists of a fixed size, and an action may be null
            kind = pa.list_(kind) if column.name in _ACTIONS else pa.list_(kind, int(np.prod(column.shape)))
        fields.append(pa.field(column.name, kind))
    if spec.infos:
        fields.append(pa.field("infos", pa.large_string()))
    fields.append(pa.field("facts", pa.string()))  # of the episode, at its last row
    return pa.schema(fields, metadata={_SPEC: json.dumps(spec.to_json(), sort_keys=True).encode()})


def _table(spec: StoreSpec, episode: Episode, schema: pa.Schema) -> pa.Table:
    num = episode.length
    ends = {name: np.arange(num) == num - 1 if getattr(episode, name) else np.zeros(num, bool) for name in _ENDS}
    columns: dict[str, Any] = {
        "uid": pa.array([episode.uid] * (num + 1)),
        "step": pa.array(np.arange(num + 1, dtype=np.int32)),
        **{name: _arrow(values) for name, values in episode.observations.items()},
        "facts": pa.array([None] * num + [json.dumps(facts(episode))]),
    }
    part = {
        "action": episode.actions,
        "expert_action": episode.expert_actions,
        "reward": episode.rewards,
        **{name: getattr(episode, name).astype(bool) for name in _FLAGS},
        **ends,
    }
    for name, values in part.items():
        kind = schema.field(name).type
        columns[name] = pa.concat_arrays([_arrow(values).cast(kind), pa.nulls(1, kind)])
    if spec.infos:
        columns["infos"] = pa.array([*(episode.infos or ()), None], pa.large_string())
    return pa.table([columns[name] for name in schema.names], schema=schema)


def _arrow(values: Array) -> pa.Array:
    if values.dtype == np.bool_ and values.ndim > 1:
        values = values.astype(np.uint8)
    flat = pa.array(values.reshape(-1))
    return flat if values.ndim == 1 else pa.FixedSizeListArray.from_arrays(flat, int(np.prod(values.shape[1:])))


def _index_row(episode: Episode) -> dict[str, Any]:
    return facts(episode) | {
        "length": episode.length,
        "total_reward": episode.total_reward,
        "terminated": episode.terminated,
        "truncated": episode.truncated,
        "num_labelled": int(np.count_nonzero(episode.labelled)),
        "num_acted_by_expert": int(np.count_nonzero(episode.acted_by_expert)),
    }


def _read_spec(raw: bytes, file: Path) -> StoreSpec:
    try:
        data = json.loads(raw)
    except ValueError:
        raise InputError(f"{file}: its spaces can't be read; restore the file from a copy") from None
    return spec_from_json(data, str(file))


def _own_loader(spec: StoreSpec, rows: Rows) -> Callable[[], Episode]:
    def load() -> Episode:
        try:
            episode = _own_episode(spec, rows)
            check_episode(spec, episode)
        except BadEpisodeError as bad:
            raise BadEpisodeError(bad.what, step=bad.step, file=str(rows.file)) from None
        return episode

    return load


def _own_episode(spec: StoreSpec, rows: Rows) -> Episode:
    table, num = rows.table, rows.table.num_rows - 1
    if num < 1 or not np.array_equal(to_numpy(table["step"]), np.arange(num + 1)):
        raise BadEpisodeError("its rows aren't steps 0 to T, together and in order")
    taken = table.slice(0, num)

    def leaf(part: pa.Table, name: str, like: Leaf, count: int) -> Array:
        return fit(to_numpy(part[name], part.schema.field(name)), like, count)

    def flag(name: str) -> Array:
        return to_numpy(taken[name], taken.schema.field(name)).astype(np.uint8)

    return Episode(
        observations={item.name: leaf(table, item.name, item, num + 1) for item in spec.observation.leaves},
        actions=leaf(taken, "action", spec.action.leaf, num),
        expert_actions=leaf(taken, "expert_action", spec.action.leaf, num),
        rewards=to_numpy(taken["reward"], taken.schema.field("reward")),
        terminated=bool(flag("terminated")[-1]),
        truncated=bool(flag("truncated")[-1]),
        labelled=flag("labelled"),
        acted_by_expert=flag("acted_by_expert"),
        infos=tuple(taken["infos"].to_pylist()) if spec.infos else None,
        **_facts(table["facts"][num].as_py()),
    )


def _facts(text: str | None) -> Mapping[str, Any]:
    try:
        return read_facts(json.loads(text or ""))
    except ValueError:
        raise BadEpisodeError("its distil facts are damaged") from None
