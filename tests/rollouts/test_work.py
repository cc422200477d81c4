import pickle

import pytest

from distil.errors import InputError, RunError
from distil.rollouts.agents import AgentSpec
from distil.rollouts.work import Assignment, EpisodeStats, Outcome, Sealed, WorkReport
from distil.store.footer import Footer
from distil.store.shard import ShardEntry


def stats(index):
    return EpisodeStats(
        index=index,
        uid=f"u{index}",
        seed=index,
        total_reward=1.0,
        length=5,
        terminated=True,
        truncated=False,
        success=None,
        num_labels=5,
    )


def sealed(path, *indices):
    entry = ShardEntry(path=path, num_bytes=1, num_rows=1, digest="d", num_episodes=len(indices), num_transitions=5)
    return Sealed(entry=entry, footer=Footer(tail=b"", check=""), stats=tuple(stats(index) for index in indices))


def test_recorded_episodes_count_once_they_are_sealed():
    """CORRECTNESS 4: an episode whose worker can still die with it is not part of the outcome."""
    outcome = Outcome()
    outcome.take(WorkReport(stats=(stats(0), stats(1)), sealed=(sealed("a", 0),)), recorded=True)
    assert list(outcome.stats) == [0]
    outcome.take(WorkReport(sealed=(sealed("a", 0), sealed("b", 1))), recorded=True)  # a shard may be reported twice
    assert sorted(outcome.stats) == [0, 1]
    assert sorted(outcome.sealed) == ["a", "b"]


def test_episodes_that_are_not_recorded_count_at_once():
    outcome = Outcome()
    outcome.take(WorkReport(stats=(stats(0),)), recorded=False)
    assert list(outcome.stats) == [0]


@pytest.mark.parametrize(("is_input_error", "kind"), [(True, InputError), (False, RunError)])
def test_a_report_raises_the_error_that_it_brings(is_input_error, kind):
    with pytest.raises(kind, match="the wheel fell off"):
        WorkReport(error="the wheel fell off", is_input_error=is_input_error).raise_error()
    WorkReport().raise_error()


def test_each_assignment_is_another_one():
    """A worker starts anew for each, even where all else is equal."""
    agent = AgentSpec(who="random")
    assert Assignment(agent=agent).key != Assignment(agent=agent).key


def test_a_report_travels_whole():
    report = WorkReport(stats=(stats(0), stats(2)), sealed=(sealed("a", 0, 1),), error="e", is_input_error=True)
    assert pickle.loads(pickle.dumps(report)) == report
