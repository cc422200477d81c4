from collections import deque

import numpy as np
import pytest
import torch

from distil.learners.data import demos
from distil.learners.loop import Fit, FitState, to_torch
from distil.objectives.augment import Augmenter
from distil.objectives.augment_config import ObservationNoiseConfig
from distil.objectives.supervised import Supervised
from distil.plans import UpdatePlan
from distil.store.sampler import Sampler
from distil.store.windows import TransitionBatch
from distil.types import Batch


def scripted_validation(monkeypatch, losses: list[float]) -> list[dict]:
    """Let the held-out losses be `losses`, whatever the policy; return the weights at each validation, as it happens."""
    left, weights = deque(losses), []
    original = Supervised.evaluation_policy

    def evaluation_policy(self):
        policy = original(self)
        weights.append({name: value.clone() for name, value in policy.state_dict().items()})
        if left:
            value = left.popleft()
            policy.loss = lambda batch, *, generator: torch.full((len(batch),), value)
        return policy

    monkeypatch.setattr(Supervised, "evaluation_policy", evaluation_policy)
    return weights


def test_early_stopping_restores_the_best(bed, monkeypatch):
    learner = bed.learner(validation_fraction=0.2, validate_every=5, patience=2)
    weights = scripted_validation(monkeypatch, [3.0, 1.0, 2.0, 1.5, 0.5])
    metrics = learner.update(UpdatePlan(num_steps=100), demos(bed.snapshot))
    assert metrics["train/steps"] == 20  # the best at 10, worse at 15 and 20
    assert metrics["train/validation_loss"] == 1.0
    assert all(np.array_equal(learner.policy.arrays[name], value.numpy()) for name, value in weights[1].items())


def test_a_best_from_before_a_kill_is_restored(bed, monkeypatch):
    """CORRECTNESS 11: the best weights and their loss are in the checkpoint."""
    settings = {"validation_fraction": 0.2, "validate_every": 5, "patience": 2}
    weights = scripted_validation(monkeypatch, [3.0, 1.0])
    learner = bed.learner(**settings)
    step, calls = Supervised.step, []

    def dying(self, batches):
        calls.append(1)
        if len(calls) == 13:
            raise SystemExit
        return step(self, batches)

    monkeypatch.setattr(Supervised, "step", dying)
    with pytest.raises(SystemExit):
        learner.update(UpdatePlan(num_steps=100), demos(bed.snapshot))
    best = weights[1]
    monkeypatch.undo()
    scripted_validation(monkeypatch, [2.0, 1.5])
    resumed = bed.learner(resume=True, **settings)
    metrics = resumed.update(UpdatePlan(num_steps=100), demos(bed.snapshot))
    assert (metrics["train/steps"], metrics["train/validation_loss"]) == (20, 1.0)
    assert all(np.array_equal(resumed.policy.arrays[name], value.numpy()) for name, value in best.items())


def test_without_patience_the_last_weights_are_kept(bed, monkeypatch):
    learner = bed.learner(validation_fraction=0.2, validate_every=5)
    weights = scripted_validation(monkeypatch, [3.0, 1.0, 2.0, 4.0])
    metrics = learner.update(UpdatePlan(num_steps=20), demos(bed.snapshot))
    assert metrics["train/steps"] == 20
    assert metrics["train/validation_loss"] == 4.0
    assert all(np.array_equal(learner.policy.arrays[name], value.numpy()) for name, value in weights[3].items())


def test_validation_does_not_change_training(bed):
    """CORRECTNESS 30: with and without a look at the held-out episodes, training takes the same steps."""
    plans = [UpdatePlan(num_steps=20)]
    policies = []
    for every in (3, 1000):
        learner = bed.learner(f"every{every}", validation_fraction=0.2, validate_every=every, ema_decay=0.9)
        learner.update(plans[0], demos(bed.snapshot))
        policies.append(learner.policy.arrays)
    assert all(np.array_equal(policies[0][name], policies[1][name]) for name in policies[0])


def test_a_validation_loss_is_the_mean_over_held_out_windows(bed):
    learner = bed.learner(validation_fraction=0.2, validate_every=1000)
    metrics = learner.update(UpdatePlan(num_steps=10), demos(bed.snapshot))
    from distil.policies.restore import policy_of
    from distil.seeding import integer
    from distil.store.sampler import Sampler

    _, held_out = bed.snapshot.split(0.2, integer(0, "validation split"))
    assert held_out.num_episodes
    (batch,) = Sampler(held_out).scan(1000)
    loss = policy_of(learner.policy).loss(to_torch(batch, torch.device("cpu")))
    assert metrics["train/validation_loss"] == pytest.approx(float(loss.detach().mean()), rel=1e-5)


