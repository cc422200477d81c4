import itertools
import pickle
import signal

import numpy as np
import pytest
from testbed import CountingExpert, PeekingExpert, team_of

from distil.envs import ImportEnvConfig, describe
from distil.errors import InputError, RunError
from distil.rollouts import AgentSpec
from distil.rollouts.loop import EpisodeItem
from distil.rollouts.recorder import Recorder
from distil.rollouts.work import Assignment, Setup, Target, WorkReport
from distil.rollouts.worker import Worker
from distil.store.footer import read_index
from distil.store.schema import StoreSpec
from distil.store.store import Store
from distil.store.writer import ShardWriter


def setup(expert=None, vectorised=False, **kwargs):
    config = ImportEnvConfig(target=f"testbed:{'vector' if vectorised else 'Toy'}", kwargs=kwargs, vectorised=vectorised)
    return Setup(env=config, spec=describe(config), num_envs=3, team=team_of(expert))


def store_for(setup, folder):
    return Store.create(folder / "s", StoreSpec(observation=setup.spec.observation, action=setup.spec.action))


def assignment(store=None, who="expert", shard_bytes=1 << 20):
    target = Target(path=str(store.path), spec=store.spec, shard_bytes=shard_bytes) if store else None
    return Assignment(agent=AgentSpec(who=who), target=target)


def items(first, last):
    return [EpisodeItem(index=i, uid=f"u{i:03d}", seed=i) for i in range(first, last)]


def test_without_a_target_it_only_counts():
    worker, told = Worker(setup(CountingExpert())), []
    report = worker.run(assignment(), items(0, 5), None, tell=told.append)
    assert sorted(stats.index for stats in report.stats) == [0, 1, 2, 3, 4]
    assert told == list(report.stats)
    assert report.sealed == worker.seal().sealed == ()
    worker.close()


def test_it_seals_at_the_end_of_a_call_once_it_holds_enough(tmp_path):
    ready = setup(CountingExpert())
    store = store_for(ready, tmp_path)
    worker, work = Worker(ready), assignment(store, shard_bytes=1200)
    assert worker.run(work, items(0, 2), None).sealed == ()
    report = worker.run(work, items(2, 6), None)
    assert sorted(stats.index for stats in report.sealed[0].stats) == [0, 1, 2, 3, 4, 5]
    worker.run(work, items(6, 7), None)
    sealed = worker.seal().sealed
    assert [len(one.stats) for one in sealed] == [6, 1]
    for one in pickle.loads(pickle.dumps(WorkReport(sealed=sealed))).sealed:
        assert one.footer.index(store.path, one.entry).equals(read_index(store.path, one.entry))
    assert sealed[0].stats[0].num_labels == 5
    assert worker.seal().sealed == sealed  # again, since that report may be lost
    assert worker.seal(known=1).sealed == sealed[1:]
    assert worker.seal(known=1).sealed == sealed[1:]
    assert worker.run(work, [], None, known=2).sealed == ()
    snapshot = store.commit([one.entry for one in sealed])
    assert snapshot.num_episodes == 7
    assert not np.any(snapshot.episodes.truncated)


def test_a_new_assignment_starts_empty(tmp_path):
    ready = setup(CountingExpert())
    store = store_for(ready, tmp_path)
    worker = Worker(ready)
    worker.run(assignment(store), items(0, 2), None)
    worker.run(assignment(store), items(2, 3), None)
    assert [stats.index for stats in worker.seal().sealed[0].stats] == [2]


def test_an_error_comes_back_with_what_was_complete(tmp_path):
    """CORRECTNESS 4."""
    ready = setup(CountingExpert(), fault="raise", bad_seed=4, bad_step=1)
    store = store_for(ready, tmp_path)
    worker = Worker(ready)
    report = worker.run(assignment(store), items(0, 6), None)
    assert "seed 4 step 1" in report.error
    assert {stats.index for stats in worker.seal().sealed[0].stats} == {0, 1, 2}
    with pytest.raises(RunError, match="seed 4"):
        report.raise_error()


def test_bad_input_stays_bad_input():
    report = Worker(setup()).run(assignment(), items(0, 1), None)
    with pytest.raises(InputError, match=r"set expert\.kind"):
        report.raise_error()
    WorkReport().raise_error()


def test_an_expert_may_look_into_the_simulator():
    report = Worker(setup(PeekingExpert())).run(assignment(), items(0, 2), None)
    assert report.error == ""
    report = Worker(setup(PeekingExpert(), vectorised=True)).run(assignment(), items(0, 2), None)
    assert "reads the simulator" in report.error
    assert report.is_input_error


@pytest.mark.parametrize(("owner", "name"), [(Recorder, "take"), (ShardWriter, "add")])
def test_an_interrupt_while_episodes_are_kept_loses_none_of_them(tmp_path, monkeypatch, owner, name):
    """Ctrl-C while a block's episodes are copied from the recorder or into the shard."""
    ready = setup(CountingExpert())
    store = store_for(ready, tmp_path)
    worker, original, write, ended = Worker(ready), getattr(owner, name), ShardWriter.add, []

    def interrupted(self, *args):
        signal.raise_signal(signal.SIGINT)
        return original(self, *args)

    def watched(self, *episodes):
        ended.extend(episode.uid for episode in episodes)
        (interrupted if owner is ShardWriter else write)(self, *episodes)

    monkeypatch.setattr(owner, name, interrupted)
    monkeypatch.setattr(ShardWriter, "add", watched)
    with pytest.raises(KeyboardInterrupt):
        worker.run(assignment(store), items(0, 90), None)
    (sealed,) = worker.seal().sealed
    assert 10 < len(ended) < 90
    assert store.commit([sealed.entry]).episodes.uid.tolist() == sorted(ended)
    assert sorted(stats.uid for stats in sealed.stats) == sorted(ended)


def test_an_interrupt_in_a_step_keeps_what_is_complete(tmp_path):
    calls = itertools.count()

    class Impatient(CountingExpert):
        def act(self, observations, *, envs=None):
            if next(calls) == 7:
                raise KeyboardInterrupt
            return super().act(observations, envs=envs)

    ready = setup(Impatient())
    store = store_for(ready, tmp_path)
    worker = Worker(ready)
    with pytest.raises(KeyboardInterrupt):
        worker.run(assignment(store), items(0, 9), None)
    (sealed,) = worker.seal().sealed
    assert store.commit([sealed.entry]).num_episodes == len(sealed.stats) > 0


def test_a_disk_that_cannot_be_written_is_reported(tmp_path):
    ready = setup(CountingExpert())
    store = store_for(ready, tmp_path)
    worker = Worker(ready)
    worker.run(assignment(store), items(0, 2), None)
    (store.path / "data").write_text("a file is in the folder's place")
    assert worker.seal().error


@pytest.mark.filterwarnings("ignore::UserWarning")  # Gymnasium's, of the process that failed
@pytest.mark.parametrize("kind", ["sync", "async"])
def test_after_a_fault_it_makes_new_environments(kind):
    """Processes of a vector environment are gone after an error."""
    ready = setup(CountingExpert(), vectorised=True, kind=kind, fault="raise", bad_seed=4, bad_step=1)
    worker, work = Worker(ready), assignment()
    assert "the wheel fell off" in worker.run(work, items(3, 6), None).error
    report = worker.run(work, items(0, 3), None)
    assert (report.error, sorted(stats.index for stats in report.stats)) == ("", [0, 1, 2])
    worker.close()
