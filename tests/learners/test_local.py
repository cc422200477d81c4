import itertools
import shutil
from types import SimpleNamespace

import numpy as np
import psutil
import pytest
import torch

from distil.errors import InputError, RunError
from distil.heads.config import BinsConfig
from distil.learners.checkpoints import Checkpoints
from distil.learners.config import LearnerConfig
from distil.learners.data import TrainingData, demos
from distil.learners.factory import make_learner
from distil.objectives.gradient import GradientObjective
from distil.objectives.supervised import Supervised
from distil.plans import StreamPlan, UpdatePlan, WatchPlan
from distil.policies.config import MlpConfig, PolicyConfig
from distil.policies.restore import policy_of
from distil.store.reading import ReadConfig
from distil.store.weighting import WeightConfig


class Killed(BaseException):
    """Stands for a SIGKILL: nothing of ours handles it."""


def kill_at(monkeypatch, step: int, objective: type = Supervised) -> None:
    """Let the process die in its `step`-th gradient step from now, after the weights moved."""
    calls, original = itertools.count(1), objective.step

    def dying(self, batches):
        out = original(self, batches)
        if next(calls) == step:
            monkeypatch.setattr(objective, "step", original)
            raise Killed
        return out

    monkeypatch.setattr(objective, "step", dying)


def same(one, two) -> bool:
    return one.arrays.keys() == two.arrays.keys() and all(np.array_equal(one.arrays[k], two.arrays[k]) for k in one.arrays)


def content(bed, name: str) -> tuple[dict, dict]:
    newest = next(Checkpoints(bed.folder / name).newest_first())
    timing = ("time/update_s", "time/update_cpu_s", "time/data_wait_s", "train/samples_per_s")
    metrics = {k: v for k, v in newest.state["metrics"].items() if k not in timing}
    return dict(newest.tensors), dict(newest.state) | {"metrics": metrics}


FITTED = BinsConfig(num_bins=8, spacing="quantile", hidden=8)  # on the labels, before the first step
ENSEMBLE = PolicyConfig(encoder=MlpConfig(hidden=(16, 16)), ensemble=3, head=FITTED)
SETTINGS = {
    "plain": {},
    "ensemble": {"policy": ENSEMBLE, "ema_decay": 0.9},
    "everything": {"ema_decay": 0.9, "validation_fraction": 0.2, "validate_every": 7, "patience": 3, "learning_rate": 0.03},
}


@pytest.mark.parametrize("settings", SETTINGS.values(), ids=SETTINGS)
@pytest.mark.parametrize("kills", [(3,), (17,), (25, 6), (10, 30)])
def test_killed_and_resumed_equals_undisturbed(bed, monkeypatch, settings, kills):
    """CORRECTNESS 11 and 26: bit for bit, weights and whole training state, wherever the kill was."""
    plan = UpdatePlan(num_steps=55)
    undisturbed = bed.learner("undisturbed", **settings)
    metrics = undisturbed.update(plan, demos(bed.snapshot))
    for attempt, step in enumerate(kills):
        kill_at(monkeypatch, step)
        with pytest.raises(Killed):
            bed.learner("killed", resume=attempt > 0, **settings).update(plan, demos(bed.snapshot))
    resumed = bed.learner("killed", resume=True, **settings)
    again = resumed.update(plan, demos(bed.snapshot))
    assert same(resumed.policy, undisturbed.policy)
    assert resumed.policy.version == undisturbed.policy.version == 1
    assert again["train/loss"] == metrics["train/loss"]
    (tensors, state), (wanted_tensors, wanted_state) = content(bed, "killed"), content(bed, "undisturbed")
    assert state == wanted_state
    assert tensors.keys() == wanted_tensors.keys()
    assert all(torch.equal(value, wanted_tensors[name]) for name, value in tensors.items())


TWO = {"demos": StreamPlan(), "agent": StreamPlan(source="agent")}


