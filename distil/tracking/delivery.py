"""Sends the records of an outbox to MLflow, in their order. Sending twice gives the same history.

MLflow stores an equal metric (value, time, step), parameter, tag, dataset and file once. A run is found by its unique id before
it is created. So a record whose answer was lost is simply sent again.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any, TypeVar

from distil.tracking.experiment import describe_experiment
from distil.tracking.outbox import Cursor, Outbox, Record
from distil.tracking.server import PARENT_TAG, PARENT_UID_TAG, UID_TAG, Server
from distil.types import Note, unheard

T = TypeVar("T")

_MAX_PARAMS, _MAX_TAGS, _MAX_METRICS = 100, 100, 1000  # MLflow's limits of one call
_MAX_VALUE, _MAX_TAG, _MAX_KEY = 6000, 5000, 250  # and of a parameter's, a tag's and a name's characters
_NOT_IN_KEYS = re.compile(r"[^A-Za-z0-9_.\-/ ]")


class Delivery:
    """What has been sent of one outbox. Mutable.

    Args:
        server: where to.
        outbox: the records.
        note: told of files that are gone.
    """

    def __init__(self, server: Server, outbox: Outbox, note: Note = unheard) -> None:
        self._server, self._outbox, self._note = server, outbox, note
        self._cursor = Cursor()
        self._seen_run = ""  # MLflow's id of the run that is known to be there
        self._experiment_id = ""
        self._metrics: list[Any] = []

    @property
    def is_done(self) -> bool:
        """Whether all complete records have been sent; a cheap question."""
        return bool(self._seen_run) and self._outbox.size() <= self._cursor.offset

    def send(self, on_sent: Callable[[], None] = lambda: None) -> None:
        """Send what has not been sent; `on_sent` is called after each step. What MLflow raises is passed on."""
        with self._outbox.sending() as is_free:
            if not is_free:
                return
            self._cursor, self._metrics = self._resume(), []
            try:
                for record, offset in self._outbox.read(self._cursor.offset):
                    if record["kind"] != "metrics" or len(self._metrics) >= _MAX_METRICS:
                        self._flush(on_sent)
                    self._take(record)
                    self._cursor = replace(self._cursor, offset=offset)
                    if record["kind"] != "metrics":
                        self._keep(on_sent)
                self._flush(on_sent)
            except BaseException:
                self._seen_run = ""
                raise

    def _resume(self) -> Cursor:
        """Return where to continue: at the beginning, if this is another MLflow or it has lost the run."""
        kept = self._outbox.cursor()
        if kept.to != self._server.name or not kept.run_id:
            return Cursor(to=self._server.name)
        if kept.run_id == self._seen_run:
            return kept
        first = self._outbox.first()
        if first is None or not self._server.has_run(kept.run_id):
            return Cursor(to=self._server.name)
        self._experiment_id = self._server.experiment(first["experiment"])
        self._seen_run = kept.run_id
        return kept

    def _take(self, record: Record) -> None:
        """Send a record; metrics wait for `_flush`, which sends many at once."""
        match record["kind"]:
            case "metrics":
                self._metrics += _metrics(record)
            case "start":
                self._start(record)
            case "dataset":
                self._dataset(record)
            case "artifact":
                self._artifact(record)
            case "experiment":
                describe_experiment(self._server.client, self._experiment_id, record["description"])
            case "end":
                self._tag(record["tags"])
                self._server.client.set_terminated(self._run_id, status=record["status"], end_time=record["at"])
            case kind:  # of a newer version of distil
                self._note(f"{self._outbox.path}: {kind} is not a record of this version, and is left out")

    def _start(self, record: Record) -> None:
        """Find or create the run; a resumed one gets the parameters that it lacks."""
        self._experiment_id = self._server.experiment(record["experiment"])
        run_id = self._cursor.run_id or self._server.run(self._experiment_id, record["uid"])
        if not run_id and record.get("run_id") and self._server.has_run(record["run_id"]):
            run_id = str(record["run_id"])
        tags = record["tags"] | {UID_TAG: record["uid"]} | self._belonging(record)
        client = self._server.client
        if run_id:
            known = client.get_run(run_id).data.params
            client.update_run(run_id, status="RUNNING")
        else:
            known = {}
            run = client.create_run(self._experiment_id, start_time=record["at"], tags=_tags(tags), run_name=record["name"])
            run_id = str(run.info.run_id)
        self._seen_run = run_id
        self._cursor = replace(self._cursor, run_id=run_id)
        self._tag(tags)
        self._send_params({key: value for key, value in record["params"].items() if key not in known})
        if record.get("is_parent"):
            for orphan in self._server.orphans(self._experiment_id, record["uid"]):
                client.set_tag(orphan, PARENT_TAG, run_id)

    def _belonging(self, record: Record) -> dict[str, str]:
        """Return the tags that put a run below its parent, if that is known there already; a parent adopts the others."""
        parent = record.get("parent")
        if not parent:
            return {}
        found = self._server.run(self._experiment_id, parent)
        return {PARENT_UID_TAG: parent} | ({PARENT_TAG: found} if found else {})

    def _send_params(self, params: Mapping[str, str]) -> None:
        from mlflow.entities import Param

        for chunk in _chunks([Param(_key(key), value[:_MAX_VALUE]) for key, value in params.items()], _MAX_PARAMS):
            self._server.client.log_batch(self._run_id, params=chunk)

    def _dataset(self, record: Record) -> None:
        from mlflow.entities import Dataset, DatasetInput, InputTag

        entity = Dataset(
            name=record["name"],
            digest=record["digest"],
            source_type="local",
            source=json.dumps({"uri": record["path"]}),
            profile=json.dumps(record["profile"]),
        )
        tags = [InputTag("mlflow.data.context", record["context"])]
        self._server.client.log_inputs(self._run_id, [DatasetInput(entity, tags)])

    def _artifact(self, record: Record) -> None:
        path = self._outbox.folder / record["path"]
        if not path.exists():
            self._note(f"{path}: the file is gone, and MLflow gets no copy")
            return
        copy = self._server.client.log_artifacts if path.is_dir() else self._server.client.log_artifact
        copy(self._run_id, str(path), record["folder"] or None)

    def _tag(self, tags: Mapping[str, str]) -> None:
        from mlflow.entities import RunTag

        for chunk in _chunks([RunTag(key, value) for key, value in _tags(tags).items()], _MAX_TAGS):
            self._server.client.log_batch(self._run_id, tags=chunk)

    def _flush(self, on_sent: Callable[[], None]) -> None:
        pending, self._metrics = self._metrics, []
        for chunk in _chunks(pending, _MAX_METRICS):
            self._server.client.log_batch(self._run_id, metrics=chunk)
        if pending:
            self._keep(on_sent)

    def _keep(self, on_sent: Callable[[], None]) -> None:
        self._outbox.keep(self._cursor)
        on_sent()

    @property
    def _run_id(self) -> str:
        assert self._cursor.run_id, "the first record starts the run"
        return self._cursor.run_id


def _metrics(record: Record) -> list[Any]:
    from mlflow.entities import Metric

    return [Metric(_key(key), _short(value), record["at"], record["step"]) for key, value in record["values"].items()]


def _key(key: str) -> str:
    return _NOT_IN_KEYS.sub("_", key)[:_MAX_KEY]


def _tags(tags: Mapping[str, str]) -> dict[str, str]:
    return {_key(key): value[:_MAX_TAG] for key, value in tags.items()}


def _short(value: float) -> float:
    """Return a number with six significant digits; counts keep all of theirs."""
    return value if value != value or float(value).is_integer() else float(f"{value:.6g}")


def _chunks(items: Sequence[T], size: int) -> Iterator[Sequence[T]]:
    for start in range(0, len(items), size):
        yield items[start : start + size]
