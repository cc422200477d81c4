"""Learner checkpoints: one safetensors file each, with its JSON in the header, written atomically and verified when read.

A checkpoint is taken inside an update, or at its end (`done`). The newest two are kept, and the newest `done` one: an update
starts from it if the newer ones belong to another plan.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
import xxhash
from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor

from distil.durable import make_folders, replace_durably
from distil.errors import RunError
from distil.fence import Check, unfenced

_NAME = re.compile(r"^round-(\d{6})-step-(\d{9})(-done)?\.safetensors$")
_KEPT = 2


@dataclass(frozen=True, kw_only=True)
class Checkpoint:
    """A learner's state at one step of one update."""

    tensors: Mapping[str, Tensor]
    state: Mapping[str, Any]  # JSON

    @property
    def done(self) -> bool:
        """Whether it was taken at the end of an update."""
        return bool(self.state["done"])


class Checkpoints:
    """The checkpoints of one run, in one folder."""

    def __init__(self, folder: Path, check: Check = unfenced) -> None:
        """Use `folder`, which is created with the first checkpoint; `check` is called before one appears (`distil.fence`)."""
        self._folder, self._check = folder, check

    def clear(self) -> None:
        """Remove all checkpoints: a new run starts."""
        for path in self._paths():
            path.unlink()

    def save(self, checkpoint: Checkpoint) -> None:
        """Write `checkpoint` durably, then remove older ones; RunError if the disk refuses."""
        tensors = {name: value.detach().cpu().contiguous() for name, value in checkpoint.tensors.items()}
        header = {"distil": json.dumps(dict(checkpoint.state)), "digest": _digest(tensors)}
        end = "-done" if checkpoint.done else ""
        path = self._folder / f"round-{checkpoint.state['round']:06d}-step-{checkpoint.state['step']:09d}{end}.safetensors"
        try:
            make_folders(self._folder)
            replace_durably(path, save(tensors, metadata=header), self._check)
        except OSError as error:
            raise RunError(
                f"{path}: can't write the checkpoint: {error.strerror}; free some space, then rerun with --resume"
            ) from None
        self._prune()

    def newest_first(self) -> Iterator[Checkpoint]:
        """Yield the intact checkpoints, newest first; damaged files are skipped."""
        for path in reversed(self._paths()):
            checkpoint = _read(path)
            if checkpoint is not None:
                yield checkpoint

    def _paths(self) -> list[Path]:
        if not self._folder.is_dir():
            return []
        return sorted((p for p in self._folder.iterdir() if _NAME.match(p.name)), key=_order)

    def _prune(self) -> None:
        paths = self._paths()
        done = [path for path in paths if "-done" in path.name]
        for path in set(paths) - set(paths[-_KEPT:]) - set(done[-1:]):
            path.unlink()


def _order(path: Path) -> tuple[int, bool, int]:
    match = _NAME.match(path.name)
    assert match is not None
    return int(match[1]), match[3] is not None, int(match[2])


def _digest(tensors: Mapping[str, Tensor]) -> str:
    state = xxhash.xxh3_128()
    for name in sorted(tensors):
        state.update(name.encode())
        if tensors[name].numel():  # a tensor without elements has no bytes to view
            state.update(tensors[name].reshape(-1).view(torch.uint8).numpy().data)
    return state.hexdigest()


def _read(path: Path) -> Checkpoint | None:
    try:
        with safe_open(path, framework="pt") as file:
            header = file.metadata() or {}
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 (not a mapping)
        if header.get("digest") != _digest(tensors):
            return None
        state = json.loads(header["distil"])
        return Checkpoint(tensors=tensors, state=state) if isinstance(state, dict) else None
    except (SafetensorError, KeyError, ValueError, TypeError, AttributeError, RecursionError):
        return None
