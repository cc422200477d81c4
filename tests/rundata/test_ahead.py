import threading
from dataclasses import replace
from pathlib import Path

import gymnasium
import pytest

from distil.errors import RunError
from distil.plans import CollectPlan, CollectReport, Round
from distil.policies.checkpoint import save_policy
from distil.policies.config import PolicyConfig
from distil.policies.policy import Policy
from distil.policies.spec import PolicyRef
from distil.rundata.ahead import Ahead
from distil.rundir import RunDir
from distil.spaces import action_spec, observation_spec

PLANS = tuple(CollectPlan(num_episodes=1, round=number, agent="policy") for number in (2, 3))
TODO = Round(index=1, ahead=PLANS)


class Collecting:
    """Collects, or waits until it is stopped; notes with what."""

    def __init__(self, *, blocked: bool = False) -> None:
        self.calls: list[tuple[int, int, int]] = []
        self.began, self.stopped = threading.Event(), threading.Event()
        self._blocked = blocked

    def __call__(self, plan: CollectPlan, policy: PolicyRef, newest: int) -> CollectReport:
        self.calls.append((plan.round, policy.version, newest))
        self.began.set()
        if self._blocked:
            assert self.stopped.wait(30), "nobody stopped it"
            raise RunError("stopped")
        return CollectReport(snapshot=plan.round, num_episodes=1, num_planned=1, env_steps=1, expert_labels=0, stream="x")


@pytest.fixture
def rundir(tmp_path: Path) -> RunDir:
    return RunDir.create(tmp_path, "a", "")


@pytest.fixture
def policy(rundir: RunDir) -> PolicyRef:
    """Version 1, which round 0 ended with."""
    env = gymnasium.make("CartPole-v1")
    spaces = observation_spec(env.observation_space), action_spec(env.action_space)
    ref = Policy(PolicyConfig(), *spaces, seed=0).ref(1)
    save_policy(ref, rundir.policy_after(0))
    return ref


def test_what_has_begun_is_taken_once_and_begun_once(rundir: RunDir, policy: PolicyRef) -> None:
    collecting = Collecting()
    ahead = Ahead(rundir, collecting, collecting.stopped.set)
    for _ in range(2):
        ahead.begin(TODO, policy)
    assert (len(ahead), list(ahead.rounds)) == (2, [2, 3])
    taken = ahead.take(2)
    assert taken is not None
    assert (taken[0], taken[1].snapshot) == (PLANS[0], 2)
    assert ahead.take(2) is None
    assert len(ahead) == 1
    assert ahead.take(3) is not None
    ahead.close()
    assert collecting.calls == [(2, 1, 1), (3, 1, 1)]  # one after another, with data up to the round that began them
    assert not collecting.stopped.is_set()


def test_after_a_kill_the_same_begins_again_with_the_policy_that_played(rundir: RunDir, policy: PolicyRef) -> None:
    """CORRECTNESS 14."""
    killed = Collecting(blocked=True)
    ahead = Ahead(rundir, killed, killed.stopped.set)
    ahead.begin(TODO, policy)
    assert killed.began.wait(30)
    ahead.close()
    assert killed.stopped.is_set()
    rundir.append("collected", round=3)  # round 3 was done by then
    resumed = Collecting()
    again = Ahead(rundir, resumed, resumed.stopped.set)
    again.resume()
    again.begin(replace(TODO, index=1), policy)
    assert list(again.rounds) == [2]
    assert again.take(2) is not None
    again.close()
    assert resumed.calls == [(2, 1, 1)]


def test_an_error_is_raised_where_the_round_is_taken(rundir: RunDir, policy: PolicyRef) -> None:
    failing = Collecting(blocked=True)
    ahead = Ahead(rundir, failing, failing.stopped.set)
    ahead.begin(TODO, policy)
    failing.stopped.set()
    with pytest.raises(RunError, match="stopped"):
        ahead.take(2)
    ahead.close()
