"""Rows of Parquet files: as numpy arrays, and grouped into the episodes that they belong to."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from distil.errors import InputError, RunError
from distil.interchange.episodes import BadEpisodeError
from distil.interchange.guard import Claims
from distil.types import Array

_BATCH_ROWS = 4096
_BATCH_BYTES = 64 << 20
_WIDTHS = {"BOOLEAN": 1, "INT32": 4, "INT64": 8, "INT96": 12, "FLOAT": 4, "DOUBLE": 8}
_NAME, _METADATA = b"ARROW:extension:name", b"ARROW:extension:metadata"


@dataclass(frozen=True, kw_only=True)
class TableFile:
    """A file whose rows are in memory, to be used where a Parquet file is."""

    path: Path
    table: pa.Table

    def __str__(self) -> str:
        return str(self.path)


def path_of(file: Path | TableFile) -> Path:
    """Return where a file is."""
    return file.path if isinstance(file, TableFile) else file


def parquet_files(source: Path) -> list[Path]:
    """Return the file, or the folder's Parquet files at any depth, part-2 before part-10; InputError if there are none."""
    files = [source] if source.is_file() else sorted(source.rglob("*.parquet"), key=by_number)
    files = [file for file in files if not any(part.startswith((".", "_")) for part in file.relative_to(source).parts)]
    if not files:
        raise InputError(f"{source}: no Parquet files there; check the path")
    return files


def by_number(path: Path) -> list[tuple[str, int]]:
    """Return a key to sort files by, in which part-2 is before part-10."""
    pieces = re.split(r"(\d+)", path.as_posix())
    return list(zip(pieces[::2], [*map(int, pieces[1::2]), -1], strict=True))


def schema_of(file: Path | TableFile) -> pa.Schema:
    """Return a Parquet file's Arrow schema; RunError if it can't be read."""
    if isinstance(file, TableFile):
        return file.table.schema
    try:
        return pq.read_schema(file)
    except (pa.ArrowException, OSError) as error:
        raise _unreadable(file, error) from None


