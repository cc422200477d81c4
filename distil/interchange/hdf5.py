"""Plain HDF5 files (import only): D4RL's layout, all steps in a few arrays, and ALOHA's, a file an episode."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, ClassVar, Literal

import numpy as np

from distil.errors import InputError
from distil.interchange.arrays import ArraysImport
from distil.interchange.hdf5_files import open_hdf5
from distil.interchange.pictures import decode_images
from distil.types import Array

_OTHERS = {"demo_": "robomimic", "episode_": "minari"}  # beginnings of groups -> the format that has them


class Hdf5Import(ArraysImport):
    """Options to read an HDF5 file of arrays, or a folder of them. Groups are written `observations/images/top`."""

    summary: ClassVar[str] = "plain HDF5: D4RL's arrays of all steps, or ALOHA's file an episode"
    kind: Literal["hdf5"] = "hdf5"
    suffixes: ClassVar[tuple[str, ...]] = (".hdf5", ".h5")

    @contextmanager
    def opened(self, file: Path) -> Iterator[Mapping[str, Any]]:
        """See `ArraysImport.opened`."""
        with open_hdf5(file) as opened:
            for group in (opened, opened.get("data")):
                for beginning, kind in _OTHERS.items():
                    if hasattr(group, "keys") and any(name.startswith(beginning) for name in group):
                        raise InputError(f"{file}: it has {kind}'s layout: `distil store import {kind} ...`")
            arrays: dict[str, Any] = {}
            opened.visititems(lambda name, node: arrays.update({name: node}) if hasattr(node, "shape") else None)
            arrays = {name: node for name, node in arrays.items() if node.shape is not None}
            if bool(opened.attrs.get("compress", False)):
                arrays = {name: _Coded(node, name) if _is_coded(name, node) else node for name, node in arrays.items()}
            yield arrays


def _is_coded(name: str, node: Any) -> bool:
    return "images/" in name and node.dtype == np.uint8 and len(node.shape) == 2 and node.shape[0] > 0


class _Coded:
    """ALOHA's compressed images: a row is a JPEG, padded with zeros; slices are decoded."""

    def __init__(self, node: Any, name: str) -> None:
        self._node, self._name = node, name
        first = decode_images([node[0].tobytes()], name)
        self.shape, self.dtype = (node.shape[0], *first.shape[1:]), first.dtype

    def __getitem__(self, rows: slice) -> Array:
        return decode_images((row.tobytes() for row in self._node[rows]), self._name)