@pytest.mark.parametrize(
    "settings", [{}, {"ema_decay": 0.9, "validation_fraction": 0.2, "validate_every": 7}], ids=["plain", "all"]
)
@pytest.mark.parametrize("kills", [(3,), (25, 6), (10, 30)])
def test_two_streams_and_two_optimisers_resume_exactly(bed, monkeypatch, settings, kills):
    """CORRECTNESS 11: a user's objective, whose critics have another stream, other windows and an own optimiser."""
    settings = settings | {"objective": "objectivebed:Critics"}
    plan = UpdatePlan(num_steps=40, streams=TWO, weights=WeightConfig(round_decay=0.5))
    streams = demos(bed.snapshot) | {"agent": TrainingData(parts=(bed.empty(num_episodes=3, first=40, length=7),))}
    undisturbed = bed.learner("undisturbed", **settings)
    metrics = undisturbed.update(plan, streams)
    assert metrics["train/epochs"] == 40 * 16 / (180 if "validation_fraction" in settings else 200)  # of demonstrations
    assert {"train/loss", "train/critic_loss", "train/grad_norm"} < metrics.keys()
    for attempt, step in enumerate(kills):
        kill_at(monkeypatch, step, GradientObjective)
        with pytest.raises(Killed):
            bed.learner("killed", resume=attempt > 0, **settings).update(plan, streams)
    resumed = bed.learner("killed", resume=True, **settings)
    resumed.update(plan, streams)
    (tensors, state), (expected_tensors, expected_state) = content(bed, "killed"), content(bed, "undisturbed")
    assert state == expected_state
    assert tensors.keys() == expected_tensors.keys()
    assert all(torch.equal(value, expected_tensors[name]) for name, value in tensors.items())
    assert any(name.startswith("critics_adamw.first.") and value.any() for name, value in tensors.items())


def test_other_data_of_any_stream_are_another_update(bed):
    """CORRECTNESS 11: a finished update isn't repeated, one on other agent's steps is."""
    plan, learner = UpdatePlan(num_steps=4, streams=TWO), bed.learner(objective="objectivebed:Critics")
    agent = bed.empty(num_episodes=3, first=40, length=7)
    for part, version in ((agent, 1), (agent, 1), (agent.select([0, 2]), 2)):
        learner.update(plan, demos(bed.snapshot) | {"agent": TrainingData(parts=(part,))})
        assert learner.policy.version == version


def test_a_user_s_objective_that_raises_is_named(bed, monkeypatch):
    monkeypatch.setattr("objectivebed.DISCOUNT", "much")
    plan = UpdatePlan(num_steps=4, streams=TWO)
    streams = demos(bed.snapshot) | {"agent": TrainingData(parts=(bed.empty(num_episodes=1),))}
    with pytest.raises(RunError, match=r"^objective objectivebed:Critics failed: TypeError: [^\n]*; fix the class$"):
        bed.learner(objective="objectivebed:Critics").update(plan, streams)
    bed.learner().update(UpdatePlan(num_steps=2), demos(bed.snapshot))
    with pytest.raises(RunError, match=r"^objective objectivebed:Critics failed: KeyError: 'critics.*; fix the class$"):
        bed.learner(objective="objectivebed:Critics", resume=True)


def test_killed_in_the_second_round(bed, monkeypatch):
    """CORRECTNESS 11: the resumed learner's policy is the first round's, and its second update equals the undisturbed."""
    first, second = UpdatePlan(num_steps=12), UpdatePlan(num_steps=25, round=1)
    undisturbed = bed.learner("undisturbed")
    undisturbed.update(first, demos(bed.snapshot))
    after_first = undisturbed.policy
    grown = bed.more(num_episodes=5, first=10)
    undisturbed.update(second, demos(grown))
    killed = bed.learner("killed")
    killed.update(first, demos(bed.snapshot))
    kill_at(monkeypatch, 15)
    with pytest.raises(Killed):
        killed.update(second, demos(grown))
    resumed = bed.learner("killed", resume=True)
    assert resumed.policy.version == 1
    assert same(resumed.policy, after_first)
    resumed.update(second, demos(grown))
    assert resumed.policy.version == 2
    assert same(resumed.policy, undisturbed.policy)


def test_a_checkpoint_of_another_plan_isn_t_continued(bed, monkeypatch):
    kill_at(monkeypatch, 15)
    with pytest.raises(Killed):
        bed.learner().update(UpdatePlan(num_steps=30), demos(bed.snapshot))
    resumed = bed.learner(resume=True)
    resumed.update(UpdatePlan(num_steps=20), demos(bed.snapshot))
    fresh = bed.learner("fresh")
    fresh.update(UpdatePlan(num_steps=20), demos(bed.snapshot))
    assert same(resumed.policy, fresh.policy)


