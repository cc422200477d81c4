"""Labels after the fact, in this process and by killed ones; `test_relabel_pool` does it with Ray actors."""

import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from labelbed import asked, expert, raw_store
from testbed import Balancer

from distil.errors import InputError, RunError
from distil.experts.random import RandomExpert
from distil.learners.config import LearnerConfig
from distil.learners.data import demos
from distil.learners.factory import make_learner
from distil.plans import UpdatePlan
from distil.policies.config import PolicyConfig
from distil.rollouts.relabel import LabelReport, label_store
from distil.store import Store
from distil.store.compact import compact
from distil.store.recover import recover


def want(snapshot):
    """Return the labels that the balancing expert gives, of each episode."""
    return [Balancer().act(snapshot.episode(i).observations["obs"][:-1]).tolist() for i in range(snapshot.num_episodes)]


def test_raw_episodes_get_their_labels_in_bulk_and_nobody_is_asked_twice(tmp_path):
    """CORRECTNESS 12 and 16: the expert's action at each visited state; labels stored = counted = asked for."""
    store, ledger, told = raw_store(tmp_path / "s", [5, 9], [3, 7]), tmp_path / "asked", []
    before = store.snapshot()
    report = label_store(
        store, expert(ledger=str(ledger)), key="k", progress=lambda *words, **figures: told.append((*words, figures))
    )
    assert report == LabelReport(version=3, num_episodes=4, num_labels=24, num_unlabelled=0)
    assert asked(ledger) == [5, 9, 3, 7]
    assert told[0] == ("label", 0, 4, {})
    assert told[-1] == ("label", 4, 4, {"labels": 24})
    assert [words[1] for words in told] == [0, 1, 2, 3, 4]
    now = store.snapshot()
    assert [now.episode(i).expert_actions.tolist() for i in range(4)] == want(now)
    assert set(now.episodes.source) == {"random+expert:testbed:Balancer"}
    assert not now.episodes.num_acted_by_expert.any()
    assert before.episode(0).labelled.tolist() == store.snapshot(2).episode(0).labelled.tolist() == [0] * 5
    again = label_store(store, expert(ledger=str(ledger)), key="k")
    assert again == LabelReport(version=3, num_episodes=0, num_labels=0, num_unlabelled=0)
    assert len(asked(ledger)) == 4
    assert store.versions() == [1, 2, 3]
    assert compact(store).num_after == 1
    assert store.snapshot().digest == now.digest
    assert store.verify() == []


def test_only_steps_without_a_label_are_asked(tmp_path):
    store, ledger = raw_store(tmp_path / "s", [5, 2, 9], labelled=(0, 1, 4)), tmp_path / "asked"
    report = label_store(store, expert(ledger=str(ledger)), key="k")
    assert report == LabelReport(version=2, num_episodes=2, num_labels=8, num_unlabelled=0)
    assert asked(ledger) == [2, 6]
    now = store.snapshot()
    for index, (all_new, num) in enumerate(zip(want(now), [5, 2, 9], strict=True)):
        kept = [1 if step in (0, 1, 4) else all_new[step] for step in range(num)]
        assert now.episode(index).expert_actions.tolist() == kept
    assert now.episodes.source.tolist() == ["random+expert:testbed:Balancer", "random", "random+expert:testbed:Balancer"]
    assert (store.snapshot(1).episodes.digest == now.episodes.digest).tolist() == [False, True, False]


def test_again_asks_about_all_steps_of_the_chosen_episodes(tmp_path):
    store, ledger = raw_store(tmp_path / "s", [5, 2, 9], labelled=(0, 1, 4)), tmp_path / "asked"
    answers = expert(ledger=str(ledger))
    report = label_store(store, answers, key="k", uids=["e0000", "e0001"], again=True)
    assert report == LabelReport(version=2, num_episodes=2, num_labels=7, num_unlabelled=0)
    assert asked(ledger) == [5, 2]
    now = store.snapshot()
    assert [now.episode(i).expert_actions.tolist() for i in range(2)] == want(now)[:2]
    assert now.episodes.num_labelled.tolist() == [5, 2, 3]
    assert label_store(store, answers, key="k", uids=["e0000", "e0001"], again=True).version == 2  # the same answers
    assert asked(ledger) == [5, 2, 5, 2]
    with pytest.raises(InputError, match="no episode e0009 in version 2"):
        label_store(store, answers, key="k", uids=["e0001", "e0009"])


