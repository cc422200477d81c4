import gymnasium as gym
import numpy as np
import pytest
from labelbed import asked, expert, raw_store
from testbed import Balancer

from distil.errors import RunError
from distil.experts.base import Checked, Stateless, every
from distil.rollouts.relabel_worker import LabelSetup, ShardTask, label_shard
from distil.store.relabel import publish_rewritten
from distil.types import Labels

BOX = gym.spaces.Box(-1, 1, (1,), np.float32)


class Doubling(Stateless):
    """Answers twice the first number that it sees; NaN and infinity where it is small or large."""

    name = "doubling"

    def __init__(self, fault=""):
        self.fault = fault

    def act(self, observations, *, envs=None):
        seen = observations["obs"][:, :1].copy()
        if self.fault == "shape":
            return Labels(actions=seen[:1], mask=every(1))
        seen[seen < -0.5] = np.nan
        seen[seen > 0.5] = np.inf
        return Labels(actions=2 * seen, mask=every(len(seen)))


class Remembering:
    """Its answer is how many steps it has seen, from the first one's seed on: right only if it sees them all in order."""

    name = "remembering"
    needs_env = False
    stateful = True

    def __init__(self):
        self.begun, self.rows = [], []

    def begin(self, slot, seed):
        self.begun.append((slot, seed))
        self.count = 0

    def act(self, observations, *, envs=None):
        self.rows.append(observations["obs"].tolist())
        self.count += 1
        return Labels(actions=np.array([self.count % 2]), mask=every(1))


def run(store, who, again=False, uids=None, **kwargs):
    """Label the first shard and publish it; return the report."""
    entry = store.manifest().entries[0]
    task = ShardTask(entry=entry, uids=uids or frozenset(store.index(entry).column("uid").to_pylist()), again=again, key="k")
    report = label_shard(LabelSetup(path=str(store.path), spec=store.spec, expert=who), task, **kwargs)
    publish_rewritten(store, {entry: report.entry} if report.entry != entry else {}, "")
    return report


def test_a_stateful_expert_sees_each_episode_from_its_first_step(tmp_path):
    """Row by row in one slot, up to the last step that lacks a label; only these get one."""
    store, who = raw_store(tmp_path / "s", [6, 4], labelled=(0, 2, 5)), Remembering()
    before = store.snapshot()
    run(store, who)
    now = store.snapshot()
    assert who.begun == [(0, 1000), (0, 1001)]
    assert [row[0] for row in who.rows[:5]] == before.episode(0).observations["obs"][:5].tolist()
    assert [row[0] for row in who.rows[5:]] == before.episode(1).observations["obs"][:4].tolist()
    assert now.episode(0).expert_actions.tolist() == [1, 0, 1, 0, 1, 1]  # 0, 2 and 5 had the label 1
    assert now.episode(1).expert_actions.tolist() == [1, 0, 1, 0]
    assert now.episodes.num_labelled.tolist() == [6, 4]


@pytest.mark.parametrize("is_checked", [True, False])
def test_nan_and_infinity_are_no_labels_whoever_made_the_expert(tmp_path, is_checked):
    store, told = raw_store(tmp_path / "s", [40, 30], action=BOX), []
    who = Checked(Doubling(), store.spec.action) if is_checked else Doubling()
    run(store, who, tell=told.append)
    now = store.snapshot()
    for index in range(2):
        episode = now.episode(index)
        seen = episode.observations["obs"][:-1, 0]
        good = np.abs(seen) <= 0.5
        assert 0 < good.sum() < len(good)
        assert (episode.labelled == good).all()
        np.testing.assert_array_equal(episode.expert_actions[:, 0], np.where(good, 2 * seen, 0))
    assert told == now.episodes.num_labelled.tolist()


def test_answers_of_the_wrong_shape_name_expert_and_episode(tmp_path):
    store = raw_store(tmp_path / "s", [4, 3], action=BOX)
    for who in (Doubling("shape"), Checked(Doubling("shape"), store.spec.action)):
        report = run(store, who)
        assert report.error.startswith("expert doubling: returned actions of shape (1, 1), expected (4, 1)")
        assert report.error.endswith(f"(labelling episode e0000 of {store.path}); what was labelled is kept")
        assert report.entry == store.manifest().entries[0]


def test_a_stop_keeps_what_was_answered(tmp_path):
    store, ledger = raw_store(tmp_path / "s", [5, 9, 3]), tmp_path / "asked"
    report = run(store, expert(ledger=str(ledger)), stop=lambda: len(asked(ledger)) == 2)
    assert report.is_stopped
    assert store.snapshot().episodes.num_labelled.tolist() == [5, 9, 0]


def test_an_expert_may_write_on_what_it_is_shown(tmp_path):
    """It gets a copy, of all rows or of some; the shard is mapped memory that can't be written."""
    store = raw_store(tmp_path / "s", [5, 3], labelled=(4,))
    assert run(store, expert("labelbed:Writing")).error == ""
    now = store.snapshot()
    for index, num in ((0, 4), (1, 3)):
        episode = now.episode(index)
        assert episode.expert_actions[:num].tolist() == Balancer().act(episode.observations["obs"][:num]).tolist()
        assert episode.observations["obs"].any()


def test_a_damaged_shard_is_found_before_anything_is_asked(tmp_path):
    store, ledger = raw_store(tmp_path / "s", [300]), tmp_path / "asked"
    path = store.path / store.manifest().entries[0].path
    content = bytearray(path.read_bytes())
    content[3000] ^= 1
    path.write_bytes(content)
    with pytest.raises(RunError, match=f"{path.name}: altered"):
        run(store, expert(ledger=str(ledger)))
    assert asked(ledger) == []


def test_a_shard_without_new_labels_is_not_written_again(tmp_path):
    store = raw_store(tmp_path / "s", [5])
    run(store, expert(), again=True)
    before = sorted((store.path / "data").iterdir())
    report = run(store, expert(), again=True)
    assert report.entry == store.manifest().entries[0]
    assert sorted((store.path / "data").iterdir()) == before
