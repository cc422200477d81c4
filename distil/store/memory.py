"""Memory that is used again: the system takes longer to give a process new pages than to fill them."""

from __future__ import annotations

import weakref
from typing import Any

import numpy as np

from distil.types import Array


class RowMemory:
    """Memory for the rows of one array at a time, used again once no view of the array is left; else there is new memory."""

    def __init__(self, dtype: np.dtype[Any], shape: tuple[int, ...], num_rows: int) -> None:
        """Have room for `num_rows` rows of this type and shape; it grows when more are asked for."""
        self._dtype, self._shape, self._num = dtype, shape, num_rows
        self._shown: weakref.ref[Array] | None = None
        self._bytes = memoryview(b"")
        self.views: list[memoryview] = []  # the bytes of each row

    def array(self, num_rows: int) -> Array:
        """Return an array of `num_rows` rows that aren't filled: the first `views` are their bytes."""
        if num_rows > len(self.views) or (self._shown is not None and self._shown() is not None):
            self._num = max(self._num, num_rows + num_rows // 16)
            size = self._dtype.itemsize * int(np.prod(self._shape))
            self._bytes = np.empty(self._num * size, np.uint8).data
            self.views = [self._bytes[i : i + size] for i in range(0, len(self._bytes), size)]
        flat = np.frombuffer(self._bytes, self._dtype)  # what every view of it keeps
        self._shown = weakref.ref(flat)
        return flat.reshape(self._num, *self._shape)[:num_rows]
