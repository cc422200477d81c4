"""Runs' folders as records: a run, a folder of runs, or a sweep with its trials and confirmations."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import yaml

from distil.compare.record import Point, Role, RunRecord, State, points_of
from distil.errors import InputError, RunError
from distil.journal import Entry, Journal
from distil.rundir import RunDir
from distil.store import Store

SWEEP = "sweep.yaml"
_ROLES: Mapping[str, Role] = {"trials": "trial", "confirm": "confirmation"}  # folders of a sweep
_Loader = getattr(yaml, "CSafeLoader", yaml.SafeLoader)  # ten times as fast


class StoreDigests:
    """The digests of stores' snapshots; each is read once."""

    def __init__(self) -> None:
        self._known: dict[tuple[str, int], str] = {}
        self._stores: dict[str, Store | None] = {}

    def get(self, path: Path, version: int) -> str:
        """Return name, version and short digest of a snapshot; without the digest if the store isn't there any more."""
        key = (str(path), version)
        if key not in self._known:
            digest = self._digest(path, version)
            self._known[key] = f"{path.name} v{version}" + (f", {digest[:12]}" if digest else "")
        return self._known[key]

    def _digest(self, path: Path, version: int) -> str:
        try:
            if str(path) not in self._stores:
                self._stores[str(path)] = Store.open(path)
            store = self._stores[str(path)]
            return store.snapshot(version).digest if store is not None else ""
        except (InputError, RunError, OSError):
            self._stores.setdefault(str(path), None)
            return ""


class Reader:
    """Reads folders of runs. What runs share, stores and sweeps, is read once."""

    def __init__(self) -> None:
        self._digests = StoreDigests()
        self._sweeps: dict[Path, dict[str, Entry]] = {}

    def read(self, path: Path) -> list[RunRecord]:
        """Return the records of the runs that a path names: see `find_runs`. A trial without a folder is among a sweep's."""
        records = [self.run(folder) for folder in find_runs(path)]
        known = {record.name for record in records}
        ended = self._ended(path) if (path / SWEEP).is_file() else {}
        return records + [
            RunRecord(name=name, state="failed", reason=str(line.get("fault", "")), role="trial", trial=name)
            for name, line in ended.items()
            if line["how"] == "failed" and name not in known
        ]

    def run(self, path: Path) -> RunRecord:
        """Return the record of the run in a folder. A damaged one is "unreadable", with the reason."""
        role = role_of(path)
        record = read_run(path, role, self._digests)
        if role == "run":
            return record
        line = self._ended(path.parent.parent).get(path.name, {})
        if record.state != "finished" and line.get("how") in ("stopped", "failed"):
            record = replace(record, state=line["how"], reason=str(line.get("fault", "")))
        return replace(record, trial=re.sub(r"-seed-\d+$", "", path.name))

    def _ended(self, sweep: Path) -> dict[str, Entry]:
        """Return how the trials of a sweep ended, by their names."""
        if sweep not in self._sweeps:
            file = sweep / "sweep.jsonl"
            lines = Journal(file).entries("ended") if file.is_file() else []
            self._sweeps[sweep] = {str(line["trial"]): line for line in lines}
        return self._sweeps[sweep]


def find_runs(path: Path) -> list[Path]:
    """Return the folders of runs that a path names: the run, the runs of a sweep, or the runs in a folder.

    Raises:
        InputError: there is none.
    """
    if path.name == "config.yaml":
        path = path.parent
    if RunDir(path).is_run:
        return [path]
    folders = [path / name for name in _ROLES] if (path / SWEEP).is_file() else [path]
    found = [run for folder in folders for run in _runs_in(folder)]
    if not found:
        raise InputError(f"{path}: no run there (a run's folder has config.yaml and versions.json)")
    return found


def _runs_in(folder: Path) -> list[Path]:
    return sorted(path for path in folder.iterdir() if RunDir(path).is_run) if folder.is_dir() else []