def test_answers_that_are_no_actions_stay_unlabelled_and_are_counted(tmp_path):
    store = raw_store(tmp_path / "s", [50, 70])
    states = store.snapshot().columns(["obs", "step"])
    states = states["obs"][np.diff(states["step"], append=0) > 0]
    spoiled = int((states[:, 0] > 0).sum())
    report = label_store(store, expert(spoil="answers"), key="k")
    assert (report.num_labels, report.num_unlabelled) == (120 - spoiled, spoiled)
    now = store.snapshot()
    for i in range(2):
        episode = now.episode(i)
        good = episode.observations["obs"][:-1, 0] <= 0
        assert (episode.labelled == good).all()
        assert not episode.expert_actions[~good].any()
    again = label_store(store, expert(spoil="answers"), key="k")
    assert again == LabelReport(version=2, num_episodes=2, num_labels=0, num_unlabelled=spoiled)
    completed = label_store(store, expert(), key="completed")
    assert (completed.num_labels, completed.num_unlabelled) == (spoiled, 0)
    assert [store.snapshot().episode(i).expert_actions.tolist() for i in range(2)] == want(now)


def test_training_on_what_was_labelled(tmp_path):
    store = raw_store(tmp_path / "s", [40, 60])
    label_store(store, expert(), key="k")
    learner = make_learner(
        LearnerConfig(num_steps=8, batch_size=32), PolicyConfig(), store.spec, tmp_path / "checkpoints", seed=0
    )
    metrics = learner.update(UpdatePlan(num_steps=8), demos(store.snapshot()))
    assert np.isfinite(metrics["train/loss"])
    learner.close()


_KILLED = """
import sys
from labelbed import expert
from distil.rollouts.relabel import label_store
from distil.store import Store
label_store(Store.open(sys.argv[1]), expert("labelbed:Dying", at=6, ledger=sys.argv[2], marker=sys.argv[3]), key="k")
"""


def test_a_killed_run_continues_and_asks_about_no_finished_shard_again(tmp_path):
    store, ledger = raw_store(tmp_path / "s", [5, 9], [3, 7], [4, 6], [8]), tmp_path / "asked"
    command = [sys.executable, "-c", _KILLED, str(store.path), str(ledger), str(tmp_path / "marker")]
    done = subprocess.run(command, cwd=Path(__file__).parents[1], capture_output=True, text=True, check=False)
    assert done.returncode == -signal.SIGKILL, done.stderr
    assert asked(ledger) == [5, 9, 3, 7, 4]  # two shards are done, the third isn't
    assert store.versions() == [1, 2, 3, 4]
    assert recover(store).committed == ()
    report = label_store(store, expert(ledger=str(ledger)), key="k")
    assert report == LabelReport(version=5, num_episodes=7, num_labels=42, num_unlabelled=0)
    assert asked(ledger) == [5, 9, 3, 7, 4, 4, 6, 8]
    now = store.snapshot()
    assert [now.episode(i).expert_actions.tolist() for i in range(7)] == want(now)
    assert store.verify() == []


def test_another_expert_never_gets_the_work_of_a_killed_one(tmp_path):
    store, ledger = raw_store(tmp_path / "s", [5], [3]), tmp_path / "asked"
    label_store(store, expert(ledger=str(ledger)), key="k")
    forget_newest(store)
    report = label_store(store, expert(backwards=True, ledger=str(ledger)), key="backwards")
    assert asked(ledger) == [5, 3, 5, 3]
    assert report.num_labels == 8
    now = store.snapshot()
    assert [(1 - now.episode(i).expert_actions).tolist() for i in range(2)] == want(now)
    forget_newest(store)
    label_store(store, expert(ledger=str(ledger)), key="k")
    assert asked(ledger) == [5, 3, 5, 3]  # found
    assert store.snapshot().episode(0).expert_actions.tolist() == want(now)[0]
    forget_newest(store)
    label_store(store, expert(ledger=str(ledger)), key="k", uids=["e0001"])
    label_store(store, expert(ledger=str(ledger)), key="k", again=True)
    assert asked(ledger) == [5, 3, 5, 3, 5, 3]  # e0001 is found, and with `again` all are asked
    assert store.snapshot().episodes.num_labelled.tolist() == [5, 3]


