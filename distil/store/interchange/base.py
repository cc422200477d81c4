"""What importers and exporters are: their base classes, and the little they share.

An importer yields whole episodes. What another format can't say, the importer decides by a documented option and reports;
what it can't hold, the exporter adds beside the format's own fields, where their readers pass it over, or reports.
"""

from __future__ import annotations

import importlib
import secrets
import shutil
from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, ClassVar, Literal

import numpy as np

from distil.config import Config
from distil.errors import InputError, RunError
from distil.store.interchange.episodes import Finding, Report
from distil.store.schema import StoreSpec
from distil.store.snapshot import Snapshot
from distil.types import Array, Episode


class Importer(Config, ABC):
    """Reads one format. A subclass is its options: `kind` is the format's name, see `formats.ImportConfig`."""

    summary: ClassVar[str]  # one line for `distil store formats`
    kind: str
    demonstrations: bool = True  # the actions are an expert's: they become labels; else nothing is labelled
    infos: tuple[str, ...] = ()  # keys of the steps' infos to keep, in formats that have any

    @abstractmethod
    def read(self, source: Path, *, skip_bad: bool, report: Report) -> tuple[StoreSpec, Iterator[Episode]]:
        """Return what the data looks like, and its episodes, read one at a time.

        Args:
            source: a file, a folder, or a name that the format's library resolves.
            skip_bad: leave out episodes with a bad row (each reported) rather than stop at the first.
            report: told what is left out, guessed or rounded.

        Raises:
            InputError: `source` isn't such data, or a library is missing.
            RunError: (while iterating) a bad row, unless `skip_bad`.
        """


class Exporter(Config, ABC):
    """Writes one format. A subclass is its options: `kind` is the format's name, see `formats.ExportConfig`."""

    summary: ClassVar[str]
    kind: str
    actions: Literal["executed", "expert"] = "executed"  # which ones the format's own action field gets

    @abstractmethod
    def write(self, snapshot: Snapshot, target: Path, *, report: Report) -> None:
        """Write the snapshot's episodes, in its order, to `target`, which must not exist (InputError).

        `report` is told what the format can't hold. When it fails, nothing is left at `target`.
        """

    def chosen_actions(self, episode: Episode) -> Array:
        """Return the actions [T, ...] for the format's own field; InputError if an expert's label is missing."""
        if self.actions == "executed":
            return episode.actions
        if not np.all(episode.labelled):
            step = int(np.flatnonzero(episode.labelled == 0)[0])
            raise InputError(f"episode {episode.uid}: no expert's label at step {step}; export with actions=executed")
        return episode.expert_actions


class WithoutFinalObservation(Importer):
    """A format that holds T observations for T actions, so that the one after the last action isn't there."""

    final_observation: Literal["repeat", "drop"] = "repeat"  # repeat the last observation, or drop the last action

    def ended(self, observations: Mapping[str, Array], num: int) -> tuple[dict[str, Array], int]:
        """Return observations with their final one, and the number of actions to keep, of `num`."""
        if self.final_observation == "drop":
            return dict(observations), num - 1
        return {name: np.concatenate([rows, rows[-1:]]) for name, rows in observations.items()}, num

    def finding(self, file: str) -> Finding:
        """Return what to report once a file."""
        did = "the last one stands in for it" if self.final_observation == "repeat" else "the last action is dropped"
        return Finding(file=file, what=f"holds no observation after an episode's last action: {did} (final_observation=...)")


def require(module: str, extra: str) -> Any:
    """Return an optional library; InputError tells how to install it."""
    try:
        return importlib.import_module(module)
    except ImportError as error:
        raise InputError(f"this format needs {module} ({error}): pip install 'distil[{extra}]'") from None


@contextmanager
def fresh(target: Path) -> Iterator[Path]:
    """Yield an absolute path beside `target` to write a file or folder to; renamed when all went well, else removed."""
    target = target.absolute()  # libraries change directory, or join a relative path to itself
    if target.exists():
        raise InputError(f"{target}: there already; choose another place, or remove it first")
    part = target.with_name(f".{target.name}.{secrets.token_hex(4)}.part")
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        yield part
        part.rename(target)
    except OSError as error:
        raise RunError(f"{target}: can't be written: {error.strerror or error}") from None
    finally:
        if part.is_dir():
            shutil.rmtree(part, ignore_errors=True)
        elif part.exists():
            part.unlink()