def test_a_finished_update_isn_t_repeated(bed, monkeypatch):
    """CORRECTNESS 14, the learner's part: a run that died before its report asks for the same plan again."""
    plan = UpdatePlan(num_steps=12)
    learner = bed.learner()
    metrics = learner.update(plan, demos(bed.snapshot))
    resumed = bed.learner(resume=True)
    monkeypatch.setattr(Supervised, "step", None)
    assert resumed.update(plan, demos(bed.snapshot)) == metrics
    assert resumed.policy.version == 1
    assert same(resumed.policy, learner.policy)


def test_without_resume_older_checkpoints_are_ignored(bed):
    plan = UpdatePlan(num_steps=12)
    bed.learner(seed=1).update(plan, demos(bed.snapshot))
    learner, other = bed.learner(), bed.learner("other")
    assert learner.policy.version == 0
    learner.update(plan, demos(bed.snapshot))
    other.update(plan, demos(bed.snapshot))
    assert same(learner.policy, other.policy)


def test_trains_only_on_the_given_episodes(bed):
    learner = bed.learner()
    learner.update(UpdatePlan(num_steps=10), demos(bed.snapshot.first(3)))
    rows = bed.snapshot.first(3).columns(["obs", "labelled"])
    seen = rows["obs"][rows["labelled"] == 1]
    np.testing.assert_allclose(learner.policy.arrays["encoder.features.mean"], seen.mean(0), rtol=1e-5)


def test_statistics_come_from_training_episodes_and_stay(bed):
    """CORRECTNESS 8: neither held-out episodes nor later rounds move them."""
    learner = bed.learner(validation_fraction=0.3)
    learner.update(UpdatePlan(num_steps=5), demos(bed.snapshot))
    mean = learner.policy.arrays["encoder.features.mean"]
    rows = bed.snapshot.columns(["obs", "labelled"])
    assert not np.allclose(mean, rows["obs"][rows["labelled"] == 1].mean(0), rtol=1e-4)
    learner.update(UpdatePlan(num_steps=5, round=1), demos(bed.more(num_episodes=5, first=10)))
    assert np.array_equal(learner.policy.arrays["encoder.features.mean"], mean)


def test_learns_and_reports_the_documented_metrics(bed):
    reports = []

    def progress(what, done, total, /, **figures):
        reports.append((what, done, total, figures))

    learner = bed.learner(learning_rate=1e-2, validation_fraction=0.2, validate_every=50, progress=progress)
    metrics = learner.update(UpdatePlan(num_steps=200), demos(bed.snapshot))
    assert metrics["train/loss"] < 0.02
    assert metrics["train/validation_loss"] < 0.05
    assert metrics["train/steps"] == 200
    assert metrics["train/epochs"] == 200 * 16 / bed.snapshot.split(0.2, bed.split_seed)[0].num_transitions
    assert 0 <= metrics["time/data_wait_s"] < metrics["time/update_s"]
    assert metrics["time/update_cpu_s"] > 0
    assert metrics["train/samples_per_s"] > 0
    assert metrics["train/grad_norm"] > 0
    assert 0 < metrics["train/learning_rate"] < 1e-5
    assert reports[-1][:3] == ("update", 200, 200)
    assert set(reports[-1][3]) == {"loss"}


def test_the_policy_is_what_was_trained(bed):
    """CORRECTNESS 8: reloaded from its plain data it gives the identical loss."""
    learner = bed.learner()
    learner.update(UpdatePlan(num_steps=20), demos(bed.snapshot))
    policy = policy_of(learner.policy)
    assert learner.policy.version == 1
    assert same(policy.ref(1), learner.policy)


def test_a_checkpoint_of_another_shape_is_refused_in_one_line(bed):
    bed.learner().update(UpdatePlan(num_steps=5), demos(bed.snapshot))
    wide = PolicyConfig(encoder=MlpConfig(hidden=(32, 16)))
    with pytest.raises(InputError, match=r"checkpoint is of another policy: policy\.head\.edges is absent there"):
        bed.learner(resume=True, policy=ENSEMBLE)
    with pytest.raises(
        InputError, match=r"checkpoint is of another policy: policy\.encoder\S+ is \(16,\) there and \(32,\)"
    ) as caught:
        bed.learner(resume=True, policy=wide)
    assert "\n" not in str(caught.value)


