"""The checkpoints that RLlib writes into a run's folder, as msgpack, and reads back without unpickling."""

from __future__ import annotations

import os
import shutil
from pathlib import Path
from typing import Any

from distil.durable import new_folder
from distil.errors import InputError
from distil.interchange.rllib_codec import unpack
from distil.store.files import os_fault


class Checkpoints:
    """The newest checkpoint of a run, in a folder named after its round.

    Args:
        folder: holds the checkpoints.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def path(self, round_index: int) -> Path:
        """Return the folder of a round's checkpoint."""
        return self._folder / f"{round_index:04d}"

    def save(self, algorithm: Any, round_index: int) -> Path:
        """Write a round's checkpoint, complete or not at all; RunError if the disk refuses."""
        path = self.path(round_index)
        shutil.rmtree(path, ignore_errors=True)  # of a run that was killed before it was reported
        try:
            with new_folder(path) as part:
                algorithm.save_to_path(str(part.resolve()), use_msgpack=True)
                for file in part.rglob("*"):
                    if file.is_file():
                        with file.open("rb") as opened:
                            os.fsync(opened.fileno())
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

        RLlib reads msgpack where it finds it, and unpickles arrays of objects in it: the files are looked through first.

        Raises:
            InputError: a file is missing or damaged, or would be unpickled.
        """
        path = self.path(round_index)
        require_plain(path)
        algorithm.restore_from_path(str(path.resolve()))


def require_plain(path: Path) -> None:
    """Raise InputError unless all states in a checkpoint are msgpack without arrays of objects."""
    states = [file for file in path.rglob("*state*") if file.is_file()]
    if not states:
        raise InputError(f"{path}: the run's checkpoint is missing; start a new run (without --resume)")
    for file in states:
        try:
            if file.suffix != ".msgpack":
                raise ValueError("not msgpack")
            unpack(file.read_bytes())
        except ValueError as error:
            reason = " ".join(str(error).split())[:200]
            raise InputError(f"{file}: refused, not plain data ({reason}); start a new run (without --resume)") from None
