"""With real Ray actors, which are killed."""

import _thread
import os
import signal
import threading
import time

import numpy as np
import pytest
from testbed import CountingExpert, team_of

from distil.envs import GymEnvConfig, ImportEnvConfig, describe
from distil.errors import InputError, RunError
from distil.plans import CollectPlan
from distil.rollouts import Collector, Fleet, Outcome, RolloutConfig, evaluate, ray_pool
from distil.rollouts.work import Setup
from distil.seeding import Purpose, episode_seeds
from distil.store.schema import StoreSpec
from distil.store.store import Store

pytestmark = pytest.mark.ray


@pytest.fixture
def fleets(ray_session):
    made = []

    def make(num_workers, num_envs=4, env=None, expert=None, config=None, **kwargs):
        env = env or ImportEnvConfig(target="testbed:Toy", kwargs=kwargs)
        config = RolloutConfig(num_workers=num_workers, num_envs=num_envs, **(config or {}))
        made.append(Fleet(env=env, spec=describe(env), config=config, team=team_of(expert or CountingExpert())))
        return made[-1]

    yield make
    for fleet in made:
        fleet.close()


def store_for(fleet, folder):
    return Store.create(folder, StoreSpec(observation=fleet.spec.observation, action=fleet.spec.action))


def test_one_worker_or_eight_give_the_same_episodes(fleets, tmp_path):
    """CORRECTNESS 5: bit by bit, and the same returns in evaluation."""
    env, digests, returns = GymEnvConfig(id="LunarLander-v3"), [], []
    for num_workers in (0, 1, 8):
        fleet = fleets(num_workers, env=env, num_envs=3)
        store = store_for(fleet, tmp_path / str(num_workers))
        Collector(fleet, store, seed=3).collect(CollectPlan(num_episodes=14, agent="random"))
        digests.append(store.snapshot().digest)
        returns.append(evaluate(fleet, "random", episode_seeds(Purpose.EVALUATE, 11)).returns.tolist())
    assert digests[0] == digests[1] == digests[2]
    assert returns[0] == returns[1] == returns[2]


def test_a_killed_worker_is_replaced_and_its_items_run_again(fleets, tmp_path):
    """CORRECTNESS 4: with their own seeds; none dropped, none twice, none scored 0."""
    calm = fleets(0, lengths=[3, 9])
    want = store_for(calm, tmp_path / "calm")
    Collector(calm, want, seed=1).collect(CollectPlan(num_episodes=30))
    bad_seed = int(want.snapshot().episodes.seed[17])
    marker = tmp_path / "died"
    wild = fleets(2, lengths=[3, 9], fault="exit_once", bad_seed=bad_seed, bad_step=2, marker=str(marker))
    wild._workers()
    wild.env = calm.env  # the same stream of episodes; only the workers have the fault
    got = store_for(wild, tmp_path / "wild")
    report = Collector(wild, got, seed=1).collect(CollectPlan(num_episodes=30))
    assert marker.exists()
    assert report.num_episodes == 30
    assert got.snapshot().digest == want.snapshot().digest


def test_killing_workers_from_outside_loses_nothing(fleets, tmp_path, ray_session):
    """CORRECTNESS 4: also what was done but not yet sealed."""
    fleet = fleets(2, lengths=[20, 60], sleep=0.001)
    store = store_for(fleet, tmp_path / "s")
    stop = threading.Event()

    def assassin():
        for _ in range(3):
            if stop.wait(0.7):
                return
            members = fleet._pool._actors.members
            ray_session.kill(members[0].actor)

    thread = threading.Thread(target=assassin, daemon=True)
    thread.start()
    report = Collector(fleet, store, seed=1).collect(CollectPlan(num_episodes=60))
    stop.set()
    thread.join()
    snapshot = store.snapshot()
    assert report.num_episodes == snapshot.num_episodes == 60
    assert snapshot.episodes.seed.tolist() == episode_seeds(Purpose.COLLECT, 60, root=1, names=(0,))
    assert report.env_steps == snapshot.num_transitions == int(np.where(snapshot.episodes.seed % 2 == 0, 20, 60).sum())


