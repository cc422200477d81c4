"""An MLflow experiment's runs as records: from their folders where these are still there, otherwise from MLflow."""

from __future__ import annotations

import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

from distil.compare.curves import AXES
from distil.compare.folders import Reader
from distil.compare.record import Point, RunRecord, State, nested, points_of
from distil.config import nearest
from distil.errors import InputError
from distil.mlflowdb import connect, sqlite_file
from distil.redaction import redact, redact_address, remember
from distil.rundir import RunDir
from distil.tracking import PARENT_TAG

_PAGE = 1000  # MLflow's client returns at most as many at once, and does not say when it leaves some out
_STATES: Mapping[str, State] = {"FINISHED": "finished", "FAILED": "failed", "KILLED": "failed"}  # all others: running
_STEPS = "budget/gradient_steps"
_CURVE = "tune/return_mean"


def read_experiment(uri: str, name: str, reader: Reader) -> list[RunRecord]:
    """Return the records of all runs of an experiment, oldest first; runs that only group others are left out.

    Raises:
        InputError: there is no such database or experiment, or the experiment has no runs.
    """
    database = sqlite_file(uri)
    if database is not None and not database.is_file():
        raise InputError(f"{name}: no such folder, and no MLflow database {database} to look for an experiment of that name")
    remember(uri)
    with _told(uri):
        client = connect(uri)
        experiment = client.get_experiment_by_name(name)
        if experiment is None:
            raise InputError(f"{name}: no such folder, and no such experiment in MLflow{_known(client, name)}")
        runs = list(_pages(client, experiment.experiment_id))
        parents = {run.data.tags.get(PARENT_TAG) for run in runs}
        found = [_record(client, run, reader) for run in runs if run.info.run_id not in parents]
    if not found:
        raise InputError(f"{name}: the experiment has no runs")
    return found


def _known(client: Any, name: str) -> str:
    names = sorted(each.name for each in client.search_experiments() if each.name != "Default")
    return nearest(name, names) or (f"; there are {', '.join(names[:8])}" if names else "; there is none yet")


def _pages(client: Any, experiment_id: str) -> Iterator[Any]:
    token = None
    while True:
        page = client.search_runs([experiment_id], max_results=_PAGE, page_token=token, order_by=["attributes.start_time ASC"])
        yield from page
        if not (token := page.token):
            return


def _record(client: Any, run: Any, reader: Reader) -> RunRecord:
    tags = run.data.tags
    folder = tags.get("run_dir")
    state = _STATES.get(run.info.status, "running")
    if folder and RunDir(Path(folder)).is_run:
        record = replace(reader.run(Path(folder)), mlflow_id=run.info.run_id)
        return replace(record, state="failed") if record.state == "unfinished" and state == "failed" else record
    datasets = [item.dataset for item in run.inputs.dataset_inputs] if run.inputs else []
    return RunRecord(
        name=run.info.run_name or run.info.run_id,
        config=nested(run.data.params),
        state=state,
        reason="" if state == "finished" else f"MLflow: {run.info.status.lower()}",
        points=_points(client, run),
        commit=tags.get("mlflow.source.git.commit", "")[:12],
        version=tags.get("distil_version", ""),
        store=f"{datasets[-1].name}, {datasets[-1].digest[:12]}" if datasets else "",
        mlflow_id=run.info.run_id,
    )


def _points(client: Any, run: Any) -> list[Point]:
    """Return the scores of a run. Earlier ones are those of its learning curve, with the budgets that are axes of curves."""
    latest = run.data.metrics
    if _CURVE not in latest:
        return points_of(latest)
    at: dict[int, dict[str, float]] = {}  # a step is the run's number of gradient steps (in distil 0.1: a round)
    for key in (_CURVE, *(f"budget/{name}" for name in AXES)):
        for metric in client.get_metric_history(run.info.run_id, key) if key in latest else ():
            at.setdefault(metric.step, {})[key] = metric.value
    if any(metrics.get(_STEPS) == step for step, metrics in at.items()):
        for step, metrics in at.items():
            metrics.setdefault(_STEPS, step)  # of a score inside an update
    earlier = [point for _, metrics in sorted(at.items()) for point in points_of(metrics)]
    last = {name: value for name, value in latest.items() if not name.startswith("budget/")}
    tuned = [replace(point, budget=earlier[-1].budget) for point in points_of(last) if not point.held_out]
    return [*earlier[:-1], *tuned, *(point for point in points_of(latest) if point.held_out)]


@contextmanager
def _told(uri: str) -> Iterator[None]:
    """Turn what MLflow and its database raise into one line."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", DeprecationWarning)  # MLflow's own
            yield
    except InputError:
        raise
    except Exception as error:  # MLflow passes on whatever SQLAlchemy or requests raises
        first = (str(error).strip() or type(error).__name__).splitlines()[0]
        raise InputError(redact(f"MLflow at {redact_address(uri)}: {first}")) from error
