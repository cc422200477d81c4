"""Reads the data of a pickle without executing anything: every class in it becomes an inert record.

A pickle is a program that may import any name and call it. Here each import yields a stub of our own, and only names from the
few packages that Stable-Baselines3's statistics refer to get even that; any other import is refused before it happens.
"""

from __future__ import annotations

import io
import pickle
from typing import Any, Self

import numpy as np

from distil.errors import InputError
from distil.types import Array

_NUMPY_CORES = ("numpy.core", "numpy._core")
_INERT_PACKAGES = ("stable_baselines3", "sb3_contrib", "gym", "gymnasium", "numpy.random")
MAX_BYTES = 32 << 20


class Record:
    """What stands for an object of a pickle: the arguments it was made with, and its state. Does nothing."""

    origin = ""  # module.name of the class in the pickle

    args: tuple[Any, ...]
    state: Any

    def __new__(cls, *args: Any) -> Self:
        """Keep the arguments."""
        self = super().__new__(cls)
        self.args, self.state = args, {}
        return self

    def __setstate__(self, state: Any) -> None:
        self.state = state


class _DType(Record):
    def dtype(self) -> np.dtype[Any]:
        """Return the numeric dtype; objects and structures are refused."""
        order = self.state[1] if isinstance(self.state, tuple) else "|"
        name = self.args[0]
        if not isinstance(name, str) or name[:1] not in "fiub" or order not in ("<", ">", "=", "|"):
            raise InputError(f"an array of dtype {name!r}, only numbers are read")
        return np.dtype(name if order == "|" else order + name)


class _NDArray(Record):
    """The result of numpy's `_reconstruct`; the state holds version, shape, dtype, order and bytes."""


class _FromBuffer(Record):
    """The result of numpy's `_frombuffer`; the arguments hold bytes, dtype, shape and order."""


class _Scalar(Record):
    """The result of numpy's `scalar`; the arguments hold dtype and bytes."""


_NUMPY: dict[str, Any] = {
    "numpy.dtype": _DType,
    "numpy.ndarray": _NDArray,
    "collections.OrderedDict": dict,
    **{f"{core}.multiarray._reconstruct": _NDArray for core in _NUMPY_CORES},
    **{f"{core}.multiarray.scalar": _Scalar for core in _NUMPY_CORES},
    **{f"{core}.numeric._frombuffer": _FromBuffer for core in _NUMPY_CORES},
}


class _Reader(pickle._Unpickler):  # the C one allocates what a hostile file tells it to
    def find_class(self, module: str, name: str) -> Any:
        full = f"{module}.{name}"
        if full in _NUMPY:
            return _NUMPY[full]
        if any(f"{module}.".startswith(f"{package}.") for package in _INERT_PACKAGES):
            return type("Record", (Record,), {"origin": full})
        raise InputError(f"it asks for {full}, which is no part of such a file")

    def get_extension(self, code: int) -> None:
        raise InputError(f"it asks for extension {code}, which is no part of such a file")


def read(data: bytes, where: str) -> Any:
    """Return the content of a pickle, with `Record` for every object.

    Raises:
        InputError: the pickle is damaged, too large, or asks for a name that isn't on the list; nothing of it was executed.
    """
    if len(data) > MAX_BYTES:
        raise InputError(f"{where}: {len(data)} bytes, more than the {MAX_BYTES} that such a file may have")
    try:
        return _Reader(io.BytesIO(data)).load()
    except InputError as error:
        raise InputError(f"{where}: refused, {error}; use a file from a source you trust") from None
    except Exception as error:  # a damaged program fails in any way
        raise InputError(f"{where}: not a readable pickle: {type(error).__name__}: {error}") from None


def array(value: Any) -> Array:
    """Return the array that a number, or a record of an array or scalar, stands for.

    Raises:
        InputError: it stands for nothing numeric, or its size isn't what its bytes hold.
    """
    if isinstance(value, bool | int | float):
        return np.asarray(value)
    try:
        if isinstance(value, _Scalar):
            dtype, data = value.args
            return np.frombuffer(data, dtype.dtype()).reshape(())
        if isinstance(value, _NDArray):
            _, shape, dtype, fortran, data = value.state
            return np.frombuffer(data, dtype.dtype()).reshape(shape, order="F" if fortran else "C")
        if isinstance(value, _FromBuffer):
            data, dtype, shape, order = value.args
            return np.frombuffer(data, dtype.dtype()).reshape(shape, order="F" if order == "F" else "C")
    except (TypeError, ValueError, AttributeError, IndexError) as error:
        raise InputError(f"a damaged array: {error}") from None
    raise InputError(f"{type(value).__name__} where an array belongs")
