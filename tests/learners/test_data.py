import itertools
from typing import Any

import numpy as np
import pytest

from distil.config import validate
from distil.errors import InputError
from distil.learners.data import Data
from distil.objectives.supervised import Supervised
from distil.plans import UpdatePlan
from distil.store import MixtureConfig, ReadConfig, Reader, Snapshot
from distil.store.mixture import MixedSampler

WINDOWS = {"obs_horizon": 1, "chunk": 1}


def mixture(bed: Any, weights: tuple[float, float] = (2.0, 1.0)) -> MixtureConfig:
    """Two stores: the bed's, and one of five longer episodes."""
    if not (bed.folder / "other").exists():
        bed.make(bed.folder / "other", num_episodes=5, first=50, length=30)
    parts = [{"path": str(bed.folder / name), "weight": w} for name, w in zip(("store", "other"), weights, strict=True)]
    return validate(MixtureConfig, {"parts": parts}).pin()


def of(*parts: Snapshot) -> Data:
    fake = validate(MixtureConfig, {"parts": [{"path": "x"}] * len(parts)})
    return Data(parts=parts, mixture=fake)


def test_a_plan_s_mixture_is_what_is_trained_on(bed: Any) -> None:
    plan = UpdatePlan(num_steps=1, mixture=mixture(bed))
    data = Data.of(plan, None)
    assert [part.num_episodes for part in data.parts] == [10, 5]
    assert Data.of(UpdatePlan(num_steps=1), bed.snapshot).parts == (bed.snapshot,)


def test_content_and_weights_are_the_identity(bed: Any) -> None:
    digests = {Data.of(UpdatePlan(num_steps=1, mixture=mixture(bed, w)), None).digest for w in ((2.0, 1.0), (1.0, 1.0))}
    assert len(digests) == 2
    data = Data.of(UpdatePlan(num_steps=1, mixture=mixture(bed)), None)
    assert data.digest in digests
    assert Data(parts=data.parts[::-1], mixture=data.mixture).digest not in digests


def test_each_part_holds_episodes_out_and_all_are_scanned(bed: Any) -> None:
    """CORRECTNESS 8 (data): no sample is both trained on and held out, though the parts overlap."""
    whole, reader = bed.snapshot, Reader(ReadConfig(share=False))
    data = of(whole, whole.select([0, 3, 7]), bed.more(first=20, num_episodes=10).select(range(10, 20)))
    training, held_out = data.sources(reader, validation_fraction=0.2, seed=0, **WINDOWS)
    assert isinstance(training, MixedSampler)
    assert held_out is not None
    seen = [
        {tuple(row) for batch in source.scan(64) for row in batch.observations["obs"][:, 0]} for source in (training, held_out)
    ]
    assert not seen[0] & seen[1]
    assert len(seen[1]) == held_out.num_samples == 4 * 20  # two of each distinct ten
    assert len(seen[0]) == 16 * 20
    alone = Data(parts=(whole,)).sources(reader, validation_fraction=0.0, seed=0, **WINDOWS)
    assert alone[1] is None
    assert alone[0].num_samples == 200


def test_a_part_without_anything_to_train_on_is_named(bed: Any) -> None:
    reader = Reader(ReadConfig(share=False))
    with pytest.raises(InputError, match="unlabelled: no labelled transition to train on"):
        of(bed.snapshot, bed.empty(num_episodes=2)).sources(reader, validation_fraction=0.0, seed=0, **WINDOWS)
    held_out = bed.snapshot.split(0.2, 0)[1]
    with pytest.raises(InputError, match="all labelled episodes of this part are held out; choose more"):
        of(bed.snapshot, held_out).sources(reader, validation_fraction=0.2, seed=0, **WINDOWS)


def test_a_killed_update_on_a_mixture_ends_as_if_it_had_not_been(bed: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """CORRECTNESS 11, and the stores have grown meanwhile; CORRECTNESS 8: the statistics are those of all parts."""
    settings = {"validation_fraction": 0.2, "validate_every": 10}
    plan = UpdatePlan(num_steps=30, mixture=mixture(bed))
    straight = bed.learner("straight", **settings)
    expected = straight.update(plan)
    calls, original = itertools.count(1), Supervised.step

    def dying(self: Supervised, batches: Any) -> Any:
        if next(calls) == 14:
            raise SystemExit
        return original(self, batches)

    monkeypatch.setattr(Supervised, "step", dying)
    with pytest.raises(SystemExit):
        bed.learner("killed", **settings).update(plan)
    monkeypatch.undo()
    bed.more(first=80)
    resumed = bed.learner("killed", resume=True, **settings)
    metrics = resumed.update(plan)
    assert next(calls) == 15
    assert all(np.array_equal(values, resumed.policy.arrays[name]) for name, values in straight.policy.arrays.items())
    assert metrics["train/validation_loss"] == expected["train/validation_loss"]
    assert metrics["train/epochs"] == 30 * 16 / (8 * 20 + 4 * 30)
    data = Data.of(plan, None)
    training, _ = data.sources(Reader(), validation_fraction=0.2, seed=bed.split_seed, **WINDOWS)
    mean = training.columns["obs"].mean(0)
    np.testing.assert_allclose(straight.policy.arrays["encoder.features.mean"], mean, atol=1e-5)


def test_another_mixture_is_another_update(bed: Any) -> None:
    learner = bed.learner()
    learner.update(UpdatePlan(num_steps=5, mixture=mixture(bed)))
    again = bed.learner(resume=True)
    again.update(UpdatePlan(num_steps=5, mixture=mixture(bed)))
    assert again.policy.version == 1  # known: not repeated
    again.update(UpdatePlan(num_steps=5, mixture=mixture(bed, (1.0, 9.0))))
    assert again.policy.version == 2
