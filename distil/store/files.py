"""Small files and folders of a store: JSON with a checksum, and one-line errors for what disks do."""

from __future__ import annotations

import errno
import json
import os
import zlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from distil.errors import RunError

MAX_JSON_BYTES = 1 << 28


def dump_json(data: Mapping[str, Any]) -> bytes:
    """Return canonical JSON of `data` with its own `crc32` added; `parse_json` checks it."""
    return _canonical({**data, "crc32": zlib.crc32(_canonical(data))})


def parse_json(raw: bytes, where: object) -> dict[str, Any]:
    """Return what `dump_json` made, without the checksum; RunError, naming `where`, unless it is byte for byte the same."""
    try:
        data: dict[str, Any] = json.loads(raw)
        assert isinstance(data, dict)
        crc = data.pop("crc32")
        intact = zlib.crc32(_canonical(data)) == crc and _canonical({**data, "crc32": crc}) == raw
    except (ValueError, KeyError, AssertionError, RecursionError):
        intact = False
    if not intact:
        raise RunError(f"{where}: damaged (its checksum doesn't match); restore it from a copy")
    return data


def _canonical(data: Mapping[str, Any]) -> bytes:
    return (json.dumps(data, sort_keys=True, separators=(",", ":"), allow_nan=False) + "\n").encode()


def os_fault(error: OSError, path: Path) -> RunError:
    """Return the one-line error for what the operating system refused to do with `path`."""
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        return RunError(f"{path}: no disk space left; free some and run again with --resume, committed episodes are kept")
    if error.errno in (errno.EACCES, errno.EROFS):
        return RunError(f"{path}: no permission ({os.strerror(error.errno)}); make the folder writable or choose another")
    if error.errno in (errno.EPERM, errno.EOPNOTSUPP, errno.EMLINK):
        return RunError(f"{path}: the file system refuses ({os.strerror(error.errno)}); put the store on one with hard links")
    return RunError(f"{path}: {os.strerror(error.errno) if error.errno else str(error).splitlines()[0]}; check the disk")
