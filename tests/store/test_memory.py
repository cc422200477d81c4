from __future__ import annotations

import numpy as np
import torch

from distil.store.memory import RowMemory


def test_memory_is_used_again_once_nothing_shows_it() -> None:
    memory = RowMemory(np.dtype(np.float32), (2, 3), 8)
    first = memory.array(8)
    at = first.ctypes.data
    first[...] = 1
    tensor = torch.from_numpy(first[2:4].reshape(-1))  # a view of a view, in another library
    del first
    second = memory.array(5)
    assert second.ctypes.data != at
    second[...] = 2
    assert tensor.tolist() == [1] * 12
    del second
    third = memory.array(7)
    assert third.shape == (7, 2, 3)
    assert (third[:5] == 2).all()  # the memory of the second


def test_views_are_the_bytes_of_rows() -> None:
    memory = RowMemory(np.dtype(np.int16), (2,), 3)
    rows = memory.array(3)
    memory.views[1][:] = np.array([5, 6], np.int16).tobytes()
    assert rows[1].tolist() == [5, 6]


def test_memory_grows() -> None:
    memory = RowMemory(np.dtype(np.uint8), (), 2)
    rows = memory.array(100)
    assert rows.shape == (100,)
    assert len(memory.views) >= 100
