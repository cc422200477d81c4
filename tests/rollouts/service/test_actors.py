"""The service on real Ray actors, which hang, die and are killed."""

import os
import signal
import threading

import numpy as np
import pytest
from testbed import CountingExpert, PeekingExpert, Shapeless, Unreliable, team_of

from distil.envs import ImportEnvConfig, describe
from distil.errors import InputError, RunError
from distil.experts.base import Checked, label
from distil.plans import CollectPlan
from distil.policies import acting
from distil.policies.config import PolicyConfig
from distil.policies.policy import Policy
from distil.rollouts import Collector, Fleet, RolloutConfig
from distil.rollouts.service.actors import Replica, Service
from distil.rollouts.service.config import ServiceConfig
from distil.store import Store, StoreSpec

pytestmark = pytest.mark.ray
ENV = ImportEnvConfig(target="testbed:Toy", kwargs={"lengths": [4, 7, 2]}, max_episode_steps=50)
SPEC = describe(ENV)
QUICK = {"num_cpus": 0.1, "max_wait_s": 0.001, "backoff_s": 0.01}


def rows(*steps):
    return {"obs": np.array([[9.0, step, 0.0] for step in steps])}


@pytest.fixture
def services(ray_session, tmp_path):
    made = []

    def make(expert, folder=None, start_timeout_s=60, **config):
        team, where = (
            team_of(Checked(expert, SPEC.action)),
            {"address": None, "num_cpus": 1, "start_timeout_s": start_timeout_s},
        )
        made.append(Service(team, SPEC.action.leaf, ServiceConfig(**QUICK, **config), folder, **where))
        return made[-1].team.members[expert.name], made[-1]

    yield make
    for service in made:
        service.close()


@pytest.fixture
def fleets(ray_session):
    made = []

    def make(expert, workers=2, ledger=None, **config):
        rollouts = RolloutConfig(num_workers=workers, num_envs=2, service=ServiceConfig(**QUICK, **config))
        team = team_of(Checked(expert, SPEC.action))
        made.append(Fleet(env=ENV, spec=SPEC, config=rollouts, team=team, ledger=ledger))
        return made[-1]

    yield make
    for fleet in made:
        fleet.close()


def test_only_the_requested_rows_are_asked(services, tmp_path):
    expert = Unreliable(tmp_path / "notes")
    served, service = services(expert)
    labels = label(served, rows(0, 1, 2, 3), rows=np.array([False, True, False, True]))
    assert labels.mask.tolist() == [False, True, False, True]
    assert labels.actions[[1, 3]].tolist() == [2, 1]
    assert expert.paid() == 2
    served.act(rows(1, 3)).actions[:] = 0  # the caller's own
    assert served.act(rows(1, 3)).actions.tolist() == [2, 1]
    assert expert.paid() == 2
    assert service.account()["unreliable"]["repeated"] == 4


@pytest.mark.parametrize("fault", ["hang", "die", "raise"])
def test_an_expert_that_hangs_dies_or_raises_is_asked_again(services, tmp_path, fault):
    expert = Unreliable(tmp_path / "notes", {1: fault})
    served, service = services(expert, timeout_s=2.0 if fault == "hang" else 60.0)
    served.act(rows(0))
    assert served.act(rows(1, 2)).actions.tolist() == [2, 3]
    pids = expert.pids()
    assert (pids[2] == pids[1]) == (fault == "raise")  # another actor, unless it lives
    assert service.account()["unreliable"]["failures"] == 1
    assert service.account()["unreliable"]["labels"] == expert.paid() == 3


def test_a_killed_desk_comes_back_and_asks_for_nothing_twice(services, tmp_path, ray_session):
    """CORRECTNESS 16: labels that were paid for are on disk before anybody sees them."""
    expert = Unreliable(tmp_path / "notes")
    served, service = services(expert, folder=tmp_path / "labels")
    served.act(rows(*range(50)))
    (desk,) = service._desks.values()
    os.kill(ray_session.get(desk.__ray_call__.remote(lambda self: os.getpid())), signal.SIGKILL)
    assert served.act(rows(*range(60))).actions.tolist() == [1 + step % 3 for step in range(60)]
    assert expert.paid() == 60


def test_an_expert_for_other_actions_ends_the_run_at_once(services):
    served, _ = services(Shapeless())
    with pytest.raises(RunError, match=r"expert shapeless: returned actions of shape \(1, 9\), expected"):
        served.act(rows(1))


@pytest.mark.parametrize("expert", [CountingExpert(), PeekingExpert()])
def test_experts_that_need_more_than_observations_are_refused_before_anything_starts(expert):
    with pytest.raises(InputError, match=r"expert counting: .*: remove rollouts\.service"):
        Fleet(env=ENV, spec=SPEC, config=RolloutConfig(service=ServiceConfig()), team=team_of(expert))