def test_the_work_of_a_killed_one_counts_for_the_same_episodes_only(tmp_path):
    store, ledger = raw_store(tmp_path / "s", [5, 9]), tmp_path / "asked"
    label_store(store, expert(ledger=str(ledger)), key="k", uids=["e0000"])
    forget_newest(store)
    report = label_store(store, expert(ledger=str(ledger)), key="k")
    assert (report.num_labels, report.num_unlabelled) == (14, 0)
    assert asked(ledger) == [5, 5, 9]


def forget_newest(store):
    """Have the newest version not committed: what a kill before the commit leaves."""
    (store.path / f"manifests/v{store.versions()[-1]:012d}.json").unlink()


@pytest.mark.parametrize("how", ["raise", "interrupt"])
def test_what_was_answered_before_an_error_or_ctrl_c_is_published(tmp_path, how):
    store, ledger = raw_store(tmp_path / "s", [5, 9], [3, 7, 4]), tmp_path / "asked"
    if how == "raise":
        bad, error = expert(spoil="raise", spoil_at=3, ledger=str(ledger)), RunError
        match = r"expert testbed:Balancer: raised ConnectionError: the expert is at lunch \(labelling episode e0003 of .*s\)"
    else:
        bad, error = (
            expert("labelbed:Dying", how=how, ledger=str(ledger), marker=str(tmp_path / "m"), at=7),
            KeyboardInterrupt,
        )
        match = None
    with pytest.raises(error, match=match):
        label_store(store, bad, key="k")
    assert store.snapshot().version == 3
    assert store.snapshot().episodes.num_labelled.tolist() == [5, 9, 3, 0, 0]
    report = label_store(store, expert(ledger=str(ledger)), key="k")
    assert (report.num_episodes, report.num_labels) == (2, 11)
    assert [num for num in asked(ledger) if num] == [5, 9, 3, 7, 4]
    now = store.snapshot()
    assert [now.episode(i).expert_actions.tolist() for i in range(5)] == want(now)
    assert store.verify() == []


def test_an_unfinished_shard_is_never_taken_for_finished(tmp_path):
    """The process is killed between writing what was answered and publishing it."""
    store, ledger = raw_store(tmp_path / "s", [5, 9]), tmp_path / "asked"
    with pytest.raises(RunError, match="at lunch"):
        label_store(store, expert(spoil="raise", spoil_at=1, ledger=str(ledger)), key="k")
    forget_newest(store)
    assert label_store(store, expert(ledger=str(ledger)), key="k").num_unlabelled == 0
    assert [num for num in asked(ledger) if num] == [5, 5, 9]


def test_an_empty_store_and_experts_that_cannot_label(tmp_path):
    store = raw_store(tmp_path / "s", [5])
    empty = Store.create(tmp_path / "empty", store.spec)
    assert label_store(empty, expert(), key="k") == LabelReport(version=0, num_episodes=0, num_labels=0, num_unlabelled=0)
    with pytest.raises(InputError, match=r"testbed:Inside: reads the simulator.*label while collecting"):
        label_store(store, expert("testbed:Inside"), key="k")
    random = RandomExpert(store.spec.action.leaf)
    label_store(store, random, key="r")
    assert store.snapshot().episodes.source.tolist() == ["random+expert:random"]


def test_a_shard_whose_report_brought_its_footer_is_not_opened(tmp_path, monkeypatch):
    store = raw_store(tmp_path / "s", [5], [3])
    store.snapshot()
    monkeypatch.setattr("distil.store.shards.read_index", lambda root, entry: pytest.fail("the driver opens a shard"))
    assert label_store(store, expert(), key="k").num_labels == 8
    assert store.snapshot().episodes.num_labelled.tolist() == [5, 3]
