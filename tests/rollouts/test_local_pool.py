import itertools
import signal
from dataclasses import replace

import pytest
from testbed import CountingExpert, team_of

from distil.envs import ImportEnvConfig, describe
from distil.errors import RunError
from distil.rollouts.agents import AgentSpec
from distil.rollouts.local_pool import LocalPool
from distil.rollouts.loop import EpisodeItem
from distil.rollouts.work import Assignment, Job, Outcome, Setup, StoppedError, Target
from distil.store import writer
from distil.store.schema import StoreSpec
from distil.store.store import Store


def setup(**kwargs):
    config = ImportEnvConfig(target="testbed:Toy", kwargs=kwargs)
    return Setup(env=config, spec=describe(config), num_envs=2, team=team_of(CountingExpert()))


def groups(*sizes):
    first, out = 0, []
    for size in sizes:
        out.append([EpisodeItem(index=i, uid=f"u{i}", seed=i) for i in range(first, first + size)])
        first += size
    return out


def recorded(ready, folder):
    store = Store.create(folder, StoreSpec(observation=ready.spec.observation, action=ready.spec.action))
    target = Target(path=str(store.path), spec=store.spec, shard_bytes=1 << 20)
    return Assignment(agent=AgentSpec(who="expert"), target=target)


def job(assignment, items=(), *, outcome, tell=lambda stats: None, stopped=lambda: False):
    return Job(assignment=assignment, items=items, policy=None, outcome=outcome, tell=tell, stopped=stopped)


def run(ready, assignment, work):
    pool, outcome, told = LocalPool(ready), Outcome(), []
    try:
        pool.run_groups(job(assignment, outcome=outcome, tell=told.extend), work)
    finally:
        pool.close()
        assert [stats.index for stats in told] == list(outcome.stats)
    return outcome


def test_all_groups_are_run_and_sealed(tmp_path):
    ready = setup()
    outcome = run(ready, recorded(ready, tmp_path / "s"), groups(3, 2))
    assert sorted(outcome.stats) == [0, 1, 2, 3, 4]
    (sealed,) = outcome.sealed.values()
    assert len(sealed.stats) == 5


def test_a_stop_seals_what_is_complete(tmp_path):
    ready, outcome, asked = setup(), Outcome(), []
    pool = LocalPool(ready)
    one = job(recorded(ready, tmp_path / "s"), outcome=outcome, tell=asked.append, stopped=lambda: len(asked) >= 2)
    with pytest.raises(StoppedError):
        pool.run_groups(one, groups(2, 2))
    assert sorted(outcome.stats) == [0, 1]
    assert len(outcome.sealed) == 1


def test_an_error_seals_what_is_complete(tmp_path):
    """CORRECTNESS 4."""
    ready, outcome = setup(fault="raise", bad_seed=3, bad_step=1), Outcome()
    assignment = recorded(ready, tmp_path / "s")
    with pytest.raises(RunError, match="seed 3 step 1"):
        LocalPool(ready).run_groups(job(assignment, outcome=outcome), groups(2, 2))
    assert {0, 1} <= set(outcome.stats)
    assert 3 not in outcome.stats


@pytest.mark.parametrize("at", ["before", "after"])  # the file has its name
def test_an_interrupt_while_sealing_loses_nothing(tmp_path, monkeypatch, at):
    """Ctrl-C while the last shard is written: it is written again."""
    ready, outcome, seal, calls = setup(), Outcome(), writer.seal_shard, itertools.count()

    def interrupted(*args):
        first = next(calls) == 0
        if first and at == "before":
            signal.raise_signal(signal.SIGINT)
        entry = seal(*args)
        if first:
            signal.raise_signal(signal.SIGINT)
        return entry

    monkeypatch.setattr(writer, "seal_shard", interrupted)
    (items,) = groups(5)
    with pytest.raises(KeyboardInterrupt):
        LocalPool(ready).run(job(recorded(ready, tmp_path / "s"), items, outcome=outcome))
    assert sorted(outcome.stats) == [0, 1, 2, 3, 4]
    snapshot = Store.open(tmp_path / "s").commit([sealed.entry for sealed in outcome.sealed.values()])
    assert snapshot.num_episodes == 5


def test_many_items_are_run_in_groups_that_fit_a_shard(tmp_path):
    ready, outcome = setup(lengths=[1]), Outcome()
    (items,) = groups(40)
    assignment = recorded(ready, tmp_path / "s")
    small = replace(assignment, target=replace(assignment.target, shard_bytes=1))
    LocalPool(ready).run(job(small, items, outcome=outcome))
    assert sorted(outcome.stats) == list(range(40))
    assert [len(sealed.stats) for sealed in outcome.sealed.values()] == [16, 16, 8]
