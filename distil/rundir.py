"""A run's folder: its configuration, versions, journal and results; what `--resume` continues from.

runs/<name>-001/
  config.yaml      the resolved configuration: `distil train runs/<name>-001/config.yaml` repeats the run
  versions.json    Python, packages, git state
  journal.jsonl    one line for each thing that is done and durable
  outbox.jsonl     what the run records for MLflow; outbox.sent.json: how much of it has been sent
  checkpoints/     of the learner, inside a round
  rllib/           RLlib's newest checkpoint, where it trains
  policy/          the policy of the last reported round; in the end, the one that the run ends with
  reward/          the reward that was learned beside it, where one was
  reward.html      the page about it that `distil reward RUN` writes
  policies/        earlier policies: those that act in rounds that are collected ahead, or the best one so far
  agent/           a store of the run's own policies' newest episodes, for algorithms that train on them
  results.json     the last report's metrics, once the run is finished
  attempts/        one file for each process that has held the run; see `distil.fence`
"""

from __future__ import annotations

import json
import os
import platform
import re
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from functools import cache, cached_property
from importlib import metadata
from pathlib import Path
from typing import Any

import yaml

from distil.durable import discard_temporaries, make_folders, new_folder, replace_durably
from distil.errors import InputError
from distil.fence import Check, Held, hold, seems_held, unfenced
from distil.journal import Journal
from distil.plans import RoundReport
from distil.store.files import os_fault
from distil.types import unheard

_PACKAGES = ("distil", "ray", "torch", "gymnasium", "pyarrow", "numpy", "mlflow", "mujoco", "metaworld", "box2d")

BASELINES, LABELS = "baselines", "labels"  # folders that runs share: scores of experts, and labels of served ones
_FOLDER = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]*")


@dataclass(frozen=True)
class RunDir:
    """The folder of one run."""

    path: Path

    @classmethod
    def create(cls, root: Path, name: str, config_yaml: str, *, folder: str | None = None) -> RunDir:
        """Make a run's folder, with the configuration and the versions in it.

        Args:
            root: gets the folder.
            name: of the run.
            config_yaml: the resolved configuration.
            folder: its name; None: the next free `<name>-NNN`.

        Raises:
            InputError: `folder` is taken, or no folder can be made there.
            RunError: the disk is full, or refuses.
        """
        try:
            make_folders(root)
        except OSError as error:
            raise InputError(f"runs={root}: no folder can be made there ({error.strerror}); choose another one") from None
        files = {"config.yaml": config_yaml, "versions.json": json.dumps(versions(), indent=2) + "\n"}
        if folder is not None:
            run = cls.named(root, folder)
            run.require_new()
            try:
                return run._fill(files)
            except FileExistsError:  # another process was faster
                run.require_new()
                raise
        number = max((_number(path, name) for path in root.glob(f"{name}-*")), default=0)
        while True:
            number += 1
            with suppress(FileExistsError):  # another run was faster
                return cls(root / f"{name}-{number:03d}")._fill(files)

    @classmethod
    def named(cls, root: Path, folder: str) -> RunDir:
        """Return the run in the folder `<root>/<folder>`, which need not exist; InputError if that is no name."""
        if not _FOLDER.fullmatch(folder):
            raise InputError(f"--run {folder}: not a name of letters, digits, '_', '.' and '-', such as mine-001")
        return cls(root / folder)

    def require_new(self) -> None:
        """Raise InputError if the folder exists and is not empty, or has the name of one that runs share."""
        if self.name in (BASELINES, LABELS):
            raise InputError(f"--run {self.name}: the folder of that name holds what runs share; choose another name")
        if self.config.is_file():
            raise InputError(f"{self.path}: exists already; continue it with --resume, or choose another --run")
        if os.path.lexists(self.path) and not (self.path.is_dir() and not any(self.path.iterdir())):
            raise InputError(f"{self.path}: exists already and is not a run's folder; choose another --run")

    def _fill(self, files: Mapping[str, str]) -> RunDir:
        """Make the folder, with its files; FileExistsError if it is taken."""
        try:
            with new_folder(self.path) as part:
                for name, content in files.items():
                    replace_durably(part / name, content.encode())
        except FileExistsError:
            raise
        except OSError as error:
            raise os_fault(error, self.path) from None
        return self

    @classmethod
    def all(cls, root: Path, name: str) -> list[RunDir]:
        """Return the runs of that name, whatever their folders are called, oldest first."""
        begins = yaml.safe_dump({"name": name})
        found = [
            (file.stat().st_mtime_ns, cls(file.parent)) for file in root.glob("*/config.yaml") if _is_of(file, name, begins)
        ]
        return [run for _, run in sorted(found, key=lambda item: (item[0], item[1].path))]

    @property
    def name(self) -> str:
        """The folder's name, such as `lunarlander-bc-001`."""
        return self.path.name

    @property
    def config(self) -> Path:
        """The file of the resolved configuration."""
        return self.path / "config.yaml"

    @property
    def is_run(self) -> bool:
        """Whether the folder is a run's; others may hold a file config.yaml, too."""
        return self.config.is_file() and (self.path / "versions.json").is_file()

    @property
    def is_finished(self) -> bool:
        """Whether the run came to its end. Runs of distil 0.1.0 never say so."""
        return (self.path / "results.json").is_file()

    def finish(self, metrics: Mapping[str, float]) -> None:
        """Say that the run came to its end, with the last report's `metrics`."""
        replace_durably(self.path / "results.json", (json.dumps(dict(metrics), indent=2) + "\n").encode(), self.check)

    @property
    def policy(self) -> Path:
        """The folder of the policy."""
        return self.path / "policy"

    @property
    def reward(self) -> Path:
        """The folder of the reward."""
        return self.path / "reward"

    def policy_after(self, round_index: int) -> Path:
        """The folder of the policy that a round ended with, kept to collect ahead or as the best so far; with its reward."""
        return self.path / "policies" / f"{round_index:04d}"

    def forget_policies(self, before: int) -> None:
        """Remove the kept policies of rounds before `before`: nothing needs them any more."""
        self.check()
        for folder in (self.path / "policies").iterdir():
            if int(folder.name) < before:
                shutil.rmtree(folder)

    @property
    def agent(self) -> Path:
        """The folder of the store of what the run's own policies do."""
        return self.path / "agent"

    @property
    def look(self) -> Path:
        """The folder of the store of one evaluation's episodes, while their states are compared. Each attempt has its own."""
        return self.path / ("look" if self._holder is None else f"look-{self._holder.attempt.number:06d}")

    @property
    def checkpoints(self) -> Path:
        """The folder of the learner's checkpoints."""
        return self.path / "checkpoints"

    @property
    def rllib(self) -> Path:
        """The folder of RLlib's checkpoints, where it trains."""
        return self.path / "rllib"

    @contextmanager
    def lock(self, *, take: bool = False, note: Callable[[str], None] = unheard) -> Iterator[None]:
        """Hold the run, and read its journal as it is then: two processes that train would lose each other's steps.

        Args:
            take: have a process that runs it stop, and wait for that.
            note: told of the wait.

        Raises:
            InputError: another process runs it.
            SupersededError: a newer attempt has taken it over.
        """
        with held(self.path, "run", take=take, note=note) as attempt:
            vars(self).pop("_journal", None)
            vars(self)["_held"] = attempt
            try:
                yield
            finally:
                del vars(self)["_held"]

    @property
    def _holder(self) -> Held | None:
        return vars(self).get("_held")

    @property
    def check(self) -> Check:
        """What to call before a write: it raises SupersededError if this process has lost the run. It can be pickled."""
        return self._holder or unfenced

    def heed(self) -> None:
        """Raise SupersededError if a newer attempt waits for this one to stop: here is a good place to."""
        if self._holder is not None:
            self._holder.heed()

    def is_running(self) -> bool:
        """Return whether a process holds the run, as far as that can be known at once."""
        return seems_held(self.path)

    @cached_property
    def _journal(self) -> Journal:
        return Journal(self.path / "journal.jsonl", lambda: self.check())

    def append(self, kind: str, **data: Any) -> None:
        """Add a line to the journal, durably: when this returns, a kill does not lose it."""
        self._journal.append(kind, **data)
        self.heed()

    def journal(self, kind: str | None = None) -> list[dict[str, Any]]:
        """Return the journal's complete lines, or those of one kind."""
        return self._journal.entries(kind)

    def reports(self) -> list[RoundReport]:
        """Return the reports of the finished rounds."""
        return [RoundReport.from_json(entry["report"]) for entry in self.journal("reported")]

    def find(self, kind: str, round_index: int) -> dict[str, Any] | None:
        """Return the last journal line of that kind and round, or None."""
        return self._journal.find(kind, round_index)


