from __future__ import annotations

from contextlib import suppress
from pathlib import Path

import pyarrow as pa
import pytest

from distil.errors import InputError
from distil.interchange.arrow_files import open_arrow


def write(path: Path, form: str, compression: str | None, table: pa.Table, rows: int = 100) -> Path:
    new = pa.ipc.new_file if form == "file" else pa.ipc.new_stream
    with new(str(path), table.schema, options=pa.ipc.IpcWriteOptions(compression=compression)) as writer:
        writer.write_table(table, max_chunksize=rows)
    return path


@pytest.mark.parametrize("form", ["file", "stream"])
@pytest.mark.parametrize("compression", [None, "zstd", "lz4"])
def test_sound_and_lying_files(tmp_path: Path, form: str, compression: str | None) -> None:
    words = pa.array(["a", "b"] * 250).dictionary_encode()
    table = pa.table({"obs": [[1.0, 2.0]] * 500, "word": words, "none": pa.nulls(500)})
    path = write(tmp_path / "a.arrow", form, compression, table)
    assert sum(batch.num_rows for batch in open_arrow(path)) == 500
    if compression is not None:
        raw = path.read_bytes()
        size = (100 * 2 * 8).to_bytes(8, "little")
        assert raw.count(size) == 5
        (tmp_path / "bad.arrow").write_bytes(raw.replace(size, (1 << 35).to_bytes(8, "little")))
        with pytest.raises(InputError, match=r"bad.arrow: claims 34,359,7.* bytes"):
            list(open_arrow(tmp_path / "bad.arrow"))


def test_constants_load(tmp_path: Path) -> None:
    """In large batches, which shrink the most; more than a source may hold of fill values."""
    path = write(tmp_path / "a.arrow", "file", "zstd", pa.table({"x": pa.nulls(10**7, pa.int64()).fill_null(0)}), rows=10**6)
    assert sum(batch.num_rows for batch in open_arrow(path)) == 10**7


@pytest.mark.parametrize("form", ["file", "stream"])
def test_damage_is_an_input_error(tmp_path: Path, form: str) -> None:
    raw = write(tmp_path / "a.arrow", form, "zstd", pa.table({"x": list(range(300)), "y": ["word"] * 300})).read_bytes()
    for at in range(0, len(raw), 7):
        (tmp_path / "b.arrow").write_bytes(raw[:at] + bytes([raw[at] ^ 0xFF]) + raw[at + 1 :])
        with suppress(InputError):  # and nothing else
            list(open_arrow(tmp_path / "b.arrow"))
    for bad in (b"", b"ARROW1", b"no", raw[:100]):
        (tmp_path / "b.arrow").write_bytes(bad)
        with pytest.raises(InputError, match=r"b.arrow: can't be read as Arrow"):
            list(open_arrow(tmp_path / "b.arrow"))
