"""DAgger, whole runs on CartPole: labels, budget, resume; what kills it, and what stops it."""

import itertools
import json
import signal
import threading
import time
from functools import partial
from pathlib import Path

import numpy as np
import pytest
from forkbed import begin
from testbed import Balancer

import distil
from distil.config import to_yaml
from distil.errors import InputError, RunError
from distil.objectives.supervised import Supervised
from distil.rollouts.collector import Collector
from distil.run import train
from distil.runconfig import load_config
from distil.rundir import RunDir
from distil.session import Session
from distil.store import Store

SMALL = {
    "env.max_episode_steps": 60,
    "expert.kind": "import",
    "expert.target": "testbed:Balancer",
    "expert.kwargs.num_envs": 4,
    "algorithm.rounds": 3,
    "algorithm.episodes_per_round": 3,
    "algorithm.check_episodes": 2,
    "algorithm.min_expert_return": 50,
    "algorithm.tuning_episodes": 2,
    "evaluation.episodes": 2,
    "learner.num_steps": 20,
    "learner.checkpoint_every": 8,
    "rollouts.num_workers": 0,
    "rollouts.num_envs": 4,
    "tracking.enabled": False,
}


@pytest.fixture(autouse=True)
def here(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)


def run(**changes):
    return distil.train("cartpole-dagger", SMALL | changes)


def snapshot(folder="."):
    return Store.open(Path(folder) / "data/cartpole-dagger").snapshot()


def lines(kind, folder="."):
    path = Path(folder) / "runs/cartpole-dagger-001/journal.jsonl"
    return [entry for entry in map(json.loads, path.read_text().splitlines()) if entry["kind"] == kind]


def asked(ledger):
    return sum(map(int, Path(ledger).read_text().split()))


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"expert.target": "testbed:StepByStep"},
        {"expert.target": "testbed:Inside"},
        {"algorithm.beta.kind": "constant", "algorithm.beta.value": 0.5, "algorithm.beta_unit": "step"},
        {"algorithm.beta.kind": "constant", "algorithm.beta.value": 0.5, "algorithm.episodes_per_round": 6},
    ],
    ids=["bulk", "stateful", "needs_env", "beta a step", "beta an episode"],
)
def test_labels_are_the_experts_actions_at_the_states_that_were_visited(changes):
    """CORRECTNESS 12: in each way of asking, no matter who acted; and 14: rows are the sum of the rounds."""
    done, data, expert = run(**changes), snapshot(), Balancer()
    size = changes.get("algorithm.episodes_per_round", 3)
    assert np.bincount(data.episodes.round).tolist() == [1, size, size]
    assert data.episodes.num_labelled.sum() == data.num_transitions == done.metrics["budget/env_steps"]
    for index in range(data.num_episodes):
        episode = data.episode(index)
        np.testing.assert_array_equal(episode.expert_actions, expert.act(episode.observations["obs"][:-1]))
        np.testing.assert_array_equal(
            episode.actions[episode.acted_by_expert == 1], episode.expert_actions[episode.acted_by_expert == 1]
        )
    shares = data.episodes.num_acted_by_expert / data.episodes.length
    assert shares[data.episodes.round == 0].tolist() == [1.0]  # CORRECTNESS 13
    later = shares[data.episodes.round > 0]
    if "algorithm.beta.kind" not in changes:
        assert not later.any()
        np.testing.assert_array_equal(data.episodes.policy_version, np.where(data.episodes.round > 0, data.episodes.round, -1))
    elif "algorithm.beta_unit" in changes:
        assert ((later > 0) & (later < 1)).all()
    else:
        assert set(later) == {0.0, 1.0}
        assert (data.episodes.policy_version[data.episodes.num_acted_by_expert > 0] == -1).all()
    assert set(data.episodes.source[shares < 1]) == {f"policy+expert:{changes.get('expert.target', 'testbed:Balancer')}"}


def test_the_recipe_learns():
    quick = {"rollouts.num_workers": 0, "tracking.enabled": False, "evaluation.episodes": 10, "learner.num_steps": 300}
    done = distil.train("cartpole-dagger", quick)
    assert [report.metrics["budget/demonstrations"] for report in done.reports] == [1] * 5
    assert "tune/return_mean" not in done.metrics  # the reported score is that of the held-out episodes alone
    assert done.metrics["eval/normalised"] > 0.9


