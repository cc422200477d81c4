"""DAgger with several experts: whole small runs; who labels, who is learned from, who is checked."""

import json
from pathlib import Path

import numpy as np
import pytest
from gatebed import RUN
from testbed import Balancer

import distil
from distil.errors import RunError
from distil.experts.gates import regressor
from distil.store import Store


@pytest.fixture(autouse=True)
def here(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(regressor, "_NUM_STEPS", 60)


def snapshot():
    return Store.open("store").snapshot()


def balancer(target="Balancer", **kwargs):
    return {"kind": "import", "target": f"testbed:{target}", "kwargs": {"num_envs": 4, **kwargs}}


def team(members, **more):
    return RUN | {"expert": {"kind": "several", "members": members} | more}


@pytest.mark.parametrize("gate", [None, {"kind": "safe", "threshold": 0.0}], ids=["whole", "gated"])
def test_each_episode_is_labelled_by_the_expert_it_names(gate):
    """One remembers, one looks into the simulator, one pushes the wrong way."""
    members = {
        "plain": balancer(),
        "steps": balancer("StepByStep"),
        "inside": balancer("Inside"),
        "wrong": balancer(backwards=True),
    }
    distil.train("cartpole-dagger", team(members) | {"data.episodes": 2, "algorithm.gate": gate, "evaluation.episodes": 0})
    data, seen = snapshot(), set()
    for index in range(data.num_episodes):
        episode = data.episode(index)
        who = episode.source.rpartition(":")[2]
        assert episode.source == (f"policy+expert:{who}" if episode.round else f"expert:{who}")
        right = Balancer(backwards=who == "wrong").act(episode.observations["obs"][:-1])
        asked = episode.labelled == 1
        np.testing.assert_array_equal(episode.expert_actions[asked], right[asked])
        assert asked.all() or gate is not None
        seen.add(who)
    turns = [source.rpartition(":")[2] for source in data.episodes.source[data.episodes.round == 1]]
    assert sorted(turns) == sorted(["steps", "inside", "wrong"])
    assert seen == set(members)


def test_one_learns_from_those_experts_that_are_selected():
    config = team({"good": balancer(), "wrong": balancer(backwards=True)}) | {"data.episodes": 4, "evaluation.episodes": 0}
    done = distil.train("cartpole-dagger", config | {"data.select.sources": ["*expert:good"], "learner.num_steps": 150})
    data, policy = snapshot(), done.policy()
    good = np.array([source.endswith(":good") for source in data.episodes.source])
    assert [report.metrics["train/episodes"] for report in done.reports] == [
        (good & (data.episodes.round <= newest)).sum() for newest in range(3)
    ]
    states = np.concatenate([data.episode(index).observations["obs"] for index in np.flatnonzero(good)])
    assert (policy.predict(states) == Balancer().act(states)).mean() > 0.8


def test_each_expert_is_checked_and_the_best_is_the_reference():
    """CORRECTNESS 15: before anything is learned; the broken one is named."""
    check = {"algorithm.check_episodes": 2, "algorithm.rounds": 1}
    with pytest.raises(RunError, match=r"expert wrong: its mean return over 2 episodes of CartPole-v1 is \d"):
        distil.train("cartpole-dagger", team({"good": balancer(), "wrong": balancer(backwards=True)}) | check)
    assert snapshot().num_episodes == 0
    done = distil.train("cartpole-dagger", team({"weak": balancer("Clumsy"), "good": balancer()}) | check)
    assert done.reports[0].metrics["expert/check_return_mean"] == 60
    assert done.metrics["eval/expert_return_mean"] == 60
    journal = [json.loads(line) for line in Path("runs/cartpole-dagger-002/journal.jsonl").read_text().splitlines()]
    assert [entry["metrics"]["expert/check_return_mean"] for entry in journal if entry["kind"] == "checked"] == [60]
