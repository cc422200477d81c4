"""What the arguments of `distil compare` name: folders of runs and sweeps, and MLflow experiments."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from distil.compare.experiment import read_experiment
from distil.compare.folders import Reader
from distil.compare.record import RunRecord
from distil.errors import InputError


def read_all(names: Sequence[str], uri: str) -> list[RunRecord]:
    """Return the records of all runs that the names stand for; a run that two of them name counts once.

    Args:
        names: folders (a run, a sweep, or a folder of runs), or names of MLflow experiments.
        uri: MLflow's tracking URI.

    Raises:
        InputError: a name is neither, or the runs are of different environments.
    """
    reader = Reader()
    found: dict[str, RunRecord] = {}
    for name in names:
        path = Path(name)
        if path.exists():
            records = reader.read(path)
        elif len(path.parts) > 1:
            raise InputError(f"{name}: no such folder")
        else:
            records = read_experiment(uri, name, reader)
        for record in records:
            found.setdefault(record.mlflow_id or record.name if record.path is None else str(record.path.resolve()), record)
    records = list(found.values())
    _require_one_environment(records)
    return records


def _require_one_environment(records: Sequence[RunRecord]) -> None:
    known = {record.environment: record for record in reversed(records) if record.config}
    if len(known) > 1:
        first, second = list(known.values())[-1], list(known.values())[-2]
        raise InputError(
            f"{first.name} is a run on {first.environment or 'no environment'}, and {second.name} on "
            f"{second.environment or 'none'}: their scores have no common scale; compare runs of one environment"
        )
