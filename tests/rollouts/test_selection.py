from dataclasses import replace

import numpy as np
import pytest
from testbed import CountingExpert, team_of

from distil.envs import ImportEnvConfig, describe
from distil.errors import RunError
from distil.plans import CollectPlan, Spent
from distil.rollouts import Collected, Collector, Fleet, RolloutConfig, select, spent
from distil.store import Store, StoreSpec


@pytest.fixture
def bed(tmp_path):
    """A store in which two runs' rounds lie between one another; the entries of the first run's journal."""
    env = ImportEnvConfig(target="testbed:Toy", kwargs={"lengths": [2, 3]})
    spec = describe(env)
    fleet = Fleet(env=env, spec=spec, config=RolloutConfig(num_workers=0, num_envs=2), team=team_of(CountingExpert()))
    store = Store.create(tmp_path / "s", StoreSpec(observation=spec.observation, action=spec.action))
    mine, other = Collector(fleet, store, seed=1), Collector(fleet, store, seed=2)
    entries = []
    for number, size in enumerate((4, 2, 3)):
        report = mine.collect(CollectPlan(num_episodes=size, round=number))
        entries.append(Collected(round=number, snapshot=report.snapshot, stream=report.stream, num_episodes=size))
        other.collect(CollectPlan(num_episodes=5, round=number))
    return store, entries


def test_the_union_of_the_runs_own_rounds(bed):
    """CORRECTNESS 14."""
    store, entries = bed
    chosen = select(store, entries)
    assert np.bincount(chosen.episodes.round).tolist() == [4, 2, 3]
    assert {uid[:8] for uid in chosen.episodes.uid} == {entries[0].stream}
    assert select(store, entries[:2]).num_episodes == 6
    assert select(store, entries[:2]).version == entries[1].snapshot


def test_the_last_rounds_only(bed):
    store, entries = bed
    assert set(select(store, entries, 2).episodes.round) == {1, 2}
    assert select(store, entries, 99).digest == select(store, entries).digest


def test_a_whole_version_is_pinned(bed):
    store, entries = bed
    whole = Collected(round=0, snapshot=2)  # of both runs
    assert select(store, [whole]).num_episodes == 9
    assert select(store, [whole, *entries[1:]]).num_episodes == 9 + 5


def test_episodes_that_are_gone_are_told(bed):
    store, entries = bed
    with pytest.raises(RunError, match="2 of the 6 episodes that this run uses are not in version 1"):
        select(store, [entries[0], Collected(round=1, snapshot=1, stream=entries[1].stream, num_episodes=2)])


def test_what_the_episodes_cost(bed):
    """CORRECTNESS 14 and 16: rows and labels of the run's own rounds, and of no other."""
    store, entries = bed
    own = select(store, entries)
    steps = int(own.episodes.length.sum())
    assert spent([own], entries) == Spent(demonstrations=9, env_steps=steps, expert_labels=steps)


def test_what_others_have_paid_for_is_told_apart(bed):
    store, entries = bed
    snapshot = store.snapshot()
    others = [uid for uid in snapshot.episodes.uid.tolist() if not uid.startswith(entries[0].stream)]
    taken = [replace(entries[0], uids=tuple(others[:2])), *entries[1:]]
    rows = np.isin(snapshot.episodes.uid, others[:2])
    found = spent([select(store, taken)], taken)
    assert (found.demonstrations, found.given_env_steps) == (11, int(snapshot.episodes.length[rows].sum()))
    assert found.given_expert_labels == int(snapshot.episodes.num_labelled[rows].sum())


def test_an_episode_of_two_parts_counts_once(bed):
    store, entries = bed
    own = select(store, entries)
    assert spent([own, own.select([0, 1])]) == spent([own])
