"""HDF5 files opened safely: none that keeps data elsewhere, or claims more than it holds."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from distil.errors import InputError
from distil.interchange.base import require
from distil.interchange.episodes import one_line
from distil.interchange.guard import DEFLATE_RATIO, RATIO, Claims, grid_bytes

FAULTS = (OSError, KeyError, ValueError, TypeError, RuntimeError, MemoryError, OverflowError)  # what h5py raises on bad files
_MOST_LEVELS = 32
_FILTERS = {1: DEFLATE_RATIO, 2: 1, 3: 1, 32000: DEFLATE_RATIO}  # deflate, shuffle, fletcher32, lzf


def open_hdf5(source: Path) -> Any:
    """Return an open `h5py.File`, all of whose objects were looked at.

    Raises:
        InputError: it isn't HDF5, or a part of it is elsewhere (an external link, external storage, a virtual dataset),
            or a dataset claims more bytes than the file can hold.
    """
    h5py = require("h5py", "hdf5")
    try:
        file = h5py.File(source, "r")
    except FAULTS as error:
        raise InputError(f"{source}: can't be read as HDF5: {one_line(error)}") from None
    try:
        _Checker(h5py, file, source).check()
    except InputError:
        file.close()
        raise
    except FAULTS as error:
        file.close()
        raise InputError(f"{source}: can't be read as HDF5: {one_line(error)}") from None
    return file


def datasets(group: Any) -> Iterator[tuple[str, Any]]:
    """Yield the path (`a/b`) and the node of each dataset below an open group; links that name nothing are passed over."""
    seen, waiting = {hash(group.id)}, [("", group)]
    while waiting:
        path, found = waiting.pop(0)
        for key in found:
            node = found.get(key)
            if hasattr(node, "dtype"):
                yield path + key, node
            elif hasattr(node, "keys") and hash(node.id) not in seen:  # a link may lead back
                seen.add(hash(node.id))
                waiting.append((f"{path}{key}/", node))


class _Checker:
    """Looks at each object of a file once, following hard links only. Soft links can't leave the file."""

    def __init__(self, h5py: Any, file: Any, source: Path) -> None:
        self._h5, self._root, self._source = h5py, file.id, source
        self._claims = Claims(source.stat().st_size)

    def check(self) -> None:
        seen, waiting = {self._h5.h5o.get_info(self._root).addr}, [b"/"]
        while waiting:
            path = waiting.pop()
            group = self._h5.h5g.open(self._root, path)
            for name, link in self._links(group):
                below = path.rstrip(b"/") + b"/" + name
                where = f"{self._source}:{below.decode(errors='replace')}"
                if link not in (self._h5.h5l.TYPE_HARD, self._h5.h5l.TYPE_SOFT):
                    raise InputError(f"{where}: an external link, which isn't followed; copy what it names into the file")
                if link == self._h5.h5l.TYPE_SOFT:
                    continue
                about = self._h5.h5o.get_info(group, name)
                if about.addr in seen:
                    continue
                seen.add(about.addr)
                if about.type == self._h5.h5o.TYPE_GROUP:
                    if below.count(b"/") > _MOST_LEVELS:
                        raise InputError(f"{where}: more than {_MOST_LEVELS} groups inside one another aren't read")
                    waiting.append(below)
                elif about.type == self._h5.h5o.TYPE_DATASET:
                    self._check_dataset(self._h5.h5d.open(group, name), where)

    def _links(self, group: Any) -> list[tuple[bytes, int]]:
        links: list[tuple[bytes, int]] = []
        group.links.iterate(lambda name, info: links.append((name, info.type)), info=True)
        return links

    def _check_dataset(self, dataset: Any, where: str) -> None:
        how = dataset.get_create_plist()
        if how.get_layout() == self._h5.h5d.VIRTUAL:
            raise InputError(f"{where}: a virtual dataset, which reads other files; copy its data into the file")
        if how.get_external_count():
            raise InputError(f"{where}: keeps its data in another file, which isn't read; copy them into the file")
        chunks = how.get_chunk() if how.get_layout() == self._h5.h5d.CHUNKED else None
        ratio = 1
        for index in range(how.get_nfilters()):
            ratio = max(ratio, _FILTERS.get(how.get_filter(index)[0], RATIO))
        claimed = grid_bytes(dataset.shape or (), chunks, dataset.get_type().get_size())
        self._claims.add(where, claimed, dataset.get_storage_size(), ratio)
