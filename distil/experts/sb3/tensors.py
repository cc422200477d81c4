"""Reads files of `torch.save` as numpy arrays, without executing anything or allocating more than the file holds.

There are two formats: a zip with `data.pkl` and one member per storage (torch >= 1.6), and the older stream of pickles followed
by the storages. Both describe a tensor by storage, offset, sizes and strides. A tensor that reaches beyond its storage, or is
larger than it (stride 0 can turn four bytes into a terabyte), is refused. A tensor's bytes are read on first access.
"""

from __future__ import annotations

import io
import struct
import zipfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from distil.errors import InputError
from distil.experts import pickles
from distil.types import Array

_MAGIC = 0x1950A86A20F9469CFC6C  # of the older format
_MAX_DIMS = 8
_MAX_SHARING = 4  # names per tensor: a shared feature extractor has three
_PACKAGES = ("torch",)
_TENSOR, _PARAMETER = "torch._utils._rebuild_tensor_v2", "torch._utils._rebuild_parameter"
_DTYPES = {
    "Float": "f4",
    "Double": "f8",
    "Half": "f2",
    "BFloat16": "u2",  # the upper half of a float32
    "Long": "i8",
    "Int": "i4",
    "Short": "i2",
    "Char": "i1",
    "Byte": "u1",
    "Bool": "?",
}


@dataclass(frozen=True, kw_only=True)
class _Storage:
    key: str
    kind: str  # a key of _DTYPES
    numel: int


@dataclass(frozen=True, kw_only=True)
class _Tensor:
    storage: _Storage
    offset: int  # in elements
    sizes: tuple[int, ...]
    strides: tuple[int, ...]


class Tensors(Mapping[str, Array]):
    """Parameters by name, float32. `used` holds the names that were read.

    Args:
        tensors: tensors by name, each checked against its storage.
        storages: key -> the bytes of the storage.
        order: byte order, "<" or ">".
    """

    def __init__(self, tensors: Mapping[str, _Tensor], storages: Mapping[str, bytes], order: str) -> None:
        self._tensors, self._storages, self._order = tensors, storages, order
        self.used: set[str] = set()

    def __getitem__(self, name: str) -> Array:
        tensor = self._tensors[name]
        self.used.add(name)
        kind = tensor.storage.kind
        flat = np.frombuffer(self._storages[tensor.storage.key], self._order + _DTYPES[kind])
        if kind == "BFloat16":
            flat = (flat.astype(np.uint32) << 16).view(np.float32)
        steps = tuple(stride * flat.itemsize for stride in tensor.strides)
        view = np.lib.stride_tricks.as_strided(flat[tensor.offset :], tensor.sizes, steps, writeable=False)
        return np.array(view, np.float32, order="C")

    def __iter__(self) -> Iterator[str]:
        return iter(self._tensors)

    def __len__(self) -> int:
        return len(self._tensors)

    def __contains__(self, name: object) -> bool:
        return name in self._tensors  # Mapping's own version would read the tensor


def read_tensors(data: bytes, where: str) -> Tensors:
    """Return the dictionary of tensors that `torch.save` wrote.

    Raises:
        InputError: the file is of another kind, damaged, or describes tensors that its bytes do not hold.
    """
    try:
        return _from_zip(data, where) if zipfile.is_zipfile(io.BytesIO(data)) else _from_stream(data, where)
    except InputError as error:
        raise InputError(f"{where} refused, not plain weights: {str(error).removeprefix(f'{where}: ')}") from None
    except (zipfile.BadZipFile, KeyError, ValueError, TypeError, AttributeError, IndexError, struct.error, OSError) as error:
        reason = " ".join(f"{type(error).__name__}: {error}".split())
        raise InputError(f"{where} refused, not plain weights: {reason[:200]}") from None
    except (EOFError, RuntimeError, NotImplementedError) as error:  # from zipfile: truncated, encrypted, unknown compression
        raise InputError(f"{where} refused, not plain weights: {' '.join(str(error).split())[:200]}") from None


def _from_zip(data: bytes, where: str) -> Tensors:
    with zipfile.ZipFile(io.BytesIO(data)) as archive:
        infos = {info.filename: info for info in archive.infolist()}
        for info in infos.values():
            if info.file_size > info.compress_size:  # torch stores members uncompressed
                raise InputError(f"member {info.filename} unpacks to {info.file_size} bytes, over the safety limit; refused")
        root = next((name.removesuffix("data.pkl") for name in infos if name.endswith("/data.pkl")), None)
        if root is None:
            raise InputError("a zip without data.pkl; save the model again with torch.save")
        order = ">" if _text(archive, f"{root}byteorder", infos) == "big" else "<"
        content = pickles.read(archive.read(f"{root}data.pkl"), where, packages=_PACKAGES, persistent=_storage)
        tensors = _tensors(content)
        storages = {}
        for tensor in tensors.values():
            if tensor.storage.key not in storages:
                storages[tensor.storage.key] = archive.read(f"{root}data/{tensor.storage.key}")
    return _checked(tensors, storages, order)


