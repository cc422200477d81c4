"""One MLflow: whether it answers, its experiments and its runs.

MLflow is imported when it is first used, never before. All calls go through its client with explicit run ids, so that no global
active run exists.
"""

from __future__ import annotations

import socket
import urllib.request
import warnings
from typing import Any
from urllib.parse import urlsplit

from distil.errors import InputError
from distil.mlflowdb import alone, artifact_location, connect, sqlite_file
from distil.redaction import redact, redact_address, remember
from distil.tracking.experiment import EXPERIMENT_TAGS

OFF = "set tracking.enabled=false to run without tracking"
UID_TAG = "distil.uid"  # the tag by which a run is found again; MLflow's own ids cannot be chosen
PARENT_UID_TAG = "distil.parent"
PARENT_TAG = "mlflow.parentRunId"  # the tag that puts a run (a sweep's trial) below another one

_DATABASES = ("postgresql", "mysql", "mssql")


class Server:
    """An MLflow server or database. Mutable: it connects when it is first needed.

    Args:
        uri: MLflow's tracking URI. With sqlite, artifacts go to the folder `mlartifacts` next to the database.
    """

    def __init__(self, uri: str) -> None:
        remember(uri)
        self.uri = uri
        self._client: Any = None
        self._experiments: dict[str, str] = {}
        self._runs: dict[str, str] = {}

    @property
    def name(self) -> str:
        """The address without passwords. A sqlite file's is absolute, so that it means the same in every folder."""
        database = sqlite_file(self.uri)
        if database is None or database.is_absolute():
            return redact_address(self.uri)
        scheme, mark, rest = self.uri.partition(":///")
        return redact_address(f"{scheme}{mark}{rest.replace(str(database), str(database.absolute()), 1)}")

    @property
    def is_file(self) -> bool:
        """Whether it is a database file on this machine."""
        return sqlite_file(self.uri) is not None

    @property
    def client(self) -> Any:
        """MLflow's client."""
        if self._client is None:
            _ignore_deprecations()
            with alone(self.uri):
                self._client = connect(self.uri)
        return self._client

    def check(self, experiment: str) -> None:
        """Raise InputError for what can be known to be wrong without an answer; see `TrackingConfig.check`."""
        database = sqlite_file(self.uri)
        if database is not None and not database.absolute().parent.is_dir():
            place = f"the folder {database.parent} is not there on {socket.gethostname()}"
            raise InputError(f"MLflow at {redact_address(self.uri)}: {place}: make it, or mount the shared one; {OFF}")
        try:
            scheme = urlsplit(self.uri).scheme
            if scheme in ("http", "https"):
                self.address()
            elif scheme.partition("+")[0] in _DATABASES:
                import sqlalchemy

                sqlalchemy.create_engine(self.uri)  # reads the address and loads the driver, and does not connect
            else:
                self.experiment(experiment)
        except InputError:
            raise
        except Exception as error:  # MLflow passes on whatever SQLAlchemy or a plugin raises
            raise InputError(f"{self.fault(error)}; {OFF}") from error

    def address(self) -> tuple[str, int]:
        """Return host and port of a web address; ValueError if it has none."""
        parts = urlsplit(self.uri)
        if not parts.hostname:
            raise ValueError("the address names no host; write it like http://host:5000")
        return parts.hostname, parts.port or (443 if parts.scheme == "https" else 80)

    def require_answer(self, timeout_s: float) -> None:
        """Raise OSError if nothing answers at a web address: much cheaper than to ask through MLflow."""
        scheme = urlsplit(self.uri).scheme
        if scheme not in ("http", "https"):
            return
        host, port = self.address()
        if scheme in urllib.request.getproxies() and not urllib.request.proxy_bypass(host):
            return
        socket.create_connection((host, port), timeout_s).close()

    def fault(self, error: Exception) -> str:
        """Return in one line what MLflow or its database raised."""
        first = (str(error).strip() or type(error).__name__).splitlines()[0]
        return redact(f"MLflow at {redact_address(self.uri)}: {first}")

    def experiment(self, name: str) -> str:
        """Return the id of an experiment; it is made if it is not there. InputError if it was deleted."""
        if name not in self._experiments:
            _ignore_deprecations()
            client = self.client
            with alone(self.uri):
                found = client.get_experiment_by_name(name)
                if found is None:
                    self._experiments[name] = self._make(name)
                    return self._experiments[name]
            if found.lifecycle_stage != "active":
                raise InputError(
                    f"MLflow experiment {name!r} is deleted: restore it in MLflow or choose another tracking.experiment"
                )
            self._experiments[name] = str(found.experiment_id)
        return self._experiments[name]

    def _make(self, name: str) -> str:
        from mlflow.exceptions import MlflowException

        try:
            return str(self.client.create_experiment(name, artifact_location(self.uri), tags=dict(EXPERIMENT_TAGS)))
        except MlflowException as error:
            if error.error_code != "RESOURCE_ALREADY_EXISTS":
                raise
            return str(self.client.get_experiment_by_name(name).experiment_id)  # made by another machine

    def run(self, experiment_id: str, uid: str) -> str | None:
        """Return MLflow's id of the run that distil knows as `uid`, or None."""
        if uid not in self._runs:
            found = self.client.search_runs([experiment_id], f"tags.`{UID_TAG}` = '{uid}'", max_results=1)
            if not found:
                return None
            self._runs[uid] = str(found[0].info.run_id)
        return self._runs[uid]

    def has_run(self, run_id: str) -> bool:
        """Return whether MLflow has a run, which nobody deleted."""
        from mlflow.exceptions import MlflowException

        try:
            return bool(self.client.get_run(run_id).info.lifecycle_stage == "active")
        except MlflowException as error:
            if error.error_code == "RESOURCE_DOES_NOT_EXIST":  # the database was deleted, or is another one
                return False
            raise

    def orphans(self, experiment_id: str, uid: str) -> list[str]:
        """Return MLflow's ids of the runs that were recorded before their parent `uid` was."""
        found = self.client.search_runs([experiment_id], f"tags.`{PARENT_UID_TAG}` = '{uid}'", max_results=1000)
        return [str(run.info.run_id) for run in found if PARENT_TAG not in run.data.tags]


def _ignore_deprecations() -> None:
    """Keep MLflow's deprecations among itself. `catch_warnings` is not for threads: it restores what another one changed."""
    for category in (DeprecationWarning, FutureWarning, PendingDeprecationWarning):
        warnings.filterwarnings("ignore", category=category, module=r"(mlflow|sqlalchemy|alembic)\b")