def test_the_budget_is_exact():
    """CORRECTNESS 16: labels stored = counted = paid for, and never more than granted."""
    changes = {"algorithm.stop.expert_labels": 400, "algorithm.rounds": 50, "expert.kwargs.ledger": "ledger"}
    done, data = run(**changes), snapshot()
    stored = int(data.episodes.num_labelled.sum())
    assert done.metrics["budget/expert_labels"] == stored <= 400
    assert stored > 400 - 60  # another episode might not have fitted
    assert asked("ledger") == int(data.episodes.num_labelled[data.episodes.round > 0].sum())


def test_an_expert_that_fails_costs_no_label_twice():
    """CORRECTNESS 16, retries included: the run ends with the expert's error, and resumes without asking again."""
    ledger = {"expert.kwargs.ledger": "ledger", "expert.kwargs.spoil": "raise", "expert.kwargs.spoil_at": 4}
    with pytest.raises(RunError, match=r"ConnectionError: the expert is at lunch .* labelling the episode of seed \d+"):
        run(**ledger)
    kept = snapshot()
    assert np.bincount(kept.episodes.round).tolist() == [1, 3, 1]
    done = distil.train("cartpole-dagger", SMALL | ledger, resume=True)
    data = snapshot()
    assert np.bincount(data.episodes.round).tolist() == [1, 3, 3]
    assert asked("ledger") == int(data.episodes.num_labelled[data.episodes.round > 0].sum())
    assert done.metrics["budget/expert_labels"] == data.episodes.num_labelled.sum()


class Killed(BaseException):
    """Stands for a SIGKILL: nothing of ours handles it."""


def die(monkeypatch, owner, name, at, after):
    """Let the process die before or after the `at`-th call of a method."""
    calls, original = itertools.count(1), getattr(owner, name)

    def dying(*args, **kwargs):
        here = next(calls) == at
        if here and not after:
            raise Killed
        out = original(*args, **kwargs)
        if here:
            raise Killed
        return out

    monkeypatch.setattr(owner, name, dying)


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory):
    folder = tmp_path_factory.mktemp("undisturbed")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        run()
    return whole(folder)


def whole(folder):
    """Return run, store and folder, by absolute paths: other tests look at them from elsewhere."""
    return distil.open_run(folder / "runs/cartpole-dagger-001"), snapshot(folder), folder


def assert_same(done, undisturbed):
    want, data, folder = undisturbed
    assert snapshot().digest == data.digest
    for name, values in want.policy().ref.arrays.items():
        assert np.array_equal(values, done.policy().ref.arrays[name]), name
    for one, two in zip(done.reports, want.reports, strict=True):
        for key in ("budget/expert_labels", "budget/env_steps", "tune/return_mean", "eval/return_mean"):
            assert one.metrics.get(key) == two.metrics.get(key)
    assert [(e["round"], e["stream"], e["num_episodes"]) for e in lines("collected")] == [
        (e["round"], e["stream"], e["num_episodes"]) for e in lines("collected", folder)
    ]


def name_of(value):
    return getattr(value, "__name__", str(value))


POINTS = [
    *((RunDir, "append", at, after) for at in (2, 3, 4, 5, 6, 8, 9) for after in (False, True)),  # of 9 lines
    *((Store, "commit", at, after) for at in (1, 2, 3) for after in (False, True)),
    *((Supervised, "step", at, True) for at in (5, 12, 20, 21, 30, 45)),
    *((Collector, "collect", at, True) for at in (2, 3)),
]


@pytest.mark.parametrize(("owner", "name", "at", "after"), POINTS, ids=name_of)
def test_killed_anywhere_and_resumed_equals_undisturbed(undisturbed, owner, name, at, after):
    """CORRECTNESS 11, 14 and 16: no round lost, none twice, no label paid for twice; the same store and policy, bit for bit."""
    with pytest.MonkeyPatch.context() as patch:
        die(patch, owner, name, at, after)
        with pytest.raises(Killed):
            run()
    done = distil.train("cartpole-dagger", SMALL, resume=True)
    assert_same(done, undisturbed)


AHEAD = {"algorithm.overlap": 1, "algorithm.rounds": 4, "algorithm.stop.env_steps": 500}


