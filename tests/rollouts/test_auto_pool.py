"""With real Ray actors, which take over from this process."""

import _thread
import itertools
import os
import signal

import numpy as np
import pytest
from testbed import CountingExpert, team_of

from distil.envs import ImportEnvConfig, describe
from distil.errors import RunError
from distil.plans import CollectPlan
from distil.rollouts import Collector, Fleet, RolloutConfig, evaluate
from distil.rollouts.auto_pool import AutoPool
from distil.rollouts.sizing import Sizing
from distil.rollouts.work import Setup, StoppedError
from distil.seeding import Purpose, episode_seeds
from distil.store.schema import StoreSpec
from distil.store.store import Store
from distil.types import silent


@pytest.fixture
def fleets():
    made, notes = [], []

    def make(step_s=0.0, num_workers="auto", expert=None, **kwargs):
        """A fleet whose clock says that a chunk takes `step_s` seconds."""
        env = ImportEnvConfig(target="testbed:Toy", kwargs=kwargs)
        config, team = RolloutConfig(num_workers=num_workers, num_envs=4), team_of(expert or CountingExpert())
        fleet = Fleet(env=env, spec=describe(env), config=config, team=team)
        if num_workers == "auto":
            setup = Setup(env=env, spec=fleet.spec, num_envs=4, team=team)
            fleet._pool = AutoPool(setup, config, notes.append, Sizing(2, clock=itertools.count(0, step_s).__next__))
        made.append(fleet)
        return fleet

    make.notes = notes
    yield make
    for fleet in made:
        fleet.close()


def collect(fleet, folder, num=30, seed=1, progress=silent):
    store = Store.open_or_create(folder, StoreSpec(observation=fleet.spec.observation, action=fleet.spec.action))
    Collector(fleet, store, seed=seed, progress=progress).collect(CollectPlan(num_episodes=num))
    return store.snapshot()


def test_small_work_stays_here_and_says_so_once(fleets, tmp_path):
    fleet = fleets(0.01)
    collect(fleet, tmp_path / "s")
    assert evaluate(fleet, "expert", [1, 2]).lengths.tolist() == [5, 5]
    assert fleets.notes == ["rollouts: in this process, without Ray: 30 episodes took 0.0 s, less than Ray takes to start"]
    assert fleet._pool._actors is None


@pytest.mark.ray
def test_actors_take_over_in_the_middle_and_the_store_is_the_same(fleets, tmp_path, ray_session):
    """CORRECTNESS 5: bit by bit."""
    want = collect(fleets(num_workers=0, lengths=[3, 9]), tmp_path / "alone")
    fleet = fleets(8.0, lengths=[3, 9])
    got = collect(fleet, tmp_path / "both")
    assert got.digest == want.digest
    assert sorted(entry.num_episodes for entry in got.entries)[0] == 1  # of this process
    assert fleets.notes == ["rollouts: 2 Ray actors take over: 29 episodes would take 3 min 52 s more in this process"]
    assert len(fleet._pool._actors._actors.members) == 2
    seeds = episode_seeds(Purpose.EVALUATE, 7)
    assert np.array_equal(
        evaluate(fleet, "expert", seeds).returns, evaluate(fleets(num_workers=0, lengths=[3, 9]), "expert", seeds).returns
    )


@pytest.mark.ray
def test_a_worker_that_is_killed_right_after_the_change_loses_nothing(fleets, tmp_path, ray_session):
    """CORRECTNESS 4 and 5: what only that worker had is run again; the store is the same bit by bit."""
    want = collect(fleets(num_workers=0, lengths=[3, 9]), tmp_path / "alone")
    fleet, killed = fleets(8.0, lengths=[3, 9]), []

    def kill_the_first(what, done, total, /, **figures):
        actors = fleet._pool._actors
        if actors is not None and not killed:
            member = next((member for member in actors._actors.members if member.unsaved), None)
            if member is not None:
                killed.append(member)
                os.kill(ray_session.get(member.actor.__ray_call__.remote(lambda self: os.getpid())), signal.SIGKILL)

    got = collect(fleet, tmp_path / "both", progress=kill_the_first)
    assert killed
    assert killed[0] not in fleet._pool._actors._actors.members
    assert got.digest == want.digest


@pytest.mark.ray
def test_an_environment_that_fails_after_the_change_loses_nothing(fleets, tmp_path, ray_session):
    """CORRECTNESS 4: and the same call, with either kind of workers, collects the rest."""
    bad = episode_seeds(Purpose.COLLECT, 30, root=1, names=(0,))[20]
    broken = fleets(8.0, lengths=[3, 9], fault="raise", bad_seed=bad, bad_step=1)
    with pytest.raises(RunError, match=f"seed {bad} step 1"):
        collect(broken, tmp_path / "s")
    kept = Store.open(tmp_path / "s").snapshot().episodes.seed.tolist()
    assert 1 <= len(kept) < 30
    assert bad not in kept
    calm = fleets(8.0, lengths=[3, 9])
    assert calm._pool is not None  # workers of the environment without the fault
    calm.env = broken.env  # the same stream of episodes
    want = collect(fleets(num_workers=0, lengths=[3, 9]), tmp_path / "alone")
    got = collect(calm, tmp_path / "s")
    assert sorted(got.episodes.seed.tolist()) == sorted(want.episodes.seed.tolist())
    assert got.num_episodes == 30


@pytest.mark.ray
@pytest.mark.parametrize("when", [1, 20])
def test_ctrl_c_before_and_after_the_change_keeps_what_is_complete(fleets, tmp_path, ray_session, monkeypatch, when):
    monkeypatch.setattr("distil.rollouts.pool._STOP_S", 60.0)  # on a busy machine, workers take longer to save
    fleet = fleets(8.0)
    store = Store.create(tmp_path / "s", StoreSpec(observation=fleet.spec.observation, action=fleet.spec.action))

    def progress(what, done, total, /, **figures):
        if done >= when:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        Collector(fleet, store, seed=1, progress=progress).collect(CollectPlan(num_episodes=30))
    assert when <= store.snapshot().num_episodes <= 30
    assert collect(fleet, tmp_path / "s").num_episodes == 30


@pytest.mark.ray
def test_a_stop_after_the_change_ends_the_actors_work(fleets, tmp_path, ray_session):
    fleet = fleets(8.0)
    store = Store.create(tmp_path / "s", StoreSpec(observation=fleet.spec.observation, action=fleet.spec.action))

    def progress(what, done, total, /, **figures):
        if done >= 10:
            fleet._stopped.set()

    with pytest.raises(StoppedError):
        Collector(fleet, store, seed=1, progress=progress).collect(CollectPlan(num_episodes=30))
    fleet.stop()
    assert store.snapshot().num_episodes >= 10
    assert collect(fleet, tmp_path / "s").num_episodes == 30


@pytest.mark.ray
def test_an_expert_that_cannot_be_sent_keeps_the_work_here(fleets, tmp_path, ray_session):
    expert = CountingExpert()
    expert.lock = _thread.allocate_lock()
    assert collect(fleets(8.0, expert=expert), tmp_path / "s").num_episodes == 30
    (note,) = fleets.notes
    assert note.startswith("rollouts: all work stays in this process: the expert can't be sent to workers: ")
