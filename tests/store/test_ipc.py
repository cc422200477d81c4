from __future__ import annotations

import io
import resource
import struct
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import replace
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
import xxhash
from hypothesis import given
from hypothesis import strategies as st

from distil.errors import RunError
from distil.store import Store
from distil.store.ipc import require_plain_file, require_plain_message
from distil.store.shard import open_shard

BATCH = pa.record_batch([pa.array(np.zeros(1000)), pa.array(["x"] * 1000)], names=["a", "b"])


def file(compression: str | None, num: int = 1) -> bytes:
    sink = io.BytesIO()
    with pa.ipc.new_file(sink, BATCH.schema, options=pa.ipc.IpcWriteOptions(compression=compression)) as writer:
        for _ in range(num):
            writer.write_batch(BATCH)
    return sink.getvalue()


@pytest.fixture
def little_memory() -> Iterator[None]:
    before = resource.getrlimit(resource.RLIMIT_AS)
    resource.setrlimit(resource.RLIMIT_AS, (1 << 36, before[1]))
    yield
    resource.setrlimit(resource.RLIMIT_AS, before)


@pytest.mark.parametrize("num", [0, 1, 3])
def test_only_plain_files_pass(num: int) -> None:
    require_plain_file(memoryview(file(None, num)))
    for compression in ("lz4", "zstd") if num else ():
        with pytest.raises(ValueError, match="compressed as a whole"):
            require_plain_file(memoryview(file(compression, num)))


@given(st.binary(max_size=200), st.integers(0, 1 << 40))
def test_any_bytes_pass_or_are_refused(data: bytes, at: int) -> None:
    whole = bytearray(file(None))
    whole[len(whole) - 1 - at % 400 :][: len(data)] = data
    for content in (data, whole[: at % len(whole)] + data + whole[at % len(whole) :]):
        for check in (require_plain_file, require_plain_message):
            with suppress(ValueError):
                check(memoryview(bytes(content)))


@pytest.mark.usefixtures("little_memory")
def test_a_shard_that_promises_memory_is_refused_before_it_is_taken(fill: Callable[..., Store]) -> None:
    """Issue 8, number 22: pyarrow allocates what a compressed buffer claims to be, 32 TiB here."""
    store = fill([999])
    (entry,) = store.manifest().entries
    path = store.path / entry.path
    with pa.memory_map(str(path)) as mapped:
        reader = pa.ipc.open_file(mapped)
        batch, metadata = reader.get_batch(0), dict(reader.metadata)
        sink, options = io.BytesIO(), pa.ipc.IpcWriteOptions(compression="lz4")
        with pa.ipc.new_file(sink, reader.schema, options=options, metadata=metadata) as writer:
            writer.write_batch(batch)
    content = bytearray(sink.getvalue())
    at = content.find(struct.pack("<q", 16 * 1000))
    assert at > 0
    content[at : at + 8] = struct.pack("<q", 1 << 45)
    path.write_bytes(content)
    altered = replace(entry, num_bytes=len(content), digest=xxhash.xxh3_128_hexdigest(content))
    with pytest.raises(RunError, match="it is compressed as a whole"), open_shard(store.path, altered, store.spec):
        pass


def test_an_index_of_episodes_too(fill: Callable[..., Store], monkeypatch: pytest.MonkeyPatch) -> None:
    real = pa.ipc.new_stream

    def compressed(sink: Any, schema: Any) -> Any:
        return real(sink, schema, options=pa.ipc.IpcWriteOptions(compression="zstd"))

    monkeypatch.setattr(pa.ipc, "new_stream", compressed)
    with pytest.raises(RunError, match="it is compressed as a whole"):
        fill([3])
