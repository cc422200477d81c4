from __future__ import annotations

import errno
import os
from pathlib import Path

import numpy as np
import pytest

from distil.errors import RunError
from distil.store.heap import Area, Heap


@pytest.mark.parametrize("named", [True, False])
def test_areas_grow_under_what_is_mapped(tmp_path: Path, named: bool) -> None:
    area = Area(tmp_path / "area" if named else None)
    area.grow(80)
    array = area.array(np.dtype(np.float64), (5, 2), writeable=True)
    array[:] = 3
    area.grow(16_000)
    area.grow(8)
    assert area.num_bytes == 16_000
    array[4, 1] = 7
    found = area.array(np.dtype(np.float64), (1000, 2))
    assert found[:5].sum() == 27 + 7
    assert not found.flags.writeable
    assert area.array(np.dtype(np.float64), (0, 2)).shape == (0, 2)


def test_heaps() -> None:
    heap = Heap()
    assert heap.append(np.arange(5, dtype=np.uint8)) == 0
    assert heap.append(np.arange(3, dtype=np.uint8)) == 5
    assert heap.data().tolist() == [0, 1, 2, 3, 4, 0, 1, 2]
    heap.clear()
    assert heap.append(np.full(2, 9, np.uint8)) == 0
    assert heap.data().tolist() == [9, 9]


def test_full_memory_is_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    area = Area()
    monkeypatch.setattr(os, "posix_fallocate", full)
    with pytest.raises(RunError, match="memory: no disk space left"):
        area.grow(1)