@pytest.fixture(scope="module")
def ahead(tmp_path_factory):
    folder = tmp_path_factory.mktemp("ahead")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        run(**AHEAD)
    return whole(folder)


def test_a_round_is_collected_ahead_by_the_policy_of_the_round_before(ahead):
    """Bounded lag: round i is played by the policy that round i - 2 ended with, whatever was faster."""
    done, data, folder = ahead
    played = {int(r): set(data.episodes.policy_version[data.episodes.round == r]) for r in np.unique(data.episodes.round)}
    assert played == {0: {-1}, 1: {1}, 2: {1}, 3: {2}}
    assert [line["policy_round"] for line in lines("planned", folder)] == [0, 1]
    assert data.episodes.num_labelled.sum() == data.num_transitions == done.metrics["budget/env_steps"] <= 500
    assert [report.metrics.get("collect/ahead") for report in done.reports] == [None, 1, 1, None, None]
    assert sorted(path.name for path in (done.path / "policies").iterdir()) == ["0001", "0002", "0003"]
    assert done.reports[2].metrics["train/episodes"] == np.sum(data.episodes.round <= 2)  # what is ahead isn't learned from


def test_further_ahead_the_policy_is_older():
    run(**AHEAD | {"algorithm.overlap": 2, "algorithm.rounds": 5, "algorithm.stop.env_steps": None})
    data = snapshot().episodes
    assert [set(data.policy_version[data.round == r]) for r in range(5)] == [{-1}, {1}, {1}, {1}, {2}]


AHEAD_POINTS = [
    *((RunDir, "append", at, after) for at in (4, 5, 6, 7, 8, 9, 10) for after in (False, True)),
    *((Supervised, "step", at, True) for at in (20, 25, 40, 41, 60)),
]


@pytest.mark.parametrize(("owner", "name", "at", "after"), AHEAD_POINTS, ids=name_of)
def test_killed_while_it_collects_ahead_and_resumed_equals_undisturbed(ahead, owner, name, at, after):
    """CORRECTNESS 11, 14 and 16, with overlap."""
    with pytest.MonkeyPatch.context() as patch:
        die(patch, owner, name, at, after)
        with pytest.raises(Killed):
            run(**AHEAD)
    assert_same(distil.train("cartpole-dagger", SMALL | AHEAD, resume=True), ahead)


@pytest.mark.parametrize("at", [3, 4])
def test_an_error_in_what_is_collected_ahead_ends_the_run_and_it_resumes(ahead, at, monkeypatch):
    calls, original = itertools.count(1), Collector.collect

    def failing(self, *args):
        if next(calls) == at:
            raise RunError("the expert is at lunch")
        return original(self, *args)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Collector, "collect", failing)
        with pytest.raises(RunError, match="at lunch"):
            run(**AHEAD)
    assert_same(distil.train("cartpole-dagger", SMALL | AHEAD, resume=True), ahead)


def test_sigkill_again_and_again(undisturbed):
    """CORRECTNESS 14: a real process, killed as its journal grows."""
    journal, kills = Path("runs/cartpole-dagger-001/journal.jsonl"), 0
    for wanted in (3, 5, 7):
        process = begin(partial(distil.train, "cartpole-dagger", SMALL, resume=kills > 0))
        while process.exitcode is None and not (journal.exists() and journal.read_bytes().count(b"\n") >= wanted):
            time.sleep(0.002)  # polls a real process, decides nothing
        process.kill()
        process.join(30)
        kills += process.exitcode == -signal.SIGKILL
    assert kills == 3
    done = distil.train("cartpole-dagger", SMALL, resume=True)
    assert_same(done, undisturbed)


@pytest.mark.ray
def test_on_ray_workers_that_are_killed(undisturbed, ray_session):
    """CORRECTNESS 4, 5, 14 and 16: two workers instead of none, killed at random; the same store and policy."""
    config = load_config("cartpole-dagger", SMALL | {"rollouts.num_workers": 2})
    rundir, stop, kills = RunDir.create(Path("runs"), config.name, to_yaml(config)), threading.Event(), []
    rng = np.random.default_rng(0)
    with Session(config) as session:

        def assassin():
            while not stop.wait(0.4):
                pool = session.fleet._pool
                members = list(pool._actors.members) if pool is not None else []
                if members and len(kills) < 4:
                    ray_session.kill(members[rng.integers(len(members))].actor)
                    kills.append(time.monotonic())

        thread = threading.Thread(target=assassin, daemon=True)
        thread.start()
        try:
            train(config, rundir, session)
        finally:
            stop.set()
            thread.join()
    assert len(kills) >= 2
    assert_same(distil.open_run(rundir.path), undisturbed)