def test_items_that_keep_killing_workers_end_the_run(fleets):
    """CORRECTNESS 4."""
    fleet = fleets(1, num_envs=2, fault="exit", bad_seed=5, bad_step=1)
    with pytest.raises(RunError, match=r"workers died 4 times before the episodes of seeds .*5 were complete; .* running: "):
        evaluate(fleet, "expert", [4, 5])


@pytest.mark.parametrize("shard_bytes", [1, 1 << 20])  # in the call that runs the episodes, or after it
def test_workers_that_die_while_they_seal_end_the_run(fleets, tmp_path, shard_bytes):
    """CORRECTNESS 4: a death then is a failure of all that the worker held, and Ray's reason for it is told."""
    folder = tmp_path / "s"
    kwargs = {"fault": "exit_sealing", "marker": str(folder)}
    fleet = fleets(2, num_envs=2, config={"shard_bytes": shard_bytes}, **kwargs)
    with pytest.raises(
        RunError, match=r"workers died 4 times before the episodes of seeds \d+.* were complete; .* killed by the OOM "
    ):
        Collector(fleet, store_for(fleet, folder), seed=1).collect(CollectPlan(num_episodes=4))
    assert 4 <= len((tmp_path / "deaths").read_text()) <= 8  # 2 workers


def test_reports_hold_what_is_new_only(fleets, tmp_path, monkeypatch):
    """One group more costs one group more, however many there were; and nothing is left out or twice."""
    fleet = fleets(2, num_envs=1, config={"shard_bytes": 1})
    store, sizes = store_for(fleet, tmp_path / "s"), []
    take = Outcome.take
    monkeypatch.setattr(Outcome, "take", lambda self, report, recorded: (sizes.append(report), take(self, report, recorded))[1])
    Collector(fleet, store, seed=1).collect(CollectPlan(num_episodes=60))
    told = [sealed.entry.path for report in sizes for sealed in report.sealed]
    assert len(told) == len(set(told)) > 4
    assert store.snapshot().num_episodes == 60


def test_a_failing_environment_ends_the_run_and_keeps_what_is_complete(fleets, tmp_path, monkeypatch):
    """CORRECTNESS 4: the environment's own error, naming seed and step."""
    monkeypatch.setattr("distil.rollouts.pool._STOP_S", 60.0)  # on a busy machine, workers take longer to save
    bad = episode_seeds(Purpose.COLLECT, 40, root=1, names=(0,))[30]
    fleet = fleets(2, fault="raise", bad_seed=bad, bad_step=3)
    store = store_for(fleet, tmp_path / "s")
    with pytest.raises(RunError, match=f"ValueError: the wheel fell off .in step at seed {bad} step 3"):
        Collector(fleet, store, seed=1).collect(CollectPlan(num_episodes=40))
    snapshot = store.snapshot()
    assert snapshot.num_episodes >= 10
    assert bad not in snapshot.episodes.seed
    assert evaluate(fleet, "expert", [1, 2]).lengths.tolist() == [5, 5]  # the fleet can go on


def test_ctrl_c_stops_in_time_and_commits_what_is_complete(fleets, tmp_path):
    fleet = fleets(2, lengths=[5, 10**6], sleep=0.002)
    store = store_for(fleet, tmp_path / "s")
    evaluate(fleet, "expert", [0, 2])  # both workers have started
    pressed = []

    def press():
        pressed.append(time.monotonic())
        os.kill(os.getpid(), signal.SIGINT)

    threading.Timer(3.0, press).start()
    with pytest.raises(KeyboardInterrupt):
        Collector(fleet, store, seed=1).collect(CollectPlan(num_episodes=16))
    assert time.monotonic() - pressed[0] < 4
    snapshot = store.snapshot()
    assert snapshot.num_episodes >= 1
    assert (snapshot.episodes.length == 5).all()
    assert evaluate(fleet, "expert", [0, 2]).lengths.tolist() == [5, 5]  # the fleet can go on