def test_an_expert_that_cannot_be_sent_is_named_in_one_line(services, tmp_path):
    expert = Unreliable(tmp_path / "notes")
    expert.lock = threading.Lock()
    with pytest.raises(
        InputError, match=r"^expert unreliable: can't be sent to its service: [^\n]*; remove rollouts\.service$"
    ):
        services(expert)


def policy():
    made = Policy(PolicyConfig(), SPEC.observation, SPEC.action, seed=0)
    made.fit_normaliser({"obs": np.random.default_rng(0).normal(size=(50, 3)), "action": np.ones(50, np.int64)})
    return made.ref(3)


def store(path):
    return Store.open_or_create(path, StoreSpec(observation=SPEC.observation, action=SPEC.action))


PLAN = CollectPlan(num_episodes=40, round=1, agent="policy", label=True, max_unlabelled=0.1)


def test_a_round_gets_all_labels_from_an_unreliable_expert_each_paid_once(fleets, tmp_path):
    """CORRECTNESS 12 and 16: workers play on while the expert is asked, and every step finds its label."""
    expert = Unreliable(tmp_path / "notes", {2: "raise", 4: "die", 6: "raise", 7: "raise"})
    fleet = fleets(expert, max_batch=16, ledger=tmp_path / "labels")
    data = store(tmp_path / "data")
    report = Collector(fleet, data, seed=0).collect(PLAN, policy())
    episodes = data.snapshot().episodes
    assert report.expert_labels == report.env_steps == episodes.num_labelled.sum() == expert.paid()
    for index in range(40):
        episode = data.snapshot().episode(index)
        np.testing.assert_array_equal(episode.expert_actions, 1 + np.arange(episode.length) % 3)
    assert report.metrics["expert/failures"] >= 4  # the next call may have been with the actor that died
    assert report.metrics["expert/labels"] == expert.paid()


def test_unlabelled_steps_are_stored_and_asked_again(fleets, tmp_path):
    """An expert that is down stalls nobody and loses no step."""
    expert = Unreliable(tmp_path / "notes", dict.fromkeys(range(3), "raise"))
    fleet = fleets(expert, workers=1, retries=1, max_batch=1000)
    data = store(tmp_path / "data")
    report = Collector(fleet, data, seed=0).collect(PLAN, policy())
    assert report.metrics["expert/given_up"] > 0
    assert data.snapshot(1).episodes.num_labelled.sum() < report.env_steps  # as the workers sealed them
    assert data.snapshot().version == report.snapshot == 2
    assert data.snapshot().episodes.num_labelled.sum() == report.env_steps == expert.paid()


def test_an_expert_that_stays_down_ends_the_run_and_a_second_try_finds_the_steps(fleets, tmp_path):
    expert = Unreliable(tmp_path / "notes", dict.fromkeys(range(1000), "raise"))
    data = store(tmp_path / "data")
    with pytest.raises(RunError, match=r"left (\d+) of \1 steps of round 1 .* its last failure: ConnectionError: .* lunch"):
        Collector(fleets(expert, retries=0), data, seed=0).collect(PLAN, policy())
    assert data.snapshot().num_episodes == 40
    well = Unreliable(tmp_path / "well")
    report = Collector(fleets(well), data, seed=0).collect(PLAN, policy())
    assert report.num_episodes == 0  # none is played again
    labels = data.snapshot(report.snapshot).episodes.num_labelled
    assert labels.sum() == data.snapshot().num_transitions == well.paid()


def test_a_demonstrating_expert_is_asked_about_live_steps_only(fleets, tmp_path):
    expert = Unreliable(tmp_path / "notes")
    fleet = fleets(expert, workers=1)
    data = store(tmp_path / "data")
    Collector(fleet, data, seed=0).collect(CollectPlan(num_episodes=3))
    assert expert.paid() == data.snapshot().num_transitions == data.snapshot().episodes.num_labelled.sum()


def test_policies_act_on_the_gpu_of_an_actor_that_has_one(ray_session, monkeypatch):
    monkeypatch.setattr("distil.policies.acting._on_gpu", False)
    monkeypatch.setattr("torch.cuda.is_available", lambda: False)
    expert = [ray_session.put(CountingExpert())]  # whatever it is: it may have a use for the GPU itself
    for has_gpu in (False, True):
        Replica(has_gpu).load(expert)
        assert acting._on_gpu == has_gpu


def test_an_expert_that_cannot_be_placed_is_named(services, tmp_path, monkeypatch):
    with pytest.raises(
        InputError, match=r"served expert: .* on nodes labelled gpu=yes; .* or change rollouts\.service\.labels"
    ):
        services(Unreliable(tmp_path / "notes"), labels={"gpu": "yes"})
    monkeypatch.setattr("distil.cluster.grows", lambda ray: True)
    served, _ = services(Unreliable(tmp_path / "notes"), start_timeout_s=0.5, num_gpus=1)
    wanted = (
        r"served expert: not started in 0 s; at least 1 needed with 0.1 CPU and 1 GPU each; .* 0 GPU \(0 free\): .*num_gpus"
    )
    with pytest.raises(RunError, match=wanted):
        served.act(rows(1))
