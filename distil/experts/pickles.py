"""Reads the data of a pickle without executing anything: every class in it becomes an inert record.

A pickle is a program that may import any name and call it. Here an import of an allowed name yields an inert stub; any other
import is refused before it happens. The program is scanned first: its instructions are counted and each length is checked
against the bytes that are there, so that a short file cannot use much memory or time.
"""

from __future__ import annotations

import io
import pickle
import pickletools
from collections.abc import Callable, Mapping
from typing import Any, ClassVar, Self

import numpy as np

from distil.errors import InputError
from distil.types import Array

_NUMPY_CORES = ("numpy.core", "numpy._core")
PACKAGES = ("stable_baselines3", "sb3_contrib", "gym", "gymnasium", "numpy.random")
MAX_BYTES = 32 << 20
MAX_OPS = 100_000
# instructions that pickles in these files never use: they copy the stack, call without a name, or read other buffers
_REFUSED_OPS = frozenset({"DUP", "INST", "OBJ", "EXT1", "EXT2", "EXT4", "NEXT_BUFFER", "READONLY_BUFFER"})
_PERSISTENT_OPS = frozenset({"PERSID", "BINPERSID"})
_ATOMS = (str, bytes, int, float, type(None))


class Record:
    """An inert replacement for a pickled object: its constructor arguments and its state."""

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
            shown = repr(name[:40]) if isinstance(name, str) else type(name).__name__
            raise InputError(f"an array of dtype {shown}; only numbers are read")
        return np.dtype(name if order == "|" else order + name)


class _NDArray(Record):
    """The result of numpy's `_reconstruct`; the state holds version, shape, dtype, order and bytes."""


class _FromBuffer(Record):
    """The result of numpy's `_frombuffer`; the arguments hold bytes, dtype, shape and order."""


class _Scalar(Record):
    """The result of numpy's `scalar`; the arguments hold dtype and bytes."""


class _Dict(dict[Any, Any]):
    """An ordered dictionary of a pickle: its items, none of its attributes."""

    def __init__(self, *args: Any) -> None:
        super().__init__()
        for key, value in args[0] if args else ():
            _put(self, key, value)

    def __setstate__(self, state: Any) -> None:
        """Drop the attributes (torch keeps `_metadata` there)."""


def _encode(text: str, codec: str) -> bytes:
    """Return the bytes that protocols 0 to 2 store as text."""
    if codec != "latin1":
        raise InputError("bytes in an encoding other than latin1")
    return text.encode("latin1")


_KNOWN: Mapping[str, Any] = {
    "numpy.dtype": _DType,
    "numpy.ndarray": _NDArray,
    "collections.OrderedDict": _Dict,
    "_codecs.encode": _encode,
    **{f"{builtins}.{name}": Record for builtins in ("builtins", "__builtin__") for name in ("set", "frozenset")},
    **{f"{core}.multiarray._reconstruct": _NDArray for core in _NUMPY_CORES},
    **{f"{core}.multiarray.scalar": _Scalar for core in _NUMPY_CORES},
    **{f"{core}.numeric._frombuffer": _FromBuffer for core in _NUMPY_CORES},
}


def _put(target: Any, key: Any, value: Any) -> None:
    if not isinstance(key, _ATOMS):  # the hash of a nested tuple can take forever
        raise InputError(f"it has a key of type {type(key).__name__}, which such a file never contains")
    target[key] = value


class _Reader(pickle._Unpickler):  # the C version allocates whatever a hostile file asks for
    dispatch: ClassVar[dict[int, Callable[..., Any]]] = dict(pickle._Unpickler.dispatch)
    stack: list[Any]
    append: Callable[[Any], None]
    pop_mark: Callable[[], list[Any]]

    def __init__(self, data: bytes, packages: tuple[str, ...], persistent: Callable[[Any], Any] | None) -> None:
        super().__init__(io.BytesIO(data))
        self._packages, self._persistent = packages, persistent

    def find_class(self, module: str, name: str) -> Any:
        full = f"{module}.{name}"
        if full in _KNOWN:
            return _KNOWN[full]
        if any(f"{module}.".startswith(f"{package}.") for package in self._packages):
            return type("Record", (Record,), {"origin": full})
        raise InputError(f"it asks for {full[:200]}, which such a file never contains")

    def persistent_load(self, pid: Any) -> Any:
        assert self._persistent is not None  # otherwise the scan refuses this instruction
        return self._persistent(pid)

    def load_setitem(self) -> None:
        value, key = self.stack.pop(), self.stack.pop()
        _put(self.stack[-1], key, value)

    def load_setitems(self) -> None:
        items = self.pop_mark()
        for key, value in zip(items[::2], items[1::2], strict=True):
            _put(self.stack[-1], key, value)

    def load_dict(self) -> None:
        items, out = self.pop_mark(), dict[Any, Any]()
        for key, value in zip(items[::2], items[1::2], strict=True):
            _put(out, key, value)
        self.append(out)

    def load_set(self) -> None:
        self.append(Record())  # the contents of sets are never needed

    def load_additems(self) -> None:
        self.pop_mark()

    def load_frozenset(self) -> None:
        self.pop_mark()
        self.append(Record())

    dispatch |= {
        pickle.SETITEM[0]: load_setitem,
        pickle.SETITEMS[0]: load_setitems,
        pickle.DICT[0]: load_dict,
        pickle.EMPTY_SET[0]: load_set,
        pickle.ADDITEMS[0]: load_additems,
        pickle.FROZENSET[0]: load_frozenset,
    }


def read(
    data: bytes,
    where: str,
    *,
    packages: tuple[str, ...] = PACKAGES,
    persistent: Callable[[Any], Any] | None = None,
) -> Any:
    """Return the content of a pickle, with `Record` for every object.

    Args:
        data: the pickle; bytes after its end are ignored.
        where: names it in errors.
        packages: packages whose names become records.
        persistent: maps a persistent id to its replacement; None: a pickle with persistent ids is refused.

    Raises:
        InputError: the pickle is damaged, too large, or asks for a name that is not allowed; nothing in it was executed.
    """
    if len(data) > MAX_BYTES:
        raise InputError(f"{where}: {len(data)} bytes; the limit for such a file is {MAX_BYTES}")
    try:
        length(data, persistent=persistent is not None)
        return _Reader(data, packages, persistent).load()
    except InputError as error:
        raise InputError(f"{where}: refused, {error}; use a file from a source you trust") from None
    except Exception as error:  # a damaged program can raise anything
        reason = " ".join(f"{type(error).__name__}: {error}".split())
        raise InputError(f"{where}: not a readable pickle: {reason[:200]}") from None


def length(data: bytes, *, persistent: bool = False) -> int:
    """Return the length of the pickle at the start of `data`; InputError if one of its instructions is refused."""
    position, refused = 0, _REFUSED_OPS if persistent else _REFUSED_OPS | _PERSISTENT_OPS
    for num, (opcode, _, place) in enumerate(pickletools.genops(data)):
        if opcode.name in refused:
            raise InputError(f"it has an instruction {opcode.name}, which such a file never contains")
        if num > MAX_OPS:
            raise InputError(f"it has more than {MAX_OPS} instructions")
        position = place or 0
    return position + 1  # of STOP, the last instruction


def array(value: Any) -> Array:
    """Return the array of a number, or of a record of an array or scalar.

    Raises:
        InputError: the value is not numeric, or its size does not match its bytes.
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
    except (TypeError, ValueError, AttributeError, IndexError, OverflowError) as error:
        raise InputError(f"a damaged array: {error}") from None
    raise InputError(f"{type(value).__name__} in place of an array")
