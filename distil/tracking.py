"""Experiment tracking: the four-method Tracker, MLflow behind it, and nothing behind it.

MLflow is imported when a run starts, never before. A thread of its own would not hide that: a small run computes all the time,
so the import and the run wait for the interpreter's lock in turn (its CPU time stays within 1.03 of its wall time). Calls go
through its client with explicit run ids, so no global active run exists and several trackers can live in one process. One
process should write a database: SQLite serialises writers.
"""

from __future__ import annotations

import json
import os
import time
import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, Protocol, TypeVar

from distil.config import Config
from distil.errors import InputError, RunError
from distil.mlflowdb import alone, artifact_location, connect
from distil.redaction import is_redacted, redact, redact_address, remember

DEFAULT_URI = "sqlite:///mlflow.db"
PARENT_TAG = "mlflow.parentRunId"  # the tag that puts a run (a sweep's trial) below another one

Status = Literal["FINISHED", "FAILED", "KILLED"]
T = TypeVar("T")

_MAX_PARAMS, _MAX_METRICS, _MAX_VALUE = 100, 1000, 6000  # MLflow's limits: of one log_batch, and of a parameter's characters
_FLUSH_S = 1.0
_OFF = "set tracking.enabled=false to run without tracking"


@dataclass(frozen=True, kw_only=True)
class DatasetInfo:
    """A store's snapshot as MLflow shows it: metadata only, the data stay where they are."""

    name: str
    path: str  # the store's folder
    digest: str  # of the snapshot's content; at most 36 characters
    profile: Mapping[str, float | str] = field(default_factory=dict)  # such as number of episodes and transitions
    context: str = "training"


class Tracker(Protocol):
    """Where a run's parameters, metrics and files go."""

    def check(self) -> None:
        """Raise InputError if there is no usable place to record to. No run is made."""

    def start(
        self,
        name: str,
        params: Mapping[str, Any],
        tags: Mapping[str, str] | None = None,
        dataset: DatasetInfo | None = None,
        *,
        run_id: str | None = None,
    ) -> str:
        """Open a run, or continue the run `run_id`; return the run's id.

        Args:
            name: the run's name, for people.
            params: the resolved configuration; nested mappings become dotted keys.
            tags: free text by key; `PARENT_TAG` makes it a child of another run.
            dataset: what the run learns from, where that is known so early.
            run_id: of a run to resume. Its parameters stay as they are. If the database no longer has it, a new run is started.
        """

    def log(self, metrics: Mapping[str, float], step: int, *, dataset: DatasetInfo | None = None) -> None:
        """Record `metrics` at `step`, and a `dataset` that came into being (the same one twice counts once)."""

    def artifact(self, path: Path | str, folder: str = "") -> None:
        """Keep a copy of a file, or of a folder's content, under `folder` of the run's artifacts."""

    def finish(self, status: Status = "FINISHED") -> None:
        """Write what is pending and close the run."""


class TrackingConfig(Config):
    """Where runs are recorded."""

    enabled: bool = True
    uri: str | None = None  # MLflow's tracking URI; None: MLFLOW_TRACKING_URI, and without that sqlite in ./mlflow.db
    experiment: str | None = None  # None: the recipe's name

    def build(self, experiment: str) -> Tracker:
        """Return the tracker; `experiment` is the name to use unless the configuration has one."""
        address = self.address()
        return MLflowTracker(address, self.experiment or experiment) if address is not None else NullTracker()

    def address(self) -> str | None:
        """Return MLflow's tracking URI; None: nothing is recorded.

        Raises:
            InputError: the password was taken out when a run saved this configuration.
        """
        if not self.enabled:
            return None
        given = os.environ.get("MLFLOW_TRACKING_URI")
        if self.uri is not None and not is_redacted(self.uri):
            return self.uri
        if self.uri is not None and not given:
            raise InputError(
                f"tracking.uri={self.uri}: passwords are not saved: give the whole address as tracking.uri or in the "
                f"environment variable MLFLOW_TRACKING_URI; {_OFF}"
            )
        return given or DEFAULT_URI


class NullTracker:
    """Records nothing."""

    def check(self) -> None:
        """Do nothing."""

    def start(
        self,
        name: str,
        params: Mapping[str, Any],
        tags: Mapping[str, str] | None = None,
        dataset: DatasetInfo | None = None,
        *,
        run_id: str | None = None,
    ) -> str:
        """Return the id it was given, or the empty one."""
        return run_id or ""

    def log(self, metrics: Mapping[str, float], step: int, *, dataset: DatasetInfo | None = None) -> None:
        """Do nothing."""

    def artifact(self, path: Path | str, folder: str = "") -> None:
        """Do nothing."""

    def finish(self, status: Status = "FINISHED") -> None:
        """Do nothing."""


