"""Named arrays on disk with a JSON header: `WHAT.safetensors`, and `WHAT.json`, a readable copy of the header.

The safetensors file alone is what counts, so one rename replaces it and no half-written pair can exist. Nothing is pickled.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import xxhash
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save

from distil.durable import make_folders, replace_durably
from distil.errors import InputError, RunError
from distil.fence import Check, unfenced
from distil.types import Array


def write(folder: Path, what: str, header: Mapping[str, Any], arrays: Mapping[str, Array], check: Check = unfenced) -> Path:
    """Write both files into `folder` (made if needed), durably; older ones there are replaced.

    Args:
        folder: the folder.
        what: what it is, which names the files.
        header: a JSON object; `digest` is added to it.
        arrays: by name.
        check: called before each file is replaced; see `distil.fence`.

    Returns:
        The path of the arrays.

    Raises:
        RunError: the disk refused.
    """
    full = {**header, "digest": digest(arrays)}
    data = save({k: np.asarray(v, order="C") for k, v in arrays.items()}, metadata={"distil": json.dumps(full)})
    path = folder / f"{what}.safetensors"
    try:
        make_folders(folder)
        replace_durably(path, data, check)
        replace_durably(folder / f"{what}.json", (json.dumps(full, indent=2) + "\n").encode(), check)
    except OSError as error:
        raise RunError(
            f"{folder}: can't write the {what}: {error.strerror}; free some space or choose another folder"
        ) from None
    return path


def read(path: Path, what: str, missing: str) -> tuple[str, dict[str, Array]]:
    """Return the header's text and the arrays of a file that `write` wrote.

    Args:
        path: the file, or its folder.
        what: what it is.
        missing: what to do if there is none.

    Raises:
        InputError: there is none, or it is damaged.
    """
    path = path_of(path, what)
    if not path.is_file():
        raise InputError(f"{path}: no {what} here; {missing}")
    try:
        with safe_open(path, framework="numpy") as file:
            text: str = (file.metadata() or {})["distil"]
            arrays = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 (not a mapping)
    except (SafetensorError, KeyError, ValueError, TypeError, AttributeError, OSError) as error:  # or a dtype that numpy lacks
        raise InputError(f"{path}: not a whole distil {what} ({type(error).__name__}); copy it again or retrain") from None
    return text, arrays


def path_of(path: Path, what: str) -> Path:
    """Return the file of the arrays, given that file or its folder."""
    return path if path.suffix == ".safetensors" else path / f"{what}.safetensors"


def parse(text: str, what: str, number: int) -> dict[str, Any]:
    """Return the header; InputError if it is no JSON object, or of another format than `number`."""
    try:
        header = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise InputError(f"its header is no JSON ({type(error).__name__}); copy it again or retrain") from None
    if not isinstance(header, dict) or header.get("format") != number:
        found = header.get("format") if isinstance(header, dict) else None
        raise InputError(f"{what} format {str(found)[:20]}, this distil reads {number}; update distil")
    return header


def digest(arrays: Mapping[str, Array]) -> str:
    """Return the digest of names, dtypes, shapes and numbers."""
    state = xxhash.xxh3_128()
    for name in sorted(arrays):
        value = np.asarray(arrays[name], order="C")  # a scalar stays one
        state.update(f"{name} {value.dtype} {value.shape}".encode())
        state.update(value.tobytes())
    return state.hexdigest()