def batches(file: Path | TableFile, columns: Sequence[str] | None = None) -> Iterator[pa.RecordBatch]:
    """Yield a Parquet file's rows in pieces of a bounded size; RunError if it can't be read."""
    if isinstance(file, TableFile):
        table = file.table if columns is None else file.table.select(list(dict.fromkeys(columns)))
        yield from table.to_batches(_BATCH_ROWS)
        return
    try:
        with pq.ParquetFile(file) as opened:
            require_plausible(file, opened.metadata)
            groups = (
                opened.metadata.num_rows,
                sum(opened.metadata.row_group(i).total_byte_size for i in range(opened.num_row_groups)),
            )
            row_bytes = max(1, groups[1] // max(1, groups[0]))
            rows = int(min(max(_BATCH_BYTES // row_bytes, 1), _BATCH_ROWS))
            yield from opened.iter_batches(rows, columns=columns, use_threads=False)
    except (pa.ArrowException, OSError) as error:
        raise _unreadable(file, error) from None


def require_plausible(file: Path, metadata: pq.FileMetaData | None = None) -> None:
    """Raise InputError for a Parquet file whose columns claim more than its bytes can hold, runs of constants included."""
    if metadata is None:
        try:
            metadata = pq.read_metadata(file)
        except (pa.ArrowException, OSError) as error:
            raise _unreadable(file, error) from None
    claims = Claims(file.stat().st_size)
    for index in range(metadata.num_row_groups):
        group = metadata.row_group(index)
        for number in range(group.num_columns):
            column = group.column(number)
            claimed = max(column.total_uncompressed_size, column.num_values * _WIDTHS.get(column.physical_type, 8))
            claims.add(f"{file}: column {column.path_in_schema}", claimed, column.total_compressed_size)


def _unreadable(file: Path, error: BaseException) -> RunError:
    return RunError(f"{file}: not a readable Parquet file ({str(error).splitlines()[0][:200]}); restore it, or leave it out")


@dataclass(frozen=True, kw_only=True)
class Rows:
    """Rows that belong together, one episode's or a part of one."""

    key: Any  # the episode's name in the source
    file: Path  # where its first row is
    table: pa.Table


def runs(files: Sequence[Path | TableFile], key: str, columns: Sequence[str] | None = None) -> Iterator[Rows]:
    """Yield runs of consecutive rows with an equal `key`, across the files' borders.

    At most one run and one piece of a file are in memory.
    """
    pending: list[pa.RecordBatch] = []
    at: tuple[Any, Path] | None = None
    for file in files:
        for batch in batches(file, None if columns is None else [*columns, key]):
            if not batch.num_rows:
                continue
            keys = batch.column(key)
            if keys.null_count:
                raise RunError(f"{file}: {key} has no value in some rows; each row must name its episode")
            values = (
                keys.cast(pa.string()).to_numpy(zero_copy_only=False)
                if is_text(keys.type)
                else keys.to_numpy(zero_copy_only=False)
            )
            if values.dtype.kind == "f" and np.any(np.isnan(values)):
                raise RunError(f"{file}: {key} is NaN in some rows; each row must name its episode")
            edges = [0, *(np.flatnonzero(values[1:] != values[:-1]) + 1).tolist(), len(values)]
            for first, end in pairwise(edges):
                name = values[first]
                if at is not None and name != at[0]:
                    yield Rows(key=at[0], file=at[1], table=_join(pending, at[1]))
                    pending, at = [], None
                at = at or (name, path_of(file))
                pending.append(batch.slice(first, end - first))
    if at is not None:
        yield Rows(key=at[0], file=at[1], table=_join(pending, at[1]))


def readable(found: Iterable[Rows], read: Callable[[pa.Table], Array]) -> Iterator[Array]:
    """Yield what `read` returns for each episode's rows; those that it can't read are passed over: loading them says so.

    Raises:
        RunError: it can read none; the first one's fault is named.
    """
    fault, any_read = None, False
    for rows in found:
        try:
            values = read(rows.table)
        except BadEpisodeError as bad:
            where = f": episode {rows.key}" + f", step {bad.step}" * (bad.step is not None)
            fault = fault or f"{rows.file}{where}: {bad.what}; fix the data, or choose other keys"
            continue
        any_read = True
        yield values
    if fault and not any_read:
        raise RunError(fault)


def flat(table: pa.Table) -> pa.Table:
    """Return the table with groups (structs) as columns GROUP.NAME, but for Ray's tensors, which are groups too."""
    while any(pa.types.is_struct(kind) and kind.get_field_index("data") < 0 for kind in table.schema.types):
        structs = [field for field in table.schema if pa.types.is_struct(field.type)]
        keep = [field.name for field in structs if field.type.get_field_index("data") >= 0]
        flattened = table.drop_columns(keep).flatten()
        for name in keep:
            flattened = flattened.append_column(table.schema.field(name), table[name])
        table = flattened
    return table


def json_rows(table: pa.Table) -> tuple[str, ...]:
    """Return each row as a JSON object; dates and other values that JSON has no type for are text."""
    return tuple(json.dumps(row, default=_text) for row in table.to_pylist())


def _text(value: Any) -> str:
    return value.decode(errors="replace") if isinstance(value, bytes) else str(value)


def is_number(kind: pa.DataType) -> bool:
    """Return whether it is a type of numbers or flags."""
    return bool(pa.types.is_boolean(kind) or pa.types.is_integer(kind) or pa.types.is_floating(kind))


def is_text(kind: pa.DataType) -> bool:
    """Return whether it is text, coded as a dictionary or not."""
    return bool(pa.types.is_dictionary(kind) or pa.types.is_string(kind) or pa.types.is_large_string(kind))


def _join(parts: list[pa.RecordBatch], file: Path) -> pa.Table:
    try:
        return pa.Table.from_batches([part.cast(parts[0].schema) if part.schema != parts[0].schema else part for part in parts])
    except (pa.ArrowException, ValueError) as error:
        raise RunError(f"{file}: its columns aren't those of the other files ({str(error).splitlines()[0][:200]})") from None


def to_numpy(column: pa.ChunkedArray | pa.Array, field: pa.Field | None = None) -> Array:
    """Return a column of numbers, or of lists or tensors of numbers, as [rows, ...].

    Args:
        column: of any length but 0.
        field: names it in errors; its metadata may hold a tensor's shape.

    Raises:
        BadEpisodeError: a row is missing, or its size isn't the others', or they aren't numbers.
    """
    name = field.name if field is not None else "a column"
    if isinstance(column, pa.ChunkedArray):
        column = column.combine_chunks()
    if isinstance(column, pa.ChunkedArray):  # an extension type's stays chunked when it is empty
        column = column.chunk(0)
    shape = _tensor_shape(column.type, field)
    values = _numbers(column, name)
    if shape is not None and int(np.prod(shape)) == values[0].size:
        values = values.reshape(len(values), *shape)
    return values


def _numbers(array: pa.Array, name: str) -> Array:
    if isinstance(array, pa.ExtensionArray):
        return _numbers(array.storage, name)
    if array.null_count:
        step = int(np.argmax(array.is_null().to_numpy(zero_copy_only=False)))
        raise BadEpisodeError(f"{name} has no value", step=step)
    kind = array.type
    if pa.types.is_struct(kind) and kind.get_field_index("data") >= 0:  # Ray's tensors of varying shape
        return _numbers(array.field("data"), name)
    if pa.types.is_list(kind) or pa.types.is_large_list(kind) or pa.types.is_fixed_size_list(kind):
        sizes = array.value_lengths().to_numpy(zero_copy_only=False)
        if np.any(sizes != sizes[0]):
            raise BadEpisodeError(f"{name} has {sizes.max()} and {sizes.min()} entries", step=int(np.argmax(sizes != sizes[0])))
        inner = array.flatten()
        if not len(inner):
            raise BadEpisodeError(f"{name} is empty", step=0)
        try:
            values = _numbers(inner, name)
        except BadEpisodeError as error:
            raise BadEpisodeError(error.what, step=(error.step or 0) // int(sizes[0])) from None
        return values.reshape(len(array), int(sizes[0]), *values.shape[1:])
    if not is_number(kind):
        raise BadEpisodeError(f"{name} isn't numbers but {kind}")
    out: Array = array.to_numpy(zero_copy_only=False)
    return out


def _tensor_shape(kind: pa.DataType, field: pa.Field | None) -> tuple[int, ...] | None:
    """Return the shape of one row of a tensor column, Arrow's or Ray's, whether or not its type is known here."""
    if isinstance(kind, pa.FixedShapeTensorType):
        return tuple(kind.shape)
    metadata: Mapping[bytes, bytes] = (field.metadata or {}) if field is not None else {}
    if isinstance(kind, pa.BaseExtensionType):
        name, raw = (
            kind.extension_name.encode(),
            kind.__arrow_ext_serialize__() if hasattr(kind, "__arrow_ext_serialize__") else b"",
        )
    else:
        name, raw = metadata.get(_NAME, b""), metadata.get(_METADATA, b"")
    if not name.startswith((b"ray.data.arrow_tensor", b"arrow.fixed_shape_tensor")):
        return None
    try:
        data = json.loads(raw)
        shape = data["shape"] if isinstance(data, dict) else data
        return tuple(int(size) for size in shape)
    except (ValueError, KeyError, TypeError):
        return None
