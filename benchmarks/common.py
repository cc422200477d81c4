"""Shared by the benchmarks: results with command, versions and machine; work in processes; MLflow runs; slopes."""

from __future__ import annotations

import json
import os
import platform
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, TypeVar

import numpy as np
import numpy.typing as npt

from distil.console import Console
from distil.durable import replace_durably
from distil.processes import work_in_processes
from distil.rundir import versions
from distil.stats import mean_interval
from distil.tracking import Status, Tracker, TrackingConfig
from distil.types import Progress

Array = npt.NDArray[np.float64]
Case = TypeVar("Case")
Result = TypeVar("Result")


def machine() -> dict[str, Any]:
    """Return cores, processor and memory."""
    info = Path("/proc/cpuinfo")
    lines = info.read_text().splitlines() if info.exists() else []
    model = next((line.split(":")[1].strip() for line in lines if line.startswith("model name")), platform.processor())
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    return {"cores": os.cpu_count(), "processor": model, "memory_gib": round(memory / 2**30)}


def write_result(path: Path, data: dict[str, Any]) -> None:
    """Write `data` as JSON, preceded by command (without paths of this machine), date and versions."""
    path.parent.mkdir(parents=True, exist_ok=True)
    program = Path(sys.argv[0]).resolve()
    shown = program.relative_to(Path.cwd()) if program.is_relative_to(Path.cwd()) else program.name
    found = versions()
    head = {
        "command": " ".join(["python", str(shown), *("PATH" if Path(word).is_absolute() else word for word in sys.argv[1:])]),
        "date": datetime.now(UTC).date().isoformat(),
        "python": found["python"],
        "packages": found["packages"],
    }
    replace_durably(path, (json.dumps(head | data, indent=2) + "\n").encode())


def in_processes(work: Callable[[Case], Result], cases: Sequence[Case], num: int) -> dict[Case, Result]:
    """Return the result of each case, from `num` processes at a time. The function, the cases and the results are pickled."""
    with Console() as console:
        return dict(zip(cases, work_in_processes(partial(_opened, work), cases, num, "cases", console), strict=True))


def _opened(work: Callable[[Case], Result], progress: Progress) -> AbstractContextManager[Callable[[Case], Result]]:
    return nullcontext(work)


@contextmanager
def tracked(experiment: str, name: str, params: Mapping[str, Any], uri: str | None = None) -> Iterator[Tracker]:
    """Open an MLflow run, and close it with its final status.

    Args:
        experiment: the name of the experiment.
        name: the name of the run.
        params: the settings.
        uri: MLflow's tracking URI; None: sqlite in ./mlflow.db.
    """
    with TemporaryDirectory() as folder:
        tracker = TrackingConfig(uri=uri).build(experiment, Path(folder), note=lambda text: print(text, file=sys.stderr))
        tracker.start(name, params)
        status: Status = "FAILED"
        try:
            yield tracker
            status = "FINISHED"
        finally:
            tracker.finish(status)


def interval(values: Array) -> tuple[float, float]:
    """Return the 95 % interval of the mean of at least two values."""
    found = mean_interval(values)
    assert found is not None, "an interval needs two seeds or more"
    return found


def slopes(x: Sequence[float], logs: Array) -> Array:
    """Return the least-squares slope on log x [K] of each row of `logs` [R, K]."""
    centred = np.log(np.asarray(x, np.float64))
    centred -= centred.mean()
    return np.asarray(logs @ centred / (centred @ centred))
