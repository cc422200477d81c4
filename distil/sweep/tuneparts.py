"""The three places where Ray Tune asks: which trial next, which to stop, and what to do at the end of one."""

from __future__ import annotations

from typing import Any

from ray.tune import Callback
from ray.tune.schedulers import FIFOScheduler
from ray.tune.search import Searcher

from distil.sweep.crew import Crew
from distil.sweep.trial import Look, Work


class _Unpickled:
    """Pickled as nothing: Tune pickles all of its parts, and nobody reads that."""

    def __reduce__(self) -> tuple[type, tuple[()]]:
        return object, ()


class Given(_Unpickled, Searcher):  # type: ignore[misc]
    """Gives the trials of a crew."""

    def __init__(self, crew: Crew) -> None:
        super().__init__(metric="score", mode="max")
        self._crew = crew

    def suggest(self, trial_id: str) -> dict[str, str] | str:
        """Return the next trial."""
        work = self._crew.next()
        return Searcher.FINISHED if work is None else {"work": work.to_json()}

    def on_trial_complete(self, trial_id: str, result: dict[str, Any] | None = None, error: bool = False) -> None:
        """Learn nothing: the crew knows."""

    def save(self, checkpoint_path: str) -> None:
        """Save nothing: the sweep's journal is what lasts."""

    def restore(self, checkpoint_path: str) -> None:
        """Restore nothing."""


class Asked(_Unpickled, FIFOScheduler):  # type: ignore[misc]
    """Asks a crew whether a trial continues."""

    def __init__(self, crew: Crew) -> None:
        super().__init__()
        self._crew = crew

    def on_trial_result(self, tune_controller: Any, trial: Any, result: dict[str, Any]) -> str:
        """Return whether the trial continues."""
        if "look" not in result:
            return str(self.CONTINUE)
        look = Look.from_json(result["look"])
        return str(self.CONTINUE if self._crew.heard(result["trial"], look) else self.STOP)


class Ended(_Unpickled, Callback):  # type: ignore[misc]
    """Tells a crew of trials that end."""

    def __init__(self, crew: Crew) -> None:
        self._crew = crew

    def on_trial_complete(self, iteration: int, trials: list[Any], trial: Any, **info: Any) -> None:
        """Tell of a trial that came to its end, or was stopped."""
        fault = (trial.last_result or {}).get("fault")
        self._crew.ended(Work.from_json(trial.config["work"]).name, fault)

    def on_trial_error(self, iteration: int, trials: list[Any], trial: Any, **info: Any) -> None:
        """Tell of a trial whose process died too often."""
        lines = [line for line in str(trial.get_error() or "its process died").splitlines() if line.strip()]
        self._crew.ended(Work.from_json(trial.config["work"]).name, lines[-1].strip())