def role_of(path: Path) -> Role:
    """Return what a run is for, by where its folder is."""
    return _ROLES.get(path.parent.name, "run") if (path.parent.parent / SWEEP).is_file() else "run"


def read_run(path: Path, role: Role, digests: StoreDigests) -> RunRecord:
    """Return what a run's own folder says."""
    try:
        config = yaml.load((path / "config.yaml").read_text(encoding="utf-8"), _Loader)
        versions = json.loads((path / "versions.json").read_text(encoding="utf-8"))
        run = RunDir(path)
        entries = run.journal()
        state, reason = _state(run, entries)
        return RunRecord(
            name=path.name,
            path=path,
            config=config,
            state=state,
            reason=reason,
            role=role,
            points=_points(entries),
            commit=_commit(versions),
            version=str(versions.get("packages", {}).get("distil", "")),
            store=_store(path, config, entries, digests),
            mlflow_id=next((str(entry["run_id"]) for entry in entries if entry["kind"] == "tracked"), ""),
        )
    except (OSError, ValueError, KeyError, TypeError, AttributeError, RunError, yaml.YAMLError) as error:
        first = " ".join(str(error).split()) or type(error).__name__
        return RunRecord(name=path.name, path=path, state="unreadable", reason=first, role=role)


def _points(entries: list[Entry]) -> list[Point]:
    """Return the scores of the reports, and of the policies inside an update, which had cost as much data as its round."""
    out: list[Point] = []
    watched: list[Entry] = []
    before = 0.0  # gradient steps of the earlier rounds
    for entry in entries:
        if entry["kind"] == "watched":
            watched.append(entry)
        elif entry["kind"] == "reported":
            metrics = entry["report"]["metrics"]
            data = {key: value for key, value in metrics.items() if key.startswith("budget/") and not key.endswith("_s")}
            for line in watched:
                own = {f"budget/{name}": value for name, value in line.get("spent", {}).items()}
                out += points_of(data | line["metrics"] | {"budget/gradient_steps": before + line["step"]} | own)
            # the report repeats the last one
            out += [point for point in points_of(metrics) if point.held_out or not watched]
            watched, before = [], metrics.get("budget/gradient_steps", before)
    return out


def _state(run: RunDir, entries: list[Entry]) -> tuple[State, str]:
    if run.is_finished:
        return "finished", ""
    rounds = sum(entry["kind"] == "reported" for entry in entries)
    how_far = f"{rounds} round{'s' * (rounds != 1)} reported"
    return ("running", how_far) if run.is_running() else ("unfinished", f"{how_far}; `distil train {run.path} --resume`")


def _commit(versions: Mapping[str, Any]) -> str:
    git = versions.get("git") or {}
    return str(git.get("commit", ""))[:12] + (" with changes" if git.get("changed_files") else "")


def _store(path: Path, config: Mapping[str, Any], entries: list[Entry], digests: StoreDigests) -> str:
    """Return the demonstrations that the run learned from last."""
    versions = [entry["report"].get("snapshot") for entry in entries if entry["kind"] == "reported"]
    version = next((number for number in reversed(versions) if number is not None), None)
    data = config.get("data") or {}
    if data.get("mixture") is not None:
        return ", ".join(Path(str(part["path"])).name for part in data["mixture"]["parts"])
    name = str(data.get("path") or f"data/{config.get('name')}")
    if version is None:
        return Path(name).name
    return f"{name} v{version}" if "://" in name else digests.get(_started_in(path, config) / name, version)


def _started_in(path: Path, config: Mapping[str, Any]) -> Path:
    """Return the folder that relative paths of the configuration start from: where `runs` of it leads to the run."""
    here, runs = path.parent, Path(str(config.get("runs") or "runs"))
    num = len(runs.parts)
    return Path(*here.parts[:-num]) if here.parts[-num:] == runs.parts else Path()
