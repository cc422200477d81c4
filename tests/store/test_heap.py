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


@pytest.mark.parametrize("why", ["absent", errno.EINVAL, errno.ENOTSUP])
def test_space_is_taken_where_the_system_cannot_reserve_it(
    why: str | int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Issue 8, number 28: macOS has no posix_fallocate, and some file systems refuse it."""

    def refuse(*_: object) -> None:
        raise OSError(why, "refused")

    if why == "absent":
        monkeypatch.delattr(os, "posix_fallocate")
    else:
        monkeypatch.setattr(os, "posix_fallocate", refuse)
    area = Area(tmp_path / "area")
    area.grow(100)
    area.write(np.full(100, 7, np.uint8), 0)
    area.grow(3 << 20)
    found = area.array(np.dtype(np.uint8), (3 << 20,))
    assert (found[:100] == 7).all()
    assert not found[100:].any()
    assert (tmp_path / "area").stat().st_blocks * 512 >= 3 << 20  # not a hole