@contextmanager
def held(folder: Path, what: str, *, take: bool = False, note: Callable[[str], None] = unheard) -> Iterator[Held]:
    """Hold the folder of a run or a sweep, and remove what a killed process left there; see `distil.fence.hold`."""
    with hold(folder, what, take=take, note=note) as attempt:
        discard_temporaries(folder)
        yield attempt


def _number(path: Path, name: str) -> int:
    digits = path.name.removeprefix(f"{name}-")
    return int(digits) if digits.isascii() and digits.isdigit() else 0


def _is_of(file: Path, name: str, begins: str) -> bool:
    """Return whether a run's configuration is of the run `name`; it is written with the name first."""
    with file.open(encoding="utf-8", errors="replace") as text:
        head = text.read(len(begins))
    return head == begins or (not head.startswith("name:") and _number(file.parent, name) > 0)


def versions() -> dict[str, Any]:
    """Return what a run depends on apart from its configuration: Python, packages, and the current folder's git state."""
    return {"python": sys.version.split()[0], "machine": platform.machine(), "packages": packages(), "git": _git_state()}


def packages(*more: str) -> dict[str, str]:
    """Return the versions of the packages that results depend on, by name; `more` are others that count if installed."""
    found = {name: _version(name) for name in (*_PACKAGES, *more)}
    return {name: version for name, version in found.items() if version is not None}


@cache  # reading a package's metadata takes 5 ms
def _version(package: str) -> str | None:
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return None


def _git_state() -> dict[str, Any] | None:
    def git(*args: str) -> str:
        return subprocess.run(["git", *args], capture_output=True, text=True, timeout=10, check=True).stdout.strip()

    try:
        return {"commit": git("rev-parse", "HEAD"), "changed_files": git("status", "--porcelain").splitlines()[:100]}
    except (OSError, subprocess.SubprocessError):
        return None  # not a git checkout, or no git
