"""Who decides which trials run, as the driver and Ray Tune see it."""

from __future__ import annotations

from abc import ABC, abstractmethod

from distil.sweep.trial import Look, Work


class Crew(ABC):
    """Who decides which trials run: called in this process, one call at a time."""

    @abstractmethod
    def next(self) -> Work | None:
        """Return the next trial to start or to continue; None: there is none left."""

    @abstractmethod
    def heard(self, trial: str, look: Look) -> bool:
        """Take a score; return whether the trial continues."""

    @abstractmethod
    def ended(self, trial: str, fault: str | None) -> None:
        """Take the end of a trial that was not stopped by `heard`; `fault` says why it failed."""
