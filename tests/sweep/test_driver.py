"""Trials on Ray Tune, without a sweep around them."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest
from sweepbed import sweep

from distil.config import public
from distil.rundir import RunDir
from distil.sweep.crew import Crew
from distil.sweep.driver import at_a_time, run_trials
from distil.sweep.families import families, trial_config
from distil.sweep.trial import Look, Work

pytestmark = [pytest.mark.ray, pytest.mark.filterwarnings("ignore")]


class Listed(Crew):
    """Gives the works of a list; notes what it is told."""

    def __init__(self, works: list[Work], stop: str = "") -> None:
        self.works, self.stop = list(works), stop
        self.looks, self.ends = list[tuple[str, float]](), dict[str, str | None]()

    def next(self) -> Work | None:
        return self.works.pop(0) if self.works else None

    def heard(self, trial: str, look: Look) -> bool:
        self.looks.append((trial, look.fraction))
        return trial != self.stop

    def ended(self, trial: str, fault: str | None) -> None:
        self.ends[trial] = fault


def works(folder: Path, num: int, **more: Any) -> list[Work]:
    config = sweep(runs=str(folder))
    base = families(config)[0].config
    (folder / "trials").mkdir()
    return [
        Work(
            name=f"t{number}",
            folder=str(folder / "trials" / f"t{number}"),
            config=public(trial_config(config, base, {}, where="x", more={"seed": number, **more})),
            metric="tune/normalised",
            sign=1.0,
            parent="",
        )
        for number in range(num)
    ]


def test_trials_run_in_processes_that_are_used_again_and_relative_paths_stay(ray_session: Any, tmp_path: Path) -> None:
    before, crew = Path.cwd(), Listed(works(tmp_path, 3), stop="t1")
    run_trials(crew, num=3, concurrent=1, resources=[{"CPU": 1.0}], retries=0)
    assert crew.looks == [("t0", 0.5), ("t0", 1.0), ("t1", 0.5), ("t2", 0.5), ("t2", 1.0)]
    assert crew.ends == {"t0": None, "t1": None, "t2": None}
    finished = [RunDir(tmp_path / "trials" / f"t{number}").is_finished for number in range(3)]
    assert finished == [True, False, True]
    assert Path.cwd() == before
    assert not RunDir(tmp_path / "trials" / "t1").is_running()


def test_as_many_trials_run_as_the_cores_hold() -> None:
    """`auto`, with trials of one, of three and of more CPUs than there are."""
    assert [at_a_time("auto", need, cores=8) for need in (1, 3, 9)] == [8, 2, 1]
    assert at_a_time(5, 1, cores=2) == 5


def test_a_process_that_dies_is_replaced_and_its_trial_continues(ray_session: Any, tmp_path: Path) -> None:
    found, killed = works(tmp_path, 1), list[int]()

    class Deadly(Listed):
        def heard(self, trial: str, look: Look) -> bool:
            if not killed:
                from ray.util.state import list_actors

                own = ray_session.get_runtime_context().gcs_address  # other sessions may run on this machine
                alive = list_actors(own, filters=[("state", "=", "ALIVE")])
                pids = [actor.pid for actor in alive if "ImplicitFunc" in actor.class_name]
                killed.extend(pids)
                for pid in pids:
                    os.kill(pid, 9)
            return super().heard(trial, look)

    crew = Deadly(found)
    run_trials(crew, num=1, concurrent=1, resources=[{"CPU": 1.0}], retries=2)
    assert killed
    assert crew.looks[-1] == ("t0", 1.0)
    assert crew.ends == {"t0": None}
    assert RunDir(tmp_path / "trials" / "t0").is_finished
