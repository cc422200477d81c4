"""What a configuration refers to, identified by its content: files by their bytes, modules by their source.

A path or a name may refer to something else tomorrow. Episodes, labels and scores are therefore identified by what was there
when they were made: another expert file at the same path, or another environment of the same name, gives other episodes.
"""

from __future__ import annotations

import ast
import os
import sys
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from itertools import product
from pathlib import Path
from typing import Any

import xxhash

from distil.config import import_target

_CHUNK = 1 << 20
_INSTALLED = {"site-packages", "dist-packages"}


@dataclass(frozen=True, kw_only=True)
class Content:
    """Digests of what an environment or an expert is made of, in addition to its configuration."""

    files: Mapping[str, str] = field(default_factory=dict)  # path -> digest of the bytes
    sources: Mapping[str, str] = field(default_factory=dict)  # module -> digest of the source
    unknown: frozenset[str] = frozenset()  # parts without a digest, such as a class that was typed into an interpreter

    def __or__(self, other: Content) -> Content:
        return Content(
            files={**self.files, **other.files},
            sources={**self.sources, **other.sources},
            unknown=self.unknown | other.unknown,
        )

    def to_json(self) -> dict[str, dict[str, str]]:
        """Return the digests as a JSON object."""
        return {"files": dict(self.files), "sources": dict(self.sources)}


def changed(now: Mapping[str, str], earlier: Mapping[str, str]) -> list[str]:
    """Return the names whose digests differ, or that only one of the two has."""
    return sorted(name for name in now.keys() | earlier.keys() if now.get(name) != earlier.get(name))


def of_files(*paths: Path | None) -> Content:
    """Return the content of files; None is a file that does not exist."""
    return Content(files={str(path): _digest(path) for path in paths if path is not None})


def of_target(target: str, what: str) -> Content:
    """Return the content of a user's object `package.module:name`; InputError, with `what` it is, if it cannot be imported.

    The content is the source of that module, of the module that defines the object, and of what both import from their folders.
    """
    value = import_target(target, what)
    return of_modules(target.partition(":")[0], module_of(value))


def of_modules(*names: str) -> Content:
    """Return the content of imported modules. Those without a file are `unknown`; so are Python's own if there is no other."""
    own = [name for name in names if name and name.partition(".")[0] not in sys.stdlib_module_names]
    files = {name: getattr(sys.modules.get(name), "__file__", None) for name in own}
    sources = {name: _source(Path(file)) for name, file in files.items() if file and Path(file).is_file()}
    return Content(sources=sources, unknown=frozenset(own or names).difference(sources))


def with_imports(names: Iterable[str]) -> dict[str, str]:
    """Return digests of the user's modules with all that they import from their own package, whatever its folder there.

    Other names, and installed packages, which their versions identify, are left out.
    """
    found = {}
    for name in names:
        file = getattr(sys.modules.get(name), "__file__", None)
        path = Path(file) if file else None
        if path is None or not path.is_file() or name.partition(".")[0] == "distil" or _INSTALLED & set(path.parts):
            continue
        depth = name.count(".") + (path.name == "__init__.py")
        found[name] = _source(path, path.parents[: depth + 1])
    return found


def module_of(value: Any) -> str:
    """Return the name of the module that defines an object; empty if the object does not have it."""
    name = getattr(value, "__module__", None)
    return name if isinstance(name, str) else ""


def _digest(path: Path) -> str:
    state = xxhash.xxh3_128()
    with path.open("rb") as file:
        while chunk := file.read(_CHUNK):
            state.update(chunk)
    return state.hexdigest()


def _source(path: Path, folders: Sequence[Path] = ()) -> str:
    """Return the digest of a module's file and of the files that it imports from `folders`, its own unless given."""
    found = {name: _digest(file) for name, file in with_imported_files(path, folders or [path.parent]).items()}
    return xxhash.xxh3_128_hexdigest(repr(sorted(found.items())).encode())


def with_imported_files(path: Path, folders: Sequence[Path]) -> dict[str, Path]:
    """Return a module's file and the files that it imports from `folders`, by their names relative to its own folder."""
    todo, found = [path], dict[str, Path]()
    while todo:
        file = todo.pop()
        name = os.path.relpath(file, path.parent)
        if name not in found:
            found[name] = file
            todo += _imported(file, folders) if file.suffix == ".py" else []
    return found


def _imported(file: Path, folders: Sequence[Path]) -> Iterator[Path]:
    """Yield the files in or below `folders` that the module imports, under any of their names."""
    for name in _imported_names(file.read_bytes()):
        parts = [part for part in name.split(".") if part.isidentifier()]
        for folder, begin in product(folders, range(len(parts))):
            place = folder.joinpath(*parts[begin:])
            yield from (p for p in (place.with_suffix(".py"), place / "__init__.py") if p.is_file())


@lru_cache(maxsize=256)  # a run asks for the content of the same modules many times
def _imported_names(source: bytes) -> tuple[str, ...]:
    """Return the names that a module's import statements have; none if it is not valid for this Python."""
    try:
        tree = ast.parse(source)
    except (SyntaxError, ValueError, RecursionError):  # the bytes alone identify it
        return ()
    names = dict[str, None]()
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            names |= dict.fromkeys(alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            base = node.module or ""
            names |= dict.fromkeys([base, *(f"{base}.{alias.name}" for alias in node.names)])
    return tuple(names)