def test_workers_are_single_threaded_and_without_torch(fleets, ray_session):
    fleet = fleets(1)
    evaluate(fleet, "expert", [1])
    actor = fleet._pool._actors.members[0].actor

    def look(self):
        import sys

        import threadpoolctl

        return (
            "torch" in sys.modules,
            os.environ["OMP_NUM_THREADS"],
            [p["num_threads"] for p in threadpoolctl.threadpool_info()],
        )

    has_torch, threads, pools = ray_session.get(actor.__ray_call__.remote(look))
    assert not has_torch
    assert threads == "1"
    assert set(pools) <= {1}


def test_too_small_a_cluster_is_named(fleets, monkeypatch):
    fleet = fleets(1, config={"start_timeout_s": 0.1, "resources": {"big": 2.0}})
    wanted = r"at least 1 needed with 1 CPU and 2 big each; .* 8 CPU \(\d free\), 0 big \(0 free\): "
    fix = r"change rollouts\.resources, or set rollouts\.num_workers=0$"
    with pytest.raises(InputError, match=rf"^rollout workers: {wanted}{fix}"):
        evaluate(fleet, "expert", [1])
    monkeypatch.setattr("distil.cluster.grows", lambda ray: True)
    with pytest.raises(RunError, match=rf"^rollout workers: not started in 0 s; {wanted}wait for it, or {fix}"):
        evaluate(fleet, "expert", [1])


def test_labels_that_no_node_has_are_named(fleets):
    fleet = fleets(1, config={"labels": {"role": "rollouts"}})
    with pytest.raises(
        InputError, match=r"on nodes labelled role=rollouts; .* no such node.*: change rollouts\.labels, or set"
    ):
        evaluate(fleet, "expert", [1])


def test_an_expert_that_cannot_be_sent_is_named(fleets):
    expert = CountingExpert()
    expert.lock = _thread.allocate_lock()
    with pytest.raises(InputError, match=r"set rollouts\.num_workers=0"):
        evaluate(fleets(1, expert=expert), "expert", [1])


@pytest.mark.parametrize("num_workers", [1, 2, 3, 8])
@pytest.mark.parametrize("num", [1, 2, 7, 16, 50, 333, 5000])
def test_groups_hold_every_item_once(num_workers, num):
    groups = ray_pool.groups(range(num), num_workers, 4)
    assert [item for group in groups for item in group] == list(range(num))
    sizes = [len(group) for group in groups]
    assert max(sizes) - min(sizes) <= 1
    assert max(sizes) <= 8 * 4
    if num >= 8 * 4 * num_workers:
        assert min(sizes) >= 4


def test_no_more_workers_start_than_have_work(fleets):
    fleet = fleets(3)
    evaluate(fleet, "expert", [1])
    assert len(fleet._pool._actors.members) == 1
    evaluate(fleet, "expert", list(range(40)))
    assert len(fleet._pool._actors.members) == 3


@pytest.mark.parametrize(
    ("keys", "reserved", "wanted"),
    [
        ({"num_workers": 8}, 0, 8),
        ({"num_workers": 8, "service": {"num_cpus": 0.5}}, 0, 7),  # a worker in its place would wait for ever for its labels
        ({"num_workers": 8}, 2, 6),
        ({"num_workers": 3, "service": {"num_cpus": 0.5}}, 2, 3),
    ],
)
def test_workers_leave_room_for_experts_and_learners(ray_session, keys, reserved, wanted):
    env, config = ImportEnvConfig(target="testbed:Toy"), RolloutConfig(**keys)
    setup = Setup(env=env, spec=describe(env), num_envs=1, team=None)
    pool = ray_pool.RayPool(setup, config, limit=config.num_workers, reserved=reserved)
    assert pool._room() == wanted
    pool.close()
