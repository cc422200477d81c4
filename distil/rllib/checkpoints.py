"""The checkpoints that RLlib writes into a run's folder, as msgpack, and reads back without unpickling."""

from __future__ import annotations

import importlib
import os
import shutil
from pathlib import Path
from typing import Any

import msgpack  # type: ignore[import-untyped,unused-ignore]
import numpy as np

from distil.durable import new_folder
from distil.errors import InputError, RunError
from distil.experts.rllib.checkpoint import MAX_BYTES, STATE, find_module, read_bytes
from distil.fence import Check, unfenced
from distil.interchange.rllib_codec import unpack
from distil.store.files import os_fault


class Checkpoints:
    """The newest checkpoint of a run, in a folder named after its round.

    Args:
        folder: holds the checkpoints.
        check: called before one is replaced or appears; see `distil.fence`.
    """

    def __init__(self, folder: Path, check: Check = unfenced) -> None:
        self._folder, self._check = folder, check

    def path(self, round_index: int) -> Path:
        """Return the folder of a round's checkpoint."""
        return self._folder / f"{round_index:04d}"

    def save(self, algorithm: Any, round_index: int) -> Path:
        """Write a round's checkpoint, complete or not at all; RunError if the disk refuses."""
        path = self.path(round_index)
        self._check()
        shutil.rmtree(path, ignore_errors=True)  # of a run that was killed before it was reported
        try:
            with new_folder(path) as part:
                try:
                    algorithm.save_to_path(str(part.resolve()), use_msgpack=True)
                finally:
                    algorithm.learner_group.foreach_learner(own_msgpack)
                    own_msgpack()
                for file in part.rglob("*"):
                    if file.is_file():
                        with file.open("rb") as opened:
                            os.fsync(opened.fileno())
                self._check()
        except OSError as error:
            raise os_fault(error, path) from None
        return path

    def forget(self, before: int) -> None:
        """Remove the checkpoints of rounds before `before`."""
        for path in self._folder.glob("[0-9]*"):
            if int(path.name) < before:
                shutil.rmtree(path)

    def restore(self, algorithm: Any, round_index: int) -> None:
        """Set the state of an algorithm that was built from the recipe.

        RLlib's own `restore_from_path` would unpickle arrays of objects in msgpack, so the files are not given to it.

        Raises:
            InputError: a file is missing or damaged, or would have to be unpickled.
        """
        algorithm.set_state(read_state(self.path(round_index)))


def own_msgpack(*_: Any) -> None:
    """Give msgpack its own functions back.

    RLlib replaces them in each process that writes a checkpoint, by ones for arrays. Ray's messages are written with them, too:
    the processes that have not written a checkpoint could not read an array in a message of one that has.
    """
    importlib.reload(msgpack)


def read_state(path: Path) -> dict[str, Any]:
    """Return the state of a checkpoint, those of its components under the names of their folders.

    Raises:
        InputError: a state is missing or damaged, is not msgpack, or holds arrays of objects, which are pickles.
    """
    again = "start a new run (without --resume)"
    file = next(iter(sorted(path.glob("*state.msgpack"))), None)
    if file is None:
        raise InputError(f"{path}: the run's checkpoint has no state in msgpack there; {again}")
    try:
        state = unpack(file.read_bytes())
        if not isinstance(state, dict):
            raise ValueError("not a dictionary")
    except ValueError as error:
        reason = " ".join(str(error).split())[:200]
        raise InputError(f"{file}: refused, not plain data ({reason}); {again}") from None
    return state | {part.name: read_state(part) for part in sorted(path.iterdir()) if part.is_dir()}


def require_finite(path: Path, steps: int) -> None:
    """Raise RunError if a parameter of the checkpoint's module is NaN or infinite."""
    state = unpack(read_bytes(find_module(path) / f"{STATE}.msgpack", MAX_BYTES))
    if bad := [name for name, values in state.items() if not np.isfinite(values).all()]:
        fix = "lower learner.learning_rate; the checkpoint before it is kept"
        raise RunError(f"{path}: the network diverged within {steps} steps: {bad[0]} is not finite: {fix}")
