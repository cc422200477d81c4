"""What a run tells a tracker: the four-method Tracker, datasets, and a tracker that records nothing."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, Protocol

Status = Literal["FINISHED", "FAILED", "KILLED"]


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
        """Open a run, or continue the one that this tracker's folder already holds; return the run's unique id.

        Args:
            name: the run's name, for people.
            params: what distinguishes the run; nested mappings become dotted keys. Those of a continued run stay as they are.
            tags: free text by key.
            dataset: what the run learns from, where that is known so early.
            parent: unique id of the run that this one belongs to, as its `start` returned it.
            run_id: MLflow's id of the run, for a run of distil 0.1 that is continued.
        """

    def log(self, metrics: Mapping[str, float], step: int, *, dataset: DatasetInfo | None = None) -> None:
        """Record `metrics` at `step`, and a `dataset` that came into being (the same one twice counts once)."""

    def artifact(self, path: Path | str, folder: str = "") -> None:
        """Have a file, or a folder's content, copied to `folder` of the run's artifacts.

        The file is read when it is sent, which may be later: it must stay where it is.
        """

    def finish(self, status: Status = "FINISHED", tags: Mapping[str, str] | None = None, about: str = "") -> None:
        """Close the run. `tags` are those that only its end knows; `about` describes the experiment, in Markdown."""


class NullTracker:
    """Records nothing."""

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
        """Return the empty id."""
        return ""

    def log(self, metrics: Mapping[str, float], step: int, *, dataset: DatasetInfo | None = None) -> None:
        """Do nothing."""

    def artifact(self, path: Path | str, folder: str = "") -> None:
        """Do nothing."""

    def finish(self, status: Status = "FINISHED", tags: Mapping[str, str] | None = None, about: str = "") -> None:
        """Do nothing."""


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