class MLflowTracker:
    """One MLflow run. Metrics that come in quick succession are written together, at most a second late.

    Args:
        uri: MLflow's tracking URI. With sqlite, artifacts go to the folder `mlartifacts` next to the database.
        experiment: name of the experiment; made if it isn't there.

    Raises:
        InputError: from `start`, when there is no usable MLflow at `uri`.
        RunError: from the others, when MLflow fails later.
    """

    def __init__(self, uri: str, experiment: str) -> None:
        remember(uri)
        self._uri = uri
        self._experiment = experiment
        self._client: Any = None
        self._run_id = ""
        self._metrics: list[Any] = []
        self._flushed_at = 0.0
        self._datasets: set[tuple[str, str]] = set()

    def check(self) -> None:
        """Connect; see `Tracker.check`."""
        with self._mlflow(InputError):
            self._open()

    def start(
        self,
        name: str,
        params: Mapping[str, Any],
        tags: Mapping[str, str] | None = None,
        dataset: DatasetInfo | None = None,
        *,
        run_id: str | None = None,
    ) -> str:
        """Open or resume the run; see `Tracker.start`."""
        assert not self._run_id, "a tracker has one run"
        with self._mlflow(InputError):
            experiment_id = self._open()
            known = self._find(run_id) if run_id else None
            if known is not None:
                self._run_id = known.info.run_id
                self._datasets = {(i.dataset.name, i.dataset.digest) for i in known.inputs.dataset_inputs}
                self._client.update_run(self._run_id, status="RUNNING")
            else:
                run = self._client.create_run(experiment_id, tags=dict(tags or {}), run_name=name)
                self._run_id = str(run.info.run_id)
            self._log_params(params, known.data.params if known is not None else {})
        self._log_dataset(dataset)
        return self._run_id

    def log(self, metrics: Mapping[str, float], step: int, *, dataset: DatasetInfo | None = None) -> None:
        """Record metrics; see `Tracker.log`."""
        from mlflow.entities import Metric

        now_ms = time.time_ns() // 1_000_000
        self._metrics += [Metric(key, float(value), now_ms, step) for key, value in metrics.items()]
        self._log_dataset(dataset)
        if time.monotonic() - self._flushed_at >= _FLUSH_S or len(self._metrics) >= _MAX_METRICS:
            self._flush()

    def artifact(self, path: Path | str, folder: str = "") -> None:
        """Keep a copy; see `Tracker.artifact`."""
        self._flush()
        with self._mlflow(RunError):
            copy = self._client.log_artifacts if Path(path).is_dir() else self._client.log_artifact
            copy(self._run_id, str(path), folder or None)

    def finish(self, status: Status = "FINISHED") -> None:
        """Close the run; see `Tracker.finish`. A run that never started, or has been closed, is left alone.

        A run that fails has its own error to tell, so MLflow's is dropped then.
        """
        if not self._run_id:
            return
        with suppress(*(() if status == "FINISHED" else (RunError,))):
            self._flush()
            with self._mlflow(RunError):
                self._client.set_terminated(self._run_id, status=status)
        self._run_id = ""

    def _find(self, run_id: str) -> Any:
        from mlflow.exceptions import MlflowException

        try:
            return self._client.get_run(run_id)
        except MlflowException as error:
            if error.error_code == "RESOURCE_DOES_NOT_EXIST":  # the database was deleted, or is another one
                return None
            raise

    def _open(self) -> str:
        """Connect, one process at a time: the first one makes the database and the experiment. Return the experiment's id."""
        with alone(self._uri):
            self._client = connect(self._uri)
            from mlflow.exceptions import MlflowException  # `connect` imports MLflow, in its own way

            experiment = self._client.get_experiment_by_name(self._experiment)
            if experiment is None:
                try:
                    return str(self._client.create_experiment(self._experiment, artifact_location(self._uri)))
                except MlflowException as error:
                    if error.error_code != "RESOURCE_ALREADY_EXISTS":
                        raise
                    experiment = self._client.get_experiment_by_name(self._experiment)  # made by another machine
        if experiment.lifecycle_stage != "active":
            raise InputError(
                f"MLflow experiment {self._experiment!r} is deleted: restore it in MLflow or choose another tracking.experiment"
            )
        return str(experiment.experiment_id)

    def _log_params(self, params: Mapping[str, Any], known: Mapping[str, str]) -> None:
        from mlflow.entities import Param

        new = [Param(key, value[:_MAX_VALUE]) for key, value in flatten(params).items() if key not in known]
        for chunk in _chunks(new, _MAX_PARAMS):
            self._client.log_batch(self._run_id, params=chunk)

    def _log_dataset(self, dataset: DatasetInfo | None) -> None:
        if dataset is None or (dataset.name, dataset.digest) in self._datasets:
            return
        from mlflow.entities import Dataset, DatasetInput, InputTag

        entity = Dataset(
            name=dataset.name,
            digest=dataset.digest,
            source_type="local",
            source=json.dumps({"uri": dataset.path}),
            profile=json.dumps(dict(dataset.profile)),
        )
        tags = [InputTag("mlflow.data.context", dataset.context)]
        with self._mlflow(RunError):
            self._client.log_inputs(self._run_id, [DatasetInput(entity, tags)])
        self._datasets.add((dataset.name, dataset.digest))

    def _flush(self) -> None:
        pending, self._metrics = self._metrics, []
        with self._mlflow(RunError):
            for chunk in _chunks(pending, _MAX_METRICS):
                self._client.log_batch(self._run_id, metrics=chunk)
        self._flushed_at = time.monotonic()

    @contextmanager
    def _mlflow(self, kind: type[InputError] | type[RunError]) -> Iterator[None]:
        """Turn what MLflow and its database raise into one line, and keep their deprecations among themselves."""
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore", DeprecationWarning)
                yield
        except (InputError, RunError):
            raise
        except Exception as error:  # MLflow passes on whatever SQLAlchemy, requests or a plugin raises
            first = (str(error).strip() or type(error).__name__).splitlines()[0]
            raise kind(redact(f"MLflow at {redact_address(self._uri)}: {first}; {_OFF}")) from error


def flatten(data: Mapping[str, Any], prefix: str = "") -> dict[str, str]:
    """Return dotted key -> text, as MLflow's parameters are; lists are written as JSON."""
    out: dict[str, str] = {}
    for key, value in data.items():
        name = f"{prefix}{key}"
        if isinstance(value, Mapping):
            out |= flatten(value, f"{name}.")
        else:
            out[name] = value if isinstance(value, str) else json.dumps(value, default=str)
    return out


def _chunks(items: Sequence[T], size: int) -> Iterator[Sequence[T]]:
    for start in range(0, len(items), size):
        yield items[start : start + size]
