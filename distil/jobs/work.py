"""What a job does: a command of distil, resolved here as the command itself would, with a home for each of its paths."""

from __future__ import annotations

import shlex
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from distil.errors import InputError
from distil.jobs.inputs import expert_files, module_files, require_files, reward_files
from distil.jobs.package import Package
from distil.jobs.paths import Homes, homes, override_words, stays
from distil.redaction import redact
from distil.runconfig import RunConfig, load_config
from distil.rundir import RunDir


@dataclass(frozen=True, kw_only=True)
class Work:
    """A command for the cluster."""

    name: str  # what the job's id begins with
    words: Sequence[str]  # the arguments of distil, as the user gave them
    added: Sequence[str] = ()  # more of them
    configs: Sequence[RunConfig] = ()  # of its runs; empty if they are on the cluster alone
    files: Mapping[str, str] = field(default_factory=dict)  # that it names itself: path -> what they are
    notes: Sequence[str] = ()

    def __post_init__(self) -> None:
        for word in (*self.words, *self.added):
            if redact(word) != word:
                raise InputError(
                    f"{redact(word)}: the dashboard shows a job's command: leave the password out, and pass the whole address "
                    "with --env MLFLOW_TRACKING_URI"
                )

    def checked(self, package: Package, folder: Path) -> Work:
        """Return it with notes on what cannot be known here; InputError if it reads a file that does not travel."""
        installed: set[str] = set()
        require_files(package, folder, self.files)
        for config in self.configs:
            if config.rollouts.address is not None:
                raise InputError(
                    f"rollouts.address={config.rollouts.address}: a job runs on the cluster that it is submitted to: set "
                    "rollouts.address=null"
                )
            files, others = module_files(config, folder)
            require_files(package, folder, files | expert_files(config) | reward_files(config))
            installed |= others
        if not installed:
            return self
        note = f"the cluster's Python needs {', '.join(sorted(installed))}, which is installed here and does not travel"
        return replace(self, notes=[*self.notes, note])

    def entrypoint(self, python: str) -> str:
        """Return the shell command of the job."""
        return shlex.join([python, "-m", "distil", *self.words, *self.added])


def run_work(
    command: str,
    words: Sequence[str],
    recipe: str,
    overrides: Mapping[str, Any],
    move: Homes,
    *,
    run: str | None = None,
    travels: Sequence[str] = (),
) -> Work:
    """Return the work of `distil train` or `distil collect`.

    A named run is continued if it exists, so that a job that is submitted again continues.

    Args:
        command: train or collect.
        words: its arguments.
        recipe: among them.
        overrides: among them.
        move: gives relative paths a home.
        run: the name of the run, among them.
        travels: names of the environment variables that the job gets from here.

    Raises:
        InputError: the configuration is wrong, or a path has no home.
    """
    path = Path(recipe)
    resume = ["--resume"] if run is not None and "--resume" not in words else []
    if path.is_absolute() and not path.exists():
        note = f"{recipe}: not on this machine; the job checks its configuration"
        return Work(name=run or _name(path), words=[command, *words], added=resume, notes=[note])
    config = load_config(recipe, overrides)
    is_run = RunDir(path).is_run or RunDir(path.parent).is_run
    if is_run and "--resume" in words:  # it is continued where it is
        words = _replaced(words, recipe, move(f"the run {recipe}", recipe))
        files = {}
    else:
        files = {str(file): "the recipe" for file in (path, path / "config.yaml") if file.is_file()}
    found = homes(config, move, travels)
    move.require()
    notes = [*_demonstrations(config, found), *stays(found, travels)]
    config = load_config(recipe, {**overrides, **found})
    return Work(
        name=run or config.name,
        words=[command, *words],
        added=[*resume, *override_words(found)],
        configs=[config],
        files=files,
        notes=notes,
    )


def evaluate_work(words: Sequence[str], run: str, move: Homes) -> Work:
    """Return the work of `distil evaluate`; InputError if the run's folder has no home."""
    home = move("RUN", run)
    move.require()
    return Work(name=f"evaluate-{_name(Path(run))}", words=["evaluate", *_replaced(words, run, home)])


def _replaced(words: Sequence[str], old: str, new: str) -> list[str]:
    return [new if word == old else word for word in words]


def _demonstrations(config: RunConfig, found: Mapping[str, Any]) -> list[str]:
    """Return a note if demonstrations are here, and the job reads others."""
    here = config.store_path
    if "data.path" in found and isinstance(here, Path) and (here / "store.json").is_file():
        return [
            f"the demonstrations in {here} stay here; the job uses those in {found['data.path']}, and collects what is missing"
        ]
    return []


def _name(path: Path) -> str:
    return (path.parent if path.name == "config.yaml" else path).stem
