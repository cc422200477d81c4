"""What importers and exporters are: their base classes, and the little they share.

An importer yields whole episodes. What another format can't say, the importer decides by a documented option and reports;
what it can't hold, the exporter adds in fields that other readers ignore, or reports.
"""

from __future__ import annotations

import importlib
import re
import secrets
import shutil
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, Literal

import numpy as np

from distil.config import Config, nearest
from distil.errors import InputError, RunError
from distil.interchange.episodes import Finding, Report
from distil.store.schema import StoreSpec
from distil.store.snapshot import Snapshot
from distil.types import Array, Episode


@dataclass(frozen=True, kw_only=True)
class Contents:
    """What an importer found: what the data looks like, and how to read its episodes, one at a time.

    `episodes` may raise anything while it is iterated or while an episode is read: `episodes.sift` makes one line of it.
    """

    spec: StoreSpec
    episodes: Iterator[tuple[str, Callable[[], Episode]]]  # the source's name of an episode, and what reads it
    stem: str  # uids begin with it
    file: Path | None = None  # what messages name where an episode doesn't say its own; None: the source


class Importer(Config, ABC):
    """Reads one format. A subclass is its options: `kind` is the format's name, see `formats.ImportConfig`."""

    summary: ClassVar[str]  # one line for `distil store formats`
    kind: str
    observations: tuple[str, ...] = ()  # keys to take as observations; default: the format's own, text left out
    action: str | tuple[str, ...] = "action"  # key of the actions; several are joined in this order
    images: Literal["as_is", "uint8"] = "as_is"  # uint8: float images that hold whole numbers from 0 to 255
    demonstrations: bool = True  # the actions are an expert's: they become labels; else nothing is labelled
    infos: tuple[str, ...] = ()  # keys of the steps' infos to keep, in formats that have any
    observe: str = ""  # package.module:function that makes the environment's observations of those that are read

    @abstractmethod
    def read(self, source: Path, report: Report) -> Contents:
        """Return what is in `source`.

        Args:
            source: a file, a folder, or a name that the format's library resolves.
            report: told what is left out, guessed or rounded.

        Raises:
            InputError: `source` isn't such data, or a library is missing. Any other exception is taken as damaged data.
        """

    @property
    def action_keys(self) -> tuple[str, ...]:
        """The keys of the actions, in the order in which they are joined."""
        return (self.action,) if isinstance(self.action, str) else self.action

    def require_no_choice(self, where: object, why: str) -> None:
        """Raise InputError if keys were chosen where there is nothing to choose from; `why` says so."""
        if self.observations or self.action != type(self).model_fields["action"].default:
            raise InputError(f"{where}: {why}; leave observations=... and action=... out")

    def choose(self, known: Mapping[str, str], default: Iterable[str], where: object, report: Report) -> tuple[str, ...]:
        """Return the keys of the observations: the option's, or those of `default` that hold numbers.

        Args:
            known: each key of the data -> why it can't be taken (such as "text"), or "" if it can.
            default: the keys to take where the option names none; those that can't be taken are reported.
            where: the data, for messages.
            report: told what is left out.

        Raises:
            InputError: a key isn't there, can't be taken or is named twice, or there is none at all.
        """
        chosen, left = self.observations, list[str]()
        if not chosen:
            wanted = list(default)
            if left := [f"{name} ({known[name]})" for name in wanted if known[name]]:
                report(Finding(file=str(where), what=f"left out, as only numbers are read: {', '.join(left)}"))
            chosen = tuple(name for name in wanted if not known[name])
        if not chosen:
            but = f" that are numbers, but {', '.join(left)}" if left else ""
            raise InputError(f"{where}: no observations{but}; name them with observations=[...]; {_there_are(known)}")
        if not self.action_keys:
            raise InputError(f"{where}: action names no key; {_there_are(known)}")
        require_keys(known, (*chosen, *self.action_keys), where)
        for option, keys in (("observations", chosen), ("action", self.action_keys)):
            if len(set(keys)) < len(keys):
                raise InputError(f"{where}: {option} names a key twice: {', '.join(keys)}")
        if outside := self._outside_actions(known, chosen):
            shown = f"{', '.join(outside[:5])}{', ...' * (len(outside) > 5)}"
            report(Finding(file=str(where), what=f"{shown}: not part of the actions, which are {self.action} (action=[...])"))
        return tuple(chosen)

    def _outside_actions(self, known: Mapping[str, str], chosen: Iterable[str]) -> list[str]:
        """Return the keys of groups named like the actions, where the user has not chosen the actions."""
        if self.action != type(self).model_fields["action"].default or not isinstance(self.action, str) or not self.action:
            return []
        group = re.compile(re.escape(self.action.removesuffix("s")) + r"\w*[./]")
        return [name for name, fault in known.items() if not fault and name not in chosen and group.match(name)]


def require_keys(known: Mapping[str, str], keys: Iterable[str], where: object) -> None:
    """Raise InputError for the first of `keys` that isn't `known` or can't be taken; see `Importer.choose`."""
    usable = [name for name, fault in known.items() if not fault]
    for name in keys:
        if name not in known:
            below = [other for other in usable if other.startswith((f"{name}/", f"{name}."))]
            group = f" ({name} is a group; name its parts: [{', '.join(below)}])" if below else nearest(name, usable)
            raise InputError(f"{where}: no key {name!r}{group}; {_there_are(known)}")
        if known[name]:
            raise InputError(f"{where}: {name} can't be taken: it is {known[name]}, not numbers; {_there_are(known)}")


def _there_are(known: Mapping[str, str]) -> str:
    usable = [name for name, fault in known.items() if not fault]
    return f"there are {', '.join(usable[:30])}{', ...' * (len(usable) > 30)}" if usable else "it has no keys with numbers"


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
        did = "the last one is repeated" if self.final_observation == "repeat" else "the last action is dropped"
        return Finding(file=file, what=f"holds no observation after an episode's last action: {did} (final_observation=...)")


def require(module: str, extra: str) -> Any:
    """Return an optional library; InputError tells how to install it."""
    try:
        return importlib.import_module(module)
    except ImportError as error:
        raise InputError(f"this format needs {module} ({error}): pip install 'distil[{extra}]'") from None


@contextmanager
def fresh(target: Path) -> Iterator[Path]:
    """Yield an absolute path next to `target` for a new file or folder; it is renamed on success, else removed."""
    target = target.absolute()  # libraries change directory, or join a relative path to itself
    if target.exists():
        raise InputError(f"{target}: already exists; choose another place, or remove it first")
    target = target.absolute()  # libraries may resolve a relative path elsewhere
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