def test_nothing_labelled_is_bad_input(bed):
    with pytest.raises(InputError, match="no labelled transition to train on; collect"):
        bed.learner().update(UpdatePlan(num_steps=5), demos(bed.empty(num_episodes=2)))


def test_no_gpu_is_bad_input(bed, monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    with pytest.raises(InputError, match=r"learner\.device: torch sees no GPU"):
        bed.learner(device="cuda")


def test_from_scratch_forgets_and_a_warm_start_continues(bed):
    """The update from scratch is that of a new learner; the warm one isn't, and continues from the weights it had."""
    more = bed.more(num_episodes=5, first=10)
    plans = {"scratch": {"from_scratch": True}, "warm": {}}
    ends = {}
    for name, changes in plans.items():
        learner = bed.learner(name)
        learner.update(UpdatePlan(num_steps=15), demos(bed.snapshot))
        learner.update(UpdatePlan(num_steps=15, round=1, **changes), demos(more))
        ends[name] = learner.policy
    fresh = bed.learner("fresh")
    fresh.update(UpdatePlan(num_steps=15, round=1), demos(more))
    assert same(ends["scratch"], fresh.policy)
    assert not same(ends["warm"], fresh.policy)
    assert ends["scratch"].version == 2


@pytest.mark.parametrize("changes", [{}, {"from_scratch": True}])
@pytest.mark.parametrize("step", [3, 17])
def test_a_later_round_killed_and_resumed_equals_undisturbed(bed, monkeypatch, changes, step):
    """CORRECTNESS 11 and 14: warm and from scratch; before its first checkpoint and after."""
    more = bed.more(num_episodes=5, first=10)
    first, second = UpdatePlan(num_steps=12), UpdatePlan(num_steps=25, round=1, **changes)
    undisturbed = bed.learner("undisturbed")
    undisturbed.update(first, demos(bed.snapshot))
    undisturbed.update(second, demos(more))
    killed = bed.learner("killed")
    killed.update(first, demos(bed.snapshot))
    kill_at(monkeypatch, step)
    with pytest.raises(Killed):
        killed.update(second, demos(more))
    resumed = bed.learner("killed", resume=True)
    resumed.update(second, demos(more))
    assert same(resumed.policy, undisturbed.policy)


def test_data_beyond_the_budget_is_streamed_and_resumes_exactly(bed, monkeypatch):
    """CORRECTNESS 11 in tier 2."""
    snapshot, plan = bed.more(num_episodes=60, first=100, length=600), UpdatePlan(num_steps=55)
    streamed = {"read": ReadConfig(memory_budget=1_500_000)}
    undisturbed = bed.learner("undisturbed", **streamed)
    assert undisturbed.update(plan, demos(snapshot))["train/data_tier"] == 2
    kill_at(monkeypatch, 33)
    with pytest.raises(Killed):
        bed.learner("killed", **streamed).update(plan, demos(snapshot))
    other = {**streamed, "read": ReadConfig(memory_budget="1GB")}
    with pytest.raises(InputError, match=r"streamed with 1500000 bytes, here they are in memory.*learner\.read\.memory_budget"):
        bed.learner("killed", resume=True, **other).update(plan, demos(snapshot))
    resumed = bed.learner("killed", resume=True, **streamed)
    resumed.update(plan, demos(snapshot))
    assert same(undisturbed.policy, resumed.policy)
    for learner in (undisturbed, resumed):
        learner.close()


def test_a_resumed_update_keeps_its_memory_budget(bed, monkeypatch):
    """CORRECTNESS 11 and 31: free memory differs at each start."""
    snapshot, plan = bed.more(num_episodes=60, first=100, length=600), UpdatePlan(num_steps=55)

    def free(num_bytes):
        monkeypatch.setattr(psutil, "virtual_memory", lambda: SimpleNamespace(available=num_bytes))

    free(3_000_000)
    undisturbed = bed.learner("undisturbed")
    assert undisturbed.update(plan, demos(snapshot))["train/data_tier"] == 2
    kill_at(monkeypatch, 33)
    with pytest.raises(Killed):
        bed.learner("killed").update(plan, demos(snapshot))
    for num_bytes in (2_999_000, 2**40):
        free(num_bytes)
        shutil.copytree(bed.folder / "killed", bed.folder / f"killed-{num_bytes}")
        resumed = bed.learner(f"killed-{num_bytes}", resume=True)
        assert resumed.update(plan, demos(snapshot))["train/data_tier"] == 2
        assert same(undisturbed.policy, resumed.policy)
        resumed.close()
    undisturbed.close()
    kill_at(monkeypatch, 33)
    with pytest.raises(Killed):
        bed.learner("in_memory").update(plan, demos(snapshot))
    free(3_000_000)
    assert bed.learner("in_memory", resume=True).update(plan, demos(snapshot))["train/data_tier"] == 1


def test_a_widened_round_that_is_killed_and_resumed_equals_undisturbed(bed, monkeypatch):
    """CORRECTNESS 11: before the first checkpoint and after."""
    policy = PolicyConfig(encoder=MlpConfig(hidden=(16, 16)))
    config = LearnerConfig(batch_size=16, warmup_steps=5, ema_decay=0.9, checkpoint_every=10)
    first = bed.scaled("open", range(10))
    grown = bed.scaled("open", range(10, 20), actions=9.0)
    later = UpdatePlan(num_steps=25, round=1)
    undisturbed = make_learner(config, policy, bed.open_spec, bed.folder / "undisturbed", seed=0)
    undisturbed.update(UpdatePlan(num_steps=12), demos(first))
    undisturbed.update(later, demos(grown))
    for step in (3, 17):
        folder = bed.folder / f"killed-{step}"
        killed = make_learner(config, policy, bed.open_spec, folder, seed=0)
        killed.update(UpdatePlan(num_steps=12), demos(first))
        kill_at(monkeypatch, step)
        with pytest.raises(Killed):
            killed.update(later, demos(grown))
        resumed = make_learner(config, policy, bed.open_spec, folder, seed=0, resume=True)
        resumed.update(later, demos(grown))
        assert same(resumed.policy, undisturbed.policy)


def test_the_end_of_an_update_is_reported_once(bed, monkeypatch):
    """Issue 8, number 43: a finished progress line was repeated."""
    monkeypatch.setattr("distil.learners.loop._REPORT_EVERY_S", -1.0)  # each step
    told = []
    learner = bed.learner(progress=lambda what, done, total, /, **_: told.append((what, done, total)))
    learner.update(UpdatePlan(num_steps=5), demos(bed.snapshot))
    assert told == [("update", done, 5) for done in range(1, 6)]


def test_a_policy_that_is_watched_learns_the_same(bed, monkeypatch):
    """It is shown every few steps and at the end; after a kill, what had not reached a checkpoint is shown again."""
    plan, shown = UpdatePlan(num_steps=55, watch=WatchPlan(every=20, num_episodes=1)), []
    unwatched, watched = bed.learner("unwatched"), bed.learner("watched")
    unwatched.update(UpdatePlan(num_steps=55), demos(bed.snapshot))
    kill_at(monkeypatch, 45)
    with pytest.raises(Killed):
        watched.update(plan, demos(bed.snapshot), lambda step, policy: shown.append((step, policy)))
    resumed = bed.learner("watched", resume=True)
    resumed.update(plan, demos(bed.snapshot), lambda step, policy: shown.append((step, policy)))
    assert [step for step, _ in shown] == [20, 40, 55]
    assert same(resumed.policy, unwatched.policy)
    assert same(shown[-1][1], unwatched.policy)
    assert not same(shown[0][1], shown[1][1])


def test_a_policy_of_an_update_that_stops_early_is_shown_in_the_end(bed):
    shown, plan = [], UpdatePlan(num_steps=400, watch=WatchPlan(every=1000, num_episodes=1))
    learner = bed.learner(**SETTINGS["everything"])
    metrics = learner.update(plan, demos(bed.snapshot), lambda step, policy: shown.append(step))
    assert shown == [metrics["train/steps"]]
    assert metrics["train/steps"] < 400
