"""What a power cut leaves: files that were flushed, under names that were flushed."""

import os
from pathlib import Path

import pytest


class PowerCut:
    """Watches `os.fsync` and knows what would be lost if the power failed now. `short` is what one `os.write` takes at most."""

    def __init__(self, patch: pytest.MonkeyPatch) -> None:
        self._sizes: dict[tuple[int, int], int] = {}
        self._names: dict[tuple[int, int], dict[str, int]] = {}
        self.short: int | None = None
        self._fsync, self._write = os.fsync, os.write
        patch.setattr(os, "fsync", self._flush)
        patch.setattr(os, "write", self._take)

    def _flush(self, descriptor: int) -> None:
        self._fsync(descriptor)
        status = os.fstat(descriptor)
        key = (status.st_dev, status.st_ino)
        if os.path.isdir(f"/proc/self/fd/{descriptor}"):
            with os.scandir(descriptor) as entries:
                self._names[key] = {entry.name: entry.inode() for entry in entries}
        else:
            self._sizes[key] = status.st_size

    def _take(self, descriptor: int, content: bytes) -> int:
        return self._write(descriptor, memoryview(content)[: self.short])

    def lost(self, root: Path) -> list[str]:
        """Return the files and folders under `root` that would be lost, or cut short; those of attempts don't count."""
        out = []
        for path in sorted(root.rglob("*")):
            status, parent = path.stat(), path.parent.stat()
            named = self._names.get((parent.st_dev, parent.st_ino), {}).get(path.name) == status.st_ino
            whole = path.is_dir() or self._sizes.get((status.st_dev, status.st_ino)) == status.st_size
            if not (named and whole) and "attempts" not in path.parts:
                out.append(str(path.relative_to(root)))
        return out
