"""Reading a finished run's episodes."""

from __future__ import annotations

from rewardpagebed import run_of

from distil import api
from distil.rundata.reading import demonstrations_of, newest_of
from distil.rundir import RunDir


def test_demonstrations_and_own_episodes() -> None:
    run = api.open_run(run_of("pendulum"))
    rundir = RunDir(run.path)
    (shown,) = demonstrations_of(run.config, rundir)
    own = newest_of(rundir)
    assert (shown.num_episodes, set(shown.episodes.policy_version)) == (2, {-1})
    assert own.num_episodes == 2
    assert set(own.episodes.source) != set(shown.episodes.source)


def test_a_run_that_never_acts_has_none_of_its_own() -> None:
    run = api.open_run(run_of("grid"))
    assert newest_of(RunDir(run.path)) is None
    assert sum(part.num_episodes for part in demonstrations_of(run.config, RunDir(run.path))) == 2
