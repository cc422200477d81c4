"""With real Ray actors, which are killed."""

import _thread
import dataclasses
import io
import os
import signal
import threading

import pytest
from labelbed import asked, expert, raw_store
from testbed import Balancer

from distil.console import Console
from distil.errors import InputError, RunError
from distil.rollouts import relabel_pool
from distil.rollouts.relabel import LabelReport, label_store

pytestmark = pytest.mark.ray


def is_right(store):
    now = store.snapshot()
    return all(
        now.episode(i).expert_actions.tolist() == Balancer().act(now.episode(i).observations["obs"][:-1]).tolist()
        for i in range(now.num_episodes)
    )


def test_two_workers_give_what_one_process_gives(ray_session, tmp_path):
    shards, told = [[5, 9], [3, 7], [4, 6], [8]], io.StringIO()
    alone, store = raw_store(tmp_path / "alone", *shards), raw_store(tmp_path / "s", *shards)
    label_store(alone, expert(), key="k")
    report = label_store(store, expert(), key="k", num_workers=2, progress=Console(told))
    assert report == LabelReport(version=5, num_episodes=7, num_labels=42, num_unlabelled=0)
    assert store.snapshot().digest == alone.snapshot().digest
    assert [item.digest for item in store.manifest().entries] == [item.digest for item in alone.manifest().entries]
    first, *_, last = told.getvalue().splitlines()
    assert first == "label: starting Ray actors"
    assert last.startswith("label      7/7 in ")
    assert label_store(store, expert(), key="k", num_workers=2).version == 5


def test_a_killed_actor_is_replaced_and_only_its_shard_asked_again(ray_session, tmp_path):
    store, ledger, marker = raw_store(tmp_path / "s", [5, 9], [3, 7], [4, 6]), tmp_path / "asked", tmp_path / "died"
    who = expert("labelbed:Dying", at=7, once=True, ledger=str(ledger), marker=str(marker))
    report = label_store(store, who, key="k", num_workers=1)
    assert marker.exists()
    assert (report.num_episodes, report.num_labels, report.num_unlabelled) == (6, 34, 0)
    assert asked(ledger) == [5, 9, 3, 4, 6, 3, 7]
    assert is_right(store)
    assert store.verify() == []


def test_a_shard_that_keeps_killing_actors_ends_the_work_and_keeps_the_others(ray_session, tmp_path):
    store, marker = raw_store(tmp_path / "s", [5], [3, 7]), tmp_path / "died"
    who = expert("labelbed:Dying", at=7, marker=str(marker))
    path = store.manifest().entries[1].path
    with pytest.raises(RunError, match=f"workers died 4 times while labelling {path}"):
        label_store(store, who, key="k", num_workers=1)
    assert store.snapshot().episodes.num_labelled.tolist() == [5, 0, 0]


def test_an_expert_that_raises_is_named_and_what_was_answered_is_published(ray_session, tmp_path):
    store, ledger = raw_store(tmp_path / "s", [5, 9], [3, 7, 4]), tmp_path / "asked"
    who = expert(spoil="raise", spoil_at=3, ledger=str(ledger))
    with pytest.raises(RunError, match=r"ConnectionError: the expert is at lunch \(labelling episode e0003 of "):
        label_store(store, who, key="k", num_workers=1)
    assert store.snapshot().episodes.num_labelled.tolist() == [5, 9, 3, 0, 0]


def test_ctrl_c_publishes_what_was_answered(ray_session, tmp_path):
    """Once the first shard is done and the second under way: its actor stops after the episode that it is at."""
    store, ledger, gate = raw_store(tmp_path / "s", [5], [3, 7, 4]), tmp_path / "asked", tmp_path / "gate"
    os.mkfifo(gate)
    who = expert("labelbed:Cancelled", gate=str(gate), at=7, ledger=str(ledger))

    def press():
        gate.read_text()
        os.kill(os.getpid(), signal.SIGINT)

    thread = threading.Thread(target=press, daemon=True)
    thread.start()
    with pytest.raises(KeyboardInterrupt):
        label_store(store, who, key="k", num_workers=1)
    thread.join()
    assert asked(ledger) == [5, 3, 7]
    assert store.snapshot().episodes.num_labelled.tolist() == [5, 3, 7, 0]
    assert label_store(store, expert(), key="k").num_labels == 4
    assert is_right(store)


def test_an_expert_that_cannot_be_sent_is_named(ray_session, tmp_path):
    store, who = raw_store(tmp_path / "s", [5]), expert()
    who.lock = _thread.allocate_lock()
    with pytest.raises(InputError, match=r"expert testbed:Balancer can't be sent to workers: .*; label with 0 workers"):
        label_store(store, who, key="k", num_workers=1)


def test_too_small_a_cluster_is_named(ray_session, tmp_path, monkeypatch):
    monkeypatch.setattr(relabel_pool, "_ROOM", dataclasses.replace(relabel_pool._ROOM, each={"CPU": 99}))
    monkeypatch.setattr(relabel_pool, "START_TIMEOUT_S", 0.1)
    store = raw_store(tmp_path / "s", [5])
    with pytest.raises(InputError, match=r"labelling workers: at least 1 needed with 99 CPU each; .*: label with 0 workers"):
        label_store(store, expert(), key="k", num_workers=1)
    monkeypatch.setattr("distil.cluster.grows", lambda ray: True)
    with pytest.raises(RunError, match=r"labelling workers: not started in 0 s; at least 1 needed with 99 CPU each"):
        label_store(store, expert(), key="k", num_workers=1)
