"""The few operations on a store's files that the rest is built from; `FolderBackend` and `ObjectBackend` implement them."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from distil.errors import RunError
from distil.store.location import Location


@dataclass(frozen=True, kw_only=True)
class StoredFile:
    """A file of a store."""

    key: str  # relative to the store, such as data/a.arrow
    num_bytes: int
    modified_s: float  # Unix time


class InTheWayError(RunError):
    """A folder can't be made, since there is a file of its name."""


class Backend(Protocol):
    """The operations on a store's files. Keys are relative to the store's root, parts joined by a slash.

    Methods raise FileNotFoundError for what isn't there, and a one-line RunError when the disk or the service refuses.
    """

    def get(self, key: str) -> bytes:
        """Return a whole file."""

    def get_ranges(self, key: str, starts: Sequence[int], lengths: Sequence[int]) -> list[bytes]:
        """Return parts of a file; RunError when one lies beyond its end."""

    def size(self, key: str) -> int:
        """Return a file's size in bytes."""

    def put(self, key: str, content: bytes) -> None:
        """Write a small file, whole or not at all, in place of what may be there."""

    def put_if_absent(self, key: str, content: bytes) -> None:
        """Write a small file unless it exists: then FileExistsError. Of several callers, exactly one succeeds."""

    def staging(self) -> Path:
        """Return the local folder in which files that `publish` takes are written."""

    def publish(self, file: Path, key: str) -> None:
        """Make a flushed file of `staging()` appear under a new key, durably, and take it away from there."""

    def list(self, folder: str) -> list[StoredFile]:
        """Return the files directly in a folder, hidden ones included, in no order; none if the folder doesn't exist."""

    def delete(self, key: str) -> None:
        """Remove a file, if it is there."""

    def touch(self, key: str, num_bytes: int) -> str:
        """Make a sealed file of `num_bytes` look new to the garbage collector; return its key, which may be another one.

        RunError if it has another size.
        """

    def withdraw(self, key: str, *, older_than_s: float) -> bool:
        """Delete a file that nothing has touched since the Unix time `older_than_s`; return whether that is done."""

    def local(self, key: str, num_bytes: int, digest: str) -> Path:
        """Return a local file with the content: itself, or a copy in the cache, checked against `digest` when it is made."""


def check_touched(num_bytes: int, expected: int, where: Location) -> None:
    """Raise RunError unless a sealed file has the size with which it was sealed."""
    if num_bytes != expected:
        raise RunError(f"{where}: {num_bytes} bytes, not {expected}: truncated or altered since it was sealed; write it again")


def check_ranges(parts: Iterable[bytes], lengths: Sequence[int], where: Location) -> None:
    """Raise RunError unless every part of the file `where` has the length that was asked for."""
    if any(len(part) != length for part, length in zip(parts, lengths, strict=True)):
        raise RunError(f"{where}: shorter than the manifest says; restore it from a copy")