def _text(archive: zipfile.ZipFile, name: str, infos: Mapping[str, zipfile.ZipInfo]) -> str:
    return archive.read(name)[:16].decode("ascii", "replace") if name in infos else ""


def _from_stream(data: bytes, where: str) -> Tensors:
    """Read the older format: magic, version and system as pickles, the content, the storages' keys, and their bytes."""
    parts, rest = [], memoryview(data)
    for index in range(5):
        end = pickles.length(bytes(rest[: pickles.MAX_BYTES]), persistent=index == 3)
        persistent = _storage if index == 3 else None
        parts.append(pickles.read(bytes(rest[:end]), where, packages=_PACKAGES, persistent=persistent))
        rest = rest[end:]
        if parts[0] != _MAGIC:
            raise InputError("it was not written by torch.save")
    order = "<" if parts[2]["little_endian"] else ">"
    tensors = _tensors(parts[3])
    sizes = {tensor.storage.key: np.dtype(_DTYPES[tensor.storage.kind]).itemsize for tensor in tensors.values()}
    storages = {}
    for key in parts[4]:
        (numel,) = struct.unpack(f"{order}q", rest[:8])
        num_bytes = numel * sizes[key]
        if not 0 <= num_bytes <= len(rest) - 8:
            raise InputError(f"storage {key} needs {num_bytes} bytes, the file has {len(rest) - 8} left")
        storages[key], rest = bytes(rest[8 : 8 + num_bytes]), rest[8 + num_bytes :]
    return _checked(tensors, storages, order)


def _storage(pid: Any) -> _Storage:
    kind, storage, key, _, numel, *view = pid
    name = getattr(storage, "origin", "").removeprefix("torch.").removesuffix("Storage")
    if kind != "storage" or name not in _DTYPES or not isinstance(key, str) or not isinstance(numel, int) or any(view):
        raise InputError(f"a storage of kind {name[:40]!r}; only numbers are read")
    return _Storage(key=key, kind=name, numel=numel)


def _tensors(content: Any) -> dict[str, _Tensor]:
    if not isinstance(content, dict):
        raise InputError("it is not a dictionary of tensors")
    return {str(name): _tensor(str(name), value) for name, value in content.items()}


def _tensor(name: str, value: Any) -> _Tensor:
    if getattr(value, "origin", "") == _PARAMETER:
        value = value.args[0]
    if getattr(value, "origin", "") != _TENSOR:
        raise InputError(f"it is not a dictionary of tensors: {name[:100]} is not a tensor")
    storage, offset, sizes, strides = value.args[:4]
    numbers = (offset, *sizes, *strides)
    if not isinstance(storage, _Storage) or not all(isinstance(n, int) and n >= 0 for n in numbers):
        raise InputError(f"{name[:100]} has a damaged header")
    if len(sizes) != len(strides) or len(sizes) > _MAX_DIMS:
        raise InputError(f"{name[:100]} has {len(sizes)} dimensions and {len(strides)} strides")
    return _Tensor(storage=storage, offset=offset, sizes=tuple(sizes), strides=tuple(strides))


def _checked(tensors: Mapping[str, _Tensor], storages: Mapping[str, bytes], order: str) -> Tensors:
    num_bytes = 0
    for name, tensor in tensors.items():
        itemsize = np.dtype(_DTYPES[tensor.storage.kind]).itemsize
        has = min(tensor.storage.numel, len(storages[tensor.storage.key]) // itemsize)
        numel = 1
        for size in tensor.sizes:
            numel *= size
        last = tensor.offset + sum((size - 1) * stride for size, stride in zip(tensor.sizes, tensor.strides, strict=True))
        if numel > has or (numel and last >= has):
            sizes = list(tensor.sizes)
            raise InputError(f"{name[:100]} of sizes {sizes} is larger than its storage of {has} numbers")
        num_bytes += numel * itemsize
    if num_bytes > _MAX_SHARING * sum(map(len, storages.values())):
        raise InputError(f"its tensors of {num_bytes} bytes share the same storage; save the model again")
    return Tensors(tensors, storages, order)