@pytest.mark.parametrize("killed_at", [7, 13, 20])
def test_a_killed_update_with_augmentation_resumes_exactly(bed, monkeypatch, killed_at):
    """CORRECTNESS 11: the randomness of augmentations restarts at the checkpoint."""
    settings = {"augment": (ObservationNoiseConfig(std=0.3),)}
    plan = UpdatePlan(num_steps=25)
    straight, plain = bed.learner("straight", **settings), bed.learner("plain")
    straight.update(plan, demos(bed.snapshot))
    plain.update(plan, demos(bed.snapshot))
    step, calls = Supervised.step, []

    def dying(self, batches):
        calls.append(1)
        if len(calls) == killed_at:
            raise SystemExit
        return step(self, batches)

    monkeypatch.setattr(Supervised, "step", dying)
    with pytest.raises(SystemExit):
        bed.learner("killed", **settings).update(plan, demos(bed.snapshot))
    monkeypatch.undo()
    resumed = bed.learner("killed", resume=True, **settings)
    resumed.update(plan, demos(bed.snapshot))
    want = straight.policy.arrays
    assert all(np.array_equal(values, resumed.policy.arrays[name]) for name, values in want.items())
    assert any(not np.array_equal(values, plain.policy.arrays[name]) for name, values in want.items())


def test_an_update_fetches_the_batches_that_it_takes(bed, monkeypatch):
    """Several at a time, and none for steps that it doesn't take."""
    sizes = []
    monkeypatch.setattr(
        "distil.learners.loop.to_torch", lambda batch, device: sizes.append(len(batch)) or to_torch(batch, device)
    )
    bed.learner().update(UpdatePlan(num_steps=40), demos(bed.snapshot))
    assert sizes == [16, 32 * 16, 7 * 16]


def test_held_out_batches_are_not_augmented(bed, monkeypatch):
    """The augmentations see training batches alone, and each of them once."""
    seen = []
    original = Augmenter.__call__
    monkeypatch.setattr(Augmenter, "__call__", lambda self, batch: seen.append(len(batch)) or original(self, batch))
    bed.learner(validation_fraction=0.2, validate_every=5).update(UpdatePlan(num_steps=10), demos(bed.snapshot))
    assert seen == [16] * 10


def test_batches_come_from_prepared_sources_and_all_figures_are_metrics(bed):
    """Fields that it adds to the batches reach `step`; the weights are those of the same batches without them."""
    plan, policies = UpdatePlan(num_steps=20), []
    for name in ("Prepared", None):
        objective = {"objective": f"objectivebed:{name}"} if name else {}
        learner = bed.learner(str(name), validation_fraction=0.2, validate_every=10, **objective)
        metrics = learner.update(plan, demos(bed.snapshot))
        policies.append(learner.policy.arrays)
        assert ("train/score" in metrics) == bool(name)
        if name:
            assert metrics["train/score"] > 0.01
            assert metrics["train/score_error"] < 1e-6
    assert all(np.array_equal(policies[0][name], policies[1][name]) for name in policies[0])


def test_the_state_round_trips():
    state = FitState(step=4, validation_loss=2.0, best_loss=1.0, num_worse=1, best={"w": torch.ones(2)})
    for i in range(3):
        state.record({"loss": torch.tensor(float(i)), "grad_norm": torch.tensor(1.0)})
    again = FitState.load(state.tensors(), state.counters())
    assert again.counters() == state.counters()
    assert again.recent == state.recent
    assert again.best is not None
    assert torch.equal(again.best["w"], torch.ones(2))
    empty = FitState.load(FitState().tensors(), FitState().counters())
    assert empty == FitState()


def test_tensors_share_the_batch_s_memory():
    batch = Batch(observations={"obs": np.zeros((2, 1, 3), "f4")}, actions=np.zeros((2, 1)), is_pad=np.zeros((2, 1), bool))
    moved = to_torch(batch, torch.device("cpu"))
    batch.observations["obs"][0] = 5
    assert moved.observations["obs"][0, 0, 0] == 5
    assert moved.weights is None
    weights = Batch(observations={}, actions=batch.actions, is_pad=batch.is_pad, weights=np.ones(2, "f4"))
    assert to_torch(weights, torch.device("cpu")).weights.tolist() == [1, 1]


def test_every_field_of_the_batch_s_class_becomes_a_tensor(bed):
    """CORRECTNESS 42."""
    batch = next(Sampler(bed.snapshot, n_step=2).batches(batch_size=4, seed=0))
    moved = to_torch(batch, torch.device("cpu"))
    assert type(moved) is type(batch) is TransitionBatch
    for name, value in batch.__dict__.items():
        found = getattr(moved, name)
        pairs = [(value[key], found[key]) for key in value] if isinstance(value, dict) else [(value, found)]
        for mine, tensor in pairs:
            assert (tensor is None) if mine is None else np.array_equal(tensor.numpy(), mine), name


def test_a_step_reads_no_scalar(bed, monkeypatch):
    """A scalar that is read makes a GPU wait: none is between two checkpoints."""
    learner = bed.learner(checkpoint_every=1000, augment=(ObservationNoiseConfig(),))
    learner.update(UpdatePlan(num_steps=1), demos(bed.snapshot))
    reads = []
    original = Fit._take

    def watched(self, batches, num):
        monkeypatch.setattr("distil.learners.loop._REPORT_EVERY_S", 1e9)
        for name in ("item", "__float__", "__bool__", "cpu", "tolist"):
            monkeypatch.setattr(torch.Tensor, name, lambda *a, name=name, **k: reads.append(name))
        original(self, batches, num)
        monkeypatch.undo()

    monkeypatch.setattr(Fit, "_take", watched)
    learner.update(UpdatePlan(num_steps=10, round=1), demos(bed.snapshot))
    assert reads == []
