"""`tracking:` where runs are recorded."""

from __future__ import annotations

import os
from pathlib import Path

from distil.config import Config
from distil.errors import InputError
from distil.fence import Check, unfenced
from distil.redaction import is_redacted
from distil.tracking.base import NullTracker, Tracker
from distil.tracking.outbox import Outbox
from distil.tracking.recorder import Recorder
from distil.tracking.sender import Sender
from distil.tracking.server import OFF, Server
from distil.types import Note, unheard

DEFAULT_URI = "sqlite:///mlflow.db"


class TrackingConfig(Config):
    """Where runs are recorded."""

    enabled: bool = True
    uri: str | None = None  # MLflow's tracking URI; None: MLFLOW_TRACKING_URI, and without that sqlite in ./mlflow.db
    experiment: str | None = None  # None: the recipe's name

    def build(
        self, experiment: str, folder: Path, *, sends: bool = True, note: Note = unheard, check: Check = unfenced
    ) -> Tracker:
        """Return the tracker of a run.

        Args:
            experiment: the name to use unless the configuration has one.
            folder: of the run; it gets the outbox.
            sends: send to MLflow while the run is recorded; otherwise another process has to, or `distil sync`. To record needs
                no password.
            note: shown in one line that MLflow does not answer, and what is left to send at the end.
            check: called before the outbox is written; see `distil.fence`.

        Raises:
            InputError: it sends, and the password was taken out when a run saved this configuration.
        """
        address = self.address(whole=sends)
        if address is None:
            return NullTracker()
        server = Server(address)
        sender = Sender(server, lambda: [Outbox(folder, check)], note) if sends else None
        return Recorder(Outbox(folder, check), server.name, self.experiment or experiment, sender)

    def check(self, experiment: str) -> None:
        """Check what can be known to be wrong before anything starts. A server that does not answer is not: it may come back.

        Raises:
            InputError: the address is malformed or of no kind that MLflow knows, a sqlite database cannot be used, or its
                experiment was deleted.
        """
        address = self.address()
        if address is not None:
            Server(address).check(self.experiment or experiment)

    def address(self, *, whole: bool = True) -> str | None:
        """Return MLflow's tracking URI; None: nothing is recorded.

        Args:
            whole: with its password.

        Raises:
            InputError: the password was taken out when a run saved this configuration.
        """
        if not self.enabled:
            return None
        given = os.environ.get("MLFLOW_TRACKING_URI")
        if self.uri is not None and not is_redacted(self.uri):
            return self.uri
        if self.uri is not None and not given:
            if not whole:
                return self.uri
            raise InputError(
                f"tracking.uri={self.uri}: passwords are not saved: give the whole address as tracking.uri or in the "
                f"environment variable MLFLOW_TRACKING_URI; {OFF}"
            )
        return given or DEFAULT_URI