@pytest.mark.ray
def test_collected_ahead_on_ray_workers(ahead, ray_session):
    """CORRECTNESS 5: in other processes, at other speeds; the same store and policy."""
    assert_same(run(**AHEAD | {"rollouts.num_workers": 2}), ahead)


def test_a_broken_expert_stops_the_run_before_anything_is_learned():
    """CORRECTNESS 15: worse than chance, or below the reference; nothing was collected."""
    with pytest.raises(RunError, match=r"expert testbed:Balancer: its mean return over 2 episodes of CartPole-v1 is \d"):
        run(**{"expert.kwargs.backwards": True, "algorithm.min_expert_return": None})
    with pytest.raises(RunError, match=r"below algorithm\.min_expert_return=61"):
        run(**{"algorithm.min_expert_return": 61})
    assert snapshot().num_episodes == 0
    assert not lines("checked")


def test_the_expert_is_measured_once_and_its_return_is_kept():
    """CORRECTNESS 15: in the journal and the first report, beside chance."""
    done = run()
    assert lines("checked")[0]["metrics"] == {
        "expert/check_return_mean": 60.0,
        "expert/check_random_return_mean": done.reports[0].metrics["expert/check_random_return_mean"],
    }
    assert done.reports[0].metrics["expert/check_return_mean"] == 60.0


def test_answers_that_are_no_actions_are_left_out_and_counted():
    done = run(**{"expert.kwargs.spoil": "answers", "algorithm.max_unlabelled": 1.0})
    data = snapshot()
    missing = data.num_transitions - int(data.episodes.num_labelled.sum())
    assert 0 < missing == done.metrics["budget/unlabelled_steps"]
    for index in np.flatnonzero(data.episodes.round > 0):
        episode = data.episode(index)
        np.testing.assert_array_equal(episode.labelled, episode.observations["obs"][:-1, 0] <= 0)


def test_too_many_of_them_stop_the_run_and_again_when_it_is_resumed():
    spoiled = {"expert.kwargs.spoil": "answers", "algorithm.max_unlabelled": 0.01}
    for resume in (False, True):
        with pytest.raises(RunError, match=r"left \d+ of \d+ steps of round 1 without a usable label .* the limit is 1%"):
            distil.train("cartpole-dagger", SMALL | spoiled, resume=resume)
    assert np.bincount(snapshot().episodes.round).tolist() == [1, 3]  # what was complete is kept


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"algorithm.stop.expert_labels": 59}, "below one episode, which may take 60 steps"),
        ({"algorithm.kind": "daggr"}, "did you mean dagger"),
        ({"algorithm.beta.kind": "constnt"}, "did you mean constant"),
        ({"algorithm.round": 3}, "did you mean rounds"),
        ({"algorithm.beta.kind": "constant"}, r"algorithm\.beta\.value is missing"),
    ],
)
def test_bad_input_is_refused_before_anything_starts(changes, words):
    with pytest.raises(InputError, match=words):
        run(**changes)
    assert not Path("runs").exists()


def test_resuming_with_other_settings_is_refused_by_name():
    run()
    with pytest.raises(InputError, match=r"algorithm\.episodes_per_round \(3 then, 4 now\)"):
        distil.train("cartpole-dagger", SMALL | {"algorithm.episodes_per_round": 4}, resume=True)


def test_another_run_on_the_same_store_takes_nothing_of_a_policy_of_other_weights():
    """CORRECTNESS 12 and 14: episodes belong to the policy that made them, by its weights."""
    run()
    first = snapshot()
    other = run(**{"learner.num_steps": 30})
    data = snapshot()
    assert np.bincount(data.episodes.round).tolist() == [1, 6, 6]  # the demonstrations are shared
    assert (
        other.metrics["budget/env_steps"]
        == data.num_transitions - first.num_transitions + first.episodes.length[first.episodes.round == 0].sum()
    )
