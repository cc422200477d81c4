from __future__ import annotations

from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from distil.errors import RunError
from distil.interchange.tfrecord import make_example, parse_example, records, write_record

pytest.importorskip("google_crc32c", reason="needs pip install 'distil[rlds]'")


@given(
    numbers=st.lists(st.integers(-(2**63), 2**63 - 1), min_size=1),
    floats=st.lists(st.floats(width=32, allow_nan=False), min_size=1),
    texts=st.lists(st.binary(max_size=300), min_size=1),
)
def test_examples_come_back(numbers: list[int], floats: list[float], texts: list[bytes]) -> None:
    made = make_example({"i": np.array(numbers, np.int64), "f": np.array(floats, np.float32), "t": texts})
    found: Any = parse_example(made)
    assert found["i"].tolist() == numbers
    assert found["f"].tolist() == floats
    assert found["t"] == texts


@given(data=st.binary(max_size=200))
def test_any_bytes_are_an_example_or_a_value_error(data: bytes) -> None:
    with suppress(ValueError, KeyError):
        parse_example(data)


def test_a_torn_file_is_said(tmp_path: Path) -> None:
    path = tmp_path / "a.tfrecord"
    with open(path, "wb") as file:
        write_record(file, b"one")
        write_record(file, b"two")
    assert list(records(path)) == [b"one", b"two"]
    for size in range(1, path.stat().st_size):
        (tmp_path / "b.tfrecord").write_bytes(path.read_bytes()[:size])
        if size != 19:  # exactly one record
            with pytest.raises(RunError, match=r"b.tfrecord: record [01] is damaged"):
                list(records(tmp_path / "b.tfrecord"))
