import pytest
from testbed import CountingExpert, team_of

from distil.envs import ImportEnvConfig, describe
from distil.errors import RunError
from distil.rollouts import AgentSpec, Fleet, Outcome, RolloutConfig
from distil.rollouts.auto_pool import AutoPool
from distil.rollouts.local_pool import LocalPool
from distil.rollouts.loop import EpisodeItem
from distil.rollouts.work import Assignment


def fleet(num_workers=0, num_envs=4, **kwargs):
    env = ImportEnvConfig(target="testbed:Toy", kwargs=kwargs)
    config = RolloutConfig(num_workers=num_workers, num_envs=num_envs)
    return Fleet(env=env, spec=describe(env), config=config, team=team_of(CountingExpert()))


def items(num):
    return [EpisodeItem(index=i, uid=f"u{i}", seed=i) for i in range(num)]


ASSIGNMENT = Assignment(agent=AgentSpec(who="expert"))


def test_progress_counts_each_episode_once():
    seen = []
    outcome = fleet().run(ASSIGNMENT, items(9), progress=lambda *args, **figures: seen.append((*args, figures)), what="work")
    assert [entry[1] for entry in seen] == list(range(10))
    assert seen[-1] == ("work", 9, 9, {"env_steps": 45, "return_mean": 5.0})
    assert sorted(outcome.stats) == list(range(9))


def test_no_items_start_no_worker():
    idle = fleet(num_workers=2)
    assert idle.run(ASSIGNMENT, []).stats == {}
    assert idle._pool is None
    idle.close()


def test_an_error_leaves_the_outcome_so_far():
    """CORRECTNESS 4."""
    broken = fleet(fault="raise", bad_seed=9, bad_step=2)
    outcome = Outcome()
    with pytest.raises(RunError, match="seed 9 step 2"):
        broken.run(ASSIGNMENT, items(12), outcome=outcome)
    assert set(range(8)) <= set(outcome.stats)
    assert 9 not in outcome.stats


def test_a_closed_fleet_starts_new_workers():
    some = fleet()
    some.run(ASSIGNMENT, items(2))
    some.close()
    assert len(some.run(ASSIGNMENT, items(3)).stats) == 3


def chosen(monkeypatch, *, cores=8, address=None, config=None, **kwargs):
    """The class of the workers, and what was said."""
    monkeypatch.setattr("distil.rollouts.fleet.num_cores", lambda: cores)
    monkeypatch.setattr("distil.rollouts.fleet.RayPool", lambda setup, config, **limits: limits)
    monkeypatch.delenv("RAY_ADDRESS", raising=False)
    if address:
        monkeypatch.setenv("RAY_ADDRESS", address)
    notes, env = [], ImportEnvConfig(target="testbed:Toy")
    some = Fleet(env=env, spec=describe(env), config=RolloutConfig(**(config or {})), team=None, **kwargs)
    workers = some._workers(notes.append)
    return workers if isinstance(workers, dict) else type(workers), notes


def test_auto_starts_in_this_process(monkeypatch):
    assert chosen(monkeypatch) == (AutoPool, [])
    assert chosen(monkeypatch, config={"num_workers": 0}) == (LocalPool, [])


def test_what_starts_on_ray_is_said_before_it_starts(monkeypatch):
    """A cluster's address may hold a password."""
    told = "rollouts: starting up to 3 Ray actors on"
    own = {"limit": 3, "reserved": 0}, [f"{told} this machine"]  # a session of our own has room for learners, too
    assert chosen(monkeypatch, config={"num_workers": 3}, reserved=2) == own
    wanted = {"limit": 3, "reserved": 2}, [f"{told} the cluster at ray://me:***@10.0.0.1:6379"]
    assert chosen(monkeypatch, config={"num_workers": 3}, address="ray://me:secret@10.0.0.1:6379", reserved=2) == wanted
    served = "rollouts: in this process; the expert's service starts on Ray, on this machine"
    assert chosen(monkeypatch, config={"num_workers": 0, "service": {}}) == (LocalPool, [served])


def test_auto_uses_the_cluster_that_was_asked_for_and_no_other(monkeypatch):
    wanted = {"limit": None, "reserved": 2}, ["rollouts: starting Ray actors on the cluster at 10.0.0.1:6379"]
    assert chosen(monkeypatch, address="10.0.0.1:6379", cores=1, reserved=2) == wanted
    assert chosen(monkeypatch, config={"address": "10.0.0.1:6379"}, reserved=2) == wanted
    assert chosen(monkeypatch, address="") == (AutoPool, [])


def test_auto_stays_in_this_process_with_one_core(monkeypatch):
    assert chosen(monkeypatch, cores=1, alongside=True) == (LocalPool, ["rollouts: in this process: there is one core"])


def test_auto_has_other_processes_where_this_one_computes_meanwhile(monkeypatch):
    text = "rollouts: starting up to 8 Ray actors on this machine: the run uses other processes anyway"
    assert chosen(monkeypatch, alongside=True) == ({"limit": 8}, [text])
    assert chosen(monkeypatch, config={"service": {}}) == ({"limit": 8}, [text])
