"""A run's folder: its configuration, versions, journal and results; what `--resume` continues from.

runs/<name>-001/
  config.yaml      the resolved configuration: `distil train runs/<name>-001/config.yaml` repeats the run
  versions.json    Python, packages, git state
  journal.jsonl    what is done and durable, one line each
  checkpoints/     of the learner, inside a round
  policy/          the policy of the last reported round
  policies/        those that rounds collected ahead are still played with
  results.json     the last report's metrics
"""

from __future__ import annotations

import fcntl
import json
import os
import platform
import shutil
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path
from typing import Any

from distil.errors import InputError
from distil.plans import RoundReport

_PACKAGES = ("distil", "ray", "torch", "gymnasium", "pyarrow", "numpy", "mlflow", "mujoco", "metaworld", "box2d")


@dataclass(frozen=True)
class RunDir:
    """The folder of one run."""

    path: Path

    @classmethod
    def create(cls, root: Path, name: str, config_yaml: str) -> RunDir:
        """Make the next free folder `<root>/<name>-NNN` with the configuration and the versions in it."""
        root.mkdir(parents=True, exist_ok=True)
        number = max((run.number for run in cls.all(root, name)), default=0)
        while True:
            number += 1
            path = root / f"{name}-{number:03d}"
            try:
                path.mkdir()
            except FileExistsError:
                continue  # another run was faster
            break
        write_atomic(path / "config.yaml", config_yaml)
        write_atomic(path / "versions.json", json.dumps(versions(), indent=2) + "\n")
        return cls(path)

    @classmethod
    def all(cls, root: Path, name: str) -> list[RunDir]:
        """Return the runs of that name, oldest first."""
        found = [cls(p) for p in root.glob(f"{name}-*") if p.name.removeprefix(f"{name}-").isdigit() and p.is_dir()]
        return sorted(found, key=lambda run: run.number)

    @classmethod
    def latest(cls, root: Path, name: str) -> RunDir:
        """Return the newest run of that name; InputError if there is none."""
        runs = cls.all(root, name)
        if not runs:
            raise InputError(f"{root / name}-*: no run to resume; start it without --resume")
        return runs[-1]

    @property
    def name(self) -> str:
        """The folder's name, such as `lunarlander-bc-001`."""
        return self.path.name

    @property
    def number(self) -> int:
        """The number at the end of the name."""
        return int(self.path.name.rpartition("-")[2])

    @property
    def policy(self) -> Path:
        """The folder of the policy."""
        return self.path / "policy"

    def policy_after(self, round_index: int) -> Path:
        """The folder of the policy that a round ended with, kept where rounds are collected ahead."""
        return self.path / "policies" / f"{round_index:04d}"

    def forget_policies(self, before: int) -> None:
        """Remove the kept policies of rounds before `before`: nothing is played with them any more."""
        for folder in (self.path / "policies").iterdir():
            if int(folder.name) < before:
                shutil.rmtree(folder)

    @property
    def checkpoints(self) -> Path:
        """The folder of the learner's checkpoints."""
        return self.path / "checkpoints"

    @contextmanager
    def lock(self) -> Iterator[None]:
        """Hold the run: two processes that train into one folder would lose each other's steps."""
        with (self.path / ".lock").open("w") as file:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                raise InputError(f"{self.path}: another process is running this run; wait for it or stop it") from None
            yield

    def append(self, kind: str, **data: Any) -> None:
        """Add a line to the journal, durably: when this returns, a kill loses it no more."""
        path = self.path / "journal.jsonl"
        whole = _whole_lines(path)
        with path.open("r+b" if path.exists() else "wb") as file:
            file.truncate(len(whole))  # a line that a kill tore
            file.seek(0, os.SEEK_END)
            file.write((json.dumps({"kind": kind} | data) + "\n").encode())
            file.flush()
            os.fsync(file.fileno())

    def journal(self) -> list[dict[str, Any]]:
        """Return the journal's complete lines."""
        return [json.loads(line) for line in _whole_lines(self.path / "journal.jsonl").splitlines()]

    def reports(self) -> list[RoundReport]:
        """Return the reports of the finished rounds."""
        return [RoundReport(**entry["report"]) for entry in self.journal() if entry["kind"] == "reported"]

    def find(self, kind: str, round_index: int) -> dict[str, Any] | None:
        """Return the last journal line of that kind and round, or None."""
        found = [entry for entry in self.journal() if entry["kind"] == kind and entry.get("round") == round_index]
        return found[-1] if found else None


def _whole_lines(path: Path) -> bytes:
    data = path.read_bytes() if path.exists() else b""
    return data[: data.rfind(b"\n") + 1]


def write_atomic(path: Path, text: str) -> None:
    """Write a text file so that a reader sees all of it or none."""
    temporary = path.with_name(f".{path.name}.tmp")
    temporary.write_text(text)
    temporary.replace(path)


def versions() -> dict[str, Any]:
    """Return what a run depends on besides its configuration: Python, packages, and the current folder's git state."""
    packages = {}
    for name in _PACKAGES:
        try:
            packages[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            continue
    return {"python": sys.version.split()[0], "machine": platform.machine(), "packages": packages, "git": _git_state()}


def _git_state() -> dict[str, Any] | None:
    def git(*args: str) -> str:
        return subprocess.run(["git", *args], capture_output=True, text=True, timeout=10, check=True).stdout.strip()

    try:
        return {"commit": git("rev-parse", "HEAD"), "changed_files": git("status", "--porcelain").splitlines()[:100]}
    except (OSError, subprocess.SubprocessError):
        return None  # not a git checkout, or no git
