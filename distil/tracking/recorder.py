"""The tracker of a run: it appends to the outbox in the run's folder, and has a sender or leaves sending to another process."""

from __future__ import annotations

import secrets
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from distil.errors import RunError
from distil.tracking.base import DatasetInfo, Status, flatten
from distil.tracking.outbox import Outbox
from distil.tracking.sender import Sender


class Recorder:
    """A `Tracker` that records durably whether MLflow answers or not.

    Args:
        outbox: of the run. One that is continued has records already.
        to: MLflow's address without passwords, for `distil sync`.
        experiment: name of the experiment.
        sender: sends while the run is recorded; None: somebody else does.
        is_parent: other runs belong to this one.
    """

    def __init__(self, outbox: Outbox, to: str, experiment: str, sender: Sender | None, *, is_parent: bool = False) -> None:
        self._outbox, self._to, self._experiment, self._sender = outbox, to, experiment, sender
        self._is_parent = is_parent
        self._datasets: set[tuple[str, str]] = set()
        self._is_open = False

    def start(
        self,
        name: str,
        params: Mapping[str, Any],
        tags: Mapping[str, str] | None = None,
        dataset: DatasetInfo | None = None,
        *,
        parent: str | None = None,
        run_id: str | None = None,
    ) -> str:
        """Open or continue the run; see `Tracker.start`."""
        assert not self._is_open, "a tracker has one run"
        first = self._outbox.first()
        uid = str(first["uid"]) if first is not None else secrets.token_hex(16)
        self._outbox.append(
            "start",
            uid=uid,
            to=self._to,
            experiment=self._experiment,
            name=name,
            params=flatten(params),
            tags=dict(tags or {}),
            parent=parent,
            is_parent=self._is_parent,
            run_id=run_id,
        )
        self._is_open = True
        self._record(dataset)
        if self._sender is not None:
            self._sender.start()
        return uid

    def log(self, metrics: Mapping[str, float], step: int, *, dataset: DatasetInfo | None = None) -> None:
        """Record metrics; see `Tracker.log`."""
        if metrics:
            self._outbox.append("metrics", step=step, values={key: float(value) for key, value in metrics.items()})
        self._record(dataset)
        if self._sender is not None:
            self._sender.tell()

    def artifact(self, path: Path | str, folder: str = "") -> None:
        """Have a file copied; see `Tracker.artifact`. RunError if there is none."""
        path = Path(path)
        if not path.exists():
            raise RunError(f"{path}: no such file, so MLflow gets no copy")
        absolute, own = path.absolute(), self._outbox.folder.absolute()
        inside = absolute.relative_to(own) if absolute.is_relative_to(own) else absolute
        self._outbox.append("artifact", path=str(inside), folder=folder)

    def finish(self, status: Status = "FINISHED", tags: Mapping[str, str] | None = None, about: str = "") -> None:
        """Close the run; see `Tracker.finish`. A run that never started, or has been closed, is left alone."""
        if not self._is_open:
            return
        self._is_open = False
        try:
            if about:
                self._outbox.append("experiment", description=about)
            self._outbox.append("end", status=status, tags=dict(tags or {}))
        finally:
            self._outbox.close()
            if self._sender is not None:
                self._sender.close()

    def _record(self, dataset: DatasetInfo | None) -> None:
        if dataset is not None and (dataset.name, dataset.digest) not in self._datasets:
            self._datasets.add((dataset.name, dataset.digest))
            self._outbox.append(
                "dataset",
                name=dataset.name,
                digest=dataset.digest,
                path=dataset.path,
                profile=dict(dataset.profile),
                context=dataset.context,
            )
