"""Arrow lists of numbers, nested to any depth, to and from numpy arrays."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pyarrow as pa

from distil.interchange.episodes import BadEpisodeError
from distil.types import Array


def from_lists(values: Any) -> Array:
    """Return the array [N, ...] of an Arrow array of N numbers or of lists of equal lengths; BadEpisodeError otherwise."""
    if values is None:
        raise BadEpisodeError("an array is missing")
    if isinstance(values, pa.ExtensionArray):
        values = values.storage
    numbers = pa.types.is_integer(values.type) or pa.types.is_floating(values.type) or pa.types.is_boolean(values.type)
    if not numbers and not _is_list(values.type):  # first: a null or a run of a constant claims any length
        raise BadEpisodeError(f"an array holds {values.type} rather than numbers")
    if values.null_count:
        raise BadEpisodeError("an array holds nothing", step=int(np.argmax(values.is_null().to_numpy(zero_copy_only=False))))
    if numbers:
        return np.asarray(values.to_numpy(zero_copy_only=False))
    lengths = values.value_lengths().to_numpy(zero_copy_only=False)
    if lengths.size and np.any(lengths != lengths[0]):
        raise BadEpisodeError("an array's rows differ in length", step=int(np.argmax(lengths != lengths[0])))
    inner = from_lists(values.flatten())
    return inner.reshape(len(values), int(lengths[0]) if lengths.size else 0, *inner.shape[1:])


def to_lists(arrays: Sequence[Array]) -> pa.Array:
    """Return an Arrow array of one list an array [N, ...], nested as deeply as it has dimensions."""
    whole = np.concatenate(arrays)
    values = pa.array(whole.reshape(-1))
    for size in reversed(whole.shape[1:]):
        offsets = np.arange(0, len(values) + 1, size, dtype=np.int32)
        values = pa.ListArray.from_arrays(pa.array(offsets), values)
    ends = np.cumsum([0, *map(len, arrays)], dtype=np.int32)
    return pa.ListArray.from_arrays(pa.array(ends), values)


def numpy_dtype(arrow: pa.DataType) -> np.dtype[Any]:
    """Return the type of the innermost numbers."""
    if isinstance(arrow, pa.ExtensionType):
        arrow = arrow.storage_type
    while _is_list(arrow):
        arrow = arrow.value_type
    dtype: np.dtype[Any] = np.dtype(arrow.to_pandas_dtype())
    return dtype


def _is_list(arrow: pa.DataType) -> bool:
    return bool(pa.types.is_list(arrow) or pa.types.is_large_list(arrow) or pa.types.is_fixed_size_list(arrow))
