"""A sweep's folder, and what its journal says about each trial.

RUNS/NAME/
  sweep.yaml     the resolved sweep: `distil sweep RUNS/NAME --resume` continues it
  sweep.jsonl    one line for each thing that is decided and durable
  demos/         the demonstrations that all trials share
  baselines/     scores of the expert and the random policy
  trials/        the runs of the search, `<family>-<number>`
  attempts/      one file for each process that has held the sweep; see `distil.fence`
  confirm/       the runs of the best configurations with fresh seeds, `<trial>-seed-<seed>`
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

from distil.config import public, to_yaml
from distil.durable import make_folders, new_folder, replace_durably
from distil.errors import InputError
from distil.fence import Held
from distil.journal import Journal
from distil.rundir import held
from distil.sweep.config import SweepConfig, load_sweep
from distil.sweep.search import Tried
from distil.sweep.space import Values
from distil.sweep.stopping import Score
from distil.tracking import flatten
from distil.types import unheard

_JOURNAL = "sweep.jsonl"
_MAY_CHANGE = ("concurrent", "retries", "runs")  # they say where and how it runs


@dataclass(frozen=True, kw_only=True)
class Trial:
    """One run of a sweep, as the journal knows it."""

    name: str
    family: str
    values: Values
    number: int = 0  # in its family
    of: str | None = None  # a confirmation: the trial whose configuration it has
    seed: int = 0
    looks: Sequence[Mapping[str, Any]] = field(default_factory=tuple)  # the scores that were heard, in their order
    ended: str | None = None  # "done", "stopped" (by the scheduler) or "failed"; None: it is not finished
    fault: str = ""  # why it failed

    @property
    def score(self) -> float | None:
        """The score on tuning episodes of the policy that it has ended with, or would end with now."""
        return next((float(look["score"]) for look in reversed(self.looks) if look["kept"]), None)

    @property
    def labels(self) -> float:
        """How many steps the expert had labelled at its last score."""
        return float(self.looks[-1]["labels"])

    @property
    def folder(self) -> str:
        """Its run's folder in the sweep's."""
        return f"{'trials' if self.of is None else 'confirm'}/{self.name}"


def _settings(config: SweepConfig) -> dict[str, str]:
    """Return what decides a sweep's results, by dotted key."""
    return {key: value for key, value in flatten(public(config)).items() if key not in _MAY_CHANGE}


@dataclass(frozen=True)
class SweepDir:
    """The folder of one sweep."""

    path: Path

    @classmethod
    def create(cls, config: SweepConfig) -> SweepDir:
        """Make the folder; InputError if it exists or cannot be made."""
        try:
            make_folders(config.folder.parent)
            with new_folder(config.folder) as part:
                replace_durably(part / "sweep.yaml", to_yaml(config).encode())
                for name in ("trials", "confirm"):
                    (part / name).mkdir()
        except FileExistsError:
            raise InputError(f"{config.folder}: exists already; continue it with --resume, or set name=...") from None
        except OSError as error:
            raise InputError(
                f"runs={config.runs}: no folder can be made there ({error.strerror}); choose another one"
            ) from None
        return cls(config.folder)

    @property
    def config(self) -> SweepConfig:
        """The resolved sweep."""
        return load_sweep(self.path)

    @property
    def is_sweep(self) -> bool:
        """Whether the folder is a sweep's."""
        return (self.path / "sweep.yaml").is_file()

    def require_same(self, sweep: SweepConfig) -> None:
        """Raise InputError if the folder is that of a sweep with other settings."""
        then, now = (_settings(config) for config in (self.config, sweep))
        changed = [key for key in sorted(then.keys() | now.keys()) if then.get(key) != now.get(key)]
        if changed:
            shown = ", ".join(f"{key} ({then.get(key)} then, {now.get(key)} now)" for key in changed[:3])
            raise InputError(f"{self.path}: cannot resume with other settings: {shown}; set them back, or choose another name")

    @contextmanager
    def lock(self, *, take: bool = False, note: Callable[[str], None] = unheard) -> Iterator[Held]:
        """Hold the sweep: two drivers would start the same trials. See `RunDir.lock`."""
        with held(self.path, "sweep", take=take, note=note) as attempt:
            vars(self)["journal"] = Journal(self.path / _JOURNAL, attempt.check)
            try:
                yield attempt
            finally:
                del vars(self)["journal"]

    @cached_property
    def journal(self) -> Journal:
        """The lines `prepared`, `started`, `heard`, `ended`, `chosen`, in the order in which they became durable."""
        return Journal(self.path / _JOURNAL)

    def prepared(self) -> Mapping[str, Any] | None:
        """Return what the first step found, once it is done."""
        return next(iter(self.journal.entries("prepared")), None)

    def trials(self) -> dict[str, Trial]:
        """Return all trials that have started, confirmations included, by name, in the order of their start."""
        found = dict[str, dict[str, Any]]()
        for entry in self.journal.entries():
            match entry["kind"]:
                case "started":
                    found[entry["trial"]] = {
                        "name": entry["trial"],
                        **{key: entry[key] for key in ("family", "values", "number", "of", "seed")},
                        "looks": [],
                    }
                case "heard":
                    found[entry["trial"]]["looks"].append(entry)
                case "ended":
                    found[entry["trial"]] |= {"ended": entry["how"], "fault": entry.get("fault", "")}
        return {name: Trial(**facts) for name, facts in found.items()}

    def scores(self) -> list[Score]:
        """Return all scores of the search in the order in which they came."""
        families = {name: trial.family for name, trial in self.trials().items() if trial.of is None}
        return [
            Score(trial=line["trial"], family=families[line["trial"]], fraction=line["fraction"], value=line["score"])
            for line in self.journal.entries("heard")
            if line["trial"] in families
        ]

    def tried(self, family: str) -> list[Tried]:
        """Return the finished trials of a family that have a score, in the order of their numbers."""
        ended = [trial for trial in self.trials().values() if trial.family == family and trial.ended and trial.of is None]
        return [
            Tried(values=trial.values, score=trial.score, labels=trial.labels)
            for trial in sorted(ended, key=lambda trial: trial.number)
            if trial.score is not None
        ]

    def finish(self, result: Mapping[str, Any]) -> None:
        """Keep the result of the sweep, which is finished."""
        replace_durably(self.path / "results.json", (json.dumps(dict(result), indent=2) + "\n").encode())
