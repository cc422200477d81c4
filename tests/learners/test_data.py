import itertools
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch

from distil.config import validate
from distil.errors import InputError
from distil.learners.data import Streams, TrainingData, demos, digest_of, open_sources
from distil.learners.loop import to_torch
from distil.objectives.optimiser_config import OptimiserConfig
from distil.objectives.supervised import Supervised
from distil.plans import UpdatePlan
from distil.policies.config import MlpConfig, PolicyConfig
from distil.policies.policy import Policy
from distil.store import MixtureConfig, ReadConfig, Reader, SampleSource, Snapshot, Store, WeightConfig
from distil.store.mixture import MixedSampler, split
from distil.store.windows import TransitionBatch, WindowOptions
from distil.types import Batch

WINDOWS: WindowOptions = {"obs_horizon": 1, "chunk": 1}
WEIGHTS = WeightConfig(round_decay=0.5, intervention=3.0)


def mixture(bed: Any, weights: tuple[float, float] = (2.0, 1.0)) -> MixtureConfig:
    """Two stores: the bed's, and one of five longer episodes."""
    if not (bed.folder / "other").exists():
        bed.make(bed.folder / "other", num_episodes=5, first=50, length=30)
    parts = [{"path": str(bed.folder / name), "weight": w} for name, w in zip(("store", "other"), weights, strict=True)]
    return validate(MixtureConfig, {"parts": parts}).pin()


def mixed(bed: Any, weights: tuple[float, float] = (2.0, 1.0)) -> Streams:
    """The streams of an update on that mixture, as it is pinned."""
    pinned = mixture(bed, weights)
    return demos(*pinned.resolve(), shares=pinned.weights)


def of(*parts: Snapshot) -> TrainingData:
    return TrainingData(parts=parts, shares=(1.0,) * len(parts))


def opened(data: TrainingData, reader: Reader, **facts: Any) -> tuple[SampleSource, SampleSource | None]:
    """The sources of one stream."""
    found = open_sources({"demos": data}, {"demos": WINDOWS}, reader, **facts)
    return found.training["demos"], found.held_out


def test_the_digest_depends_on_content_and_shares(bed: Any) -> None:
    digests = {mixed(bed, shares)["demos"].digest for shares in ((2.0, 1.0), (1.0, 1.0))}
    assert len(digests) == 2
    data = mixed(bed)["demos"]
    assert data.digest in digests
    assert TrainingData(parts=data.parts[::-1], shares=data.shares).digest not in digests


def test_each_part_holds_episodes_out_and_all_are_scanned(bed: Any) -> None:
    """CORRECTNESS 8 (data): no sample is both trained on and held out, though the parts overlap."""
    whole, reader = bed.snapshot, Reader(ReadConfig(share=False))
    data = of(whole, whole.select([0, 3, 7]), bed.more(first=20, num_episodes=10).select(range(10, 20)))
    training, held_out = opened(data, reader, validation_fraction=0.2, seed=0)
    assert isinstance(training, MixedSampler)
    assert held_out is not None
    seen = [
        {tuple(row) for batch in source.scan(64) for row in batch.observations["obs"][:, 0]} for source in (training, held_out)
    ]
    assert not seen[0] & seen[1]
    num_held_out = sum(half.num_episodes for _, half in split(data.parts, 0.2, seed=0))
    assert len(seen[1]) == held_out.num_samples == num_held_out * 20
    assert len(seen[0]) == (20 - num_held_out) * 20
    alone = opened(TrainingData(parts=(whole,)), reader, validation_fraction=0.0, seed=0)
    assert alone[1] is None
    assert alone[0].num_samples == 200


def test_a_part_without_anything_to_train_on_is_named(bed: Any) -> None:
    reader = Reader(ReadConfig(share=False))
    with pytest.raises(InputError, match="unlabelled: no labelled transition to train on"):
        opened(of(bed.snapshot, bed.empty(num_episodes=2)), reader, validation_fraction=0.0, seed=0)
    held_out = bed.snapshot.split(0.2, 0)[1]
    with pytest.raises(InputError, match="all labelled episodes of this part are held out; select more"):
        opened(of(bed.snapshot, held_out), reader, validation_fraction=0.2, seed=0)


def test_chunks_longer_than_all_episodes_are_refused(bed: Any) -> None:
    """In a mixture, the longest episode of a part suffices."""
    facts: dict[str, Any] = {"reader": Reader(ReadConfig(share=False)), "validation_fraction": 0, "seed": 0}
    open_sources(mixed(bed), {"demos": {"chunk": 30}}, **facts)
    with pytest.raises(InputError, match=r"store: policy\.chunk=30 is longer than each of the episodes .*: lower it"):
        open_sources(demos(bed.snapshot), {"demos": {"chunk": 30}}, **facts)


@pytest.mark.parametrize("weights", [WeightConfig(), WEIGHTS], ids=["even", "weighted"])
def test_a_killed_update_on_a_mixture_resumes_exactly(bed: Any, monkeypatch: pytest.MonkeyPatch, weights: WeightConfig) -> None:
    """CORRECTNESS 11, and the stores have grown meanwhile; CORRECTNESS 8: the statistics are those of all parts."""
    settings = {"validation_fraction": 0.2, "validate_every": 10}
    if not weights.is_even:
        bed.make(bed.folder / "other", num_episodes=5, first=50, length=30, round=2)
    plan, streams = UpdatePlan(num_steps=30, weights=weights), mixed(bed)
    straight = bed.learner("straight", **settings)
    expected = straight.update(plan, streams)
    calls, original = itertools.count(1), Supervised.step

    def dying(self: Supervised, batches: Any) -> Any:
        if next(calls) == 14:
            raise SystemExit
        return original(self, batches)

    monkeypatch.setattr(Supervised, "step", dying)
    with pytest.raises(SystemExit):
        bed.learner("killed", **settings).update(plan, streams)
    monkeypatch.undo()
    bed.more(first=80)
    resumed = bed.learner("killed", resume=True, **settings)
    metrics = resumed.update(plan, streams)
    assert next(calls) == 15
    assert all(np.array_equal(values, resumed.policy.arrays[name]) for name, values in straight.policy.arrays.items())
    assert metrics["train/validation_loss"] == expected["train/validation_loss"]
    data = streams["demos"]
    training, held_out = opened(data, Reader(), validation_fraction=0.2, seed=bed.split_seed)
    assert held_out is not None
    assert training.num_samples + held_out.num_samples == 10 * 20 + 5 * 30
    assert metrics["train/epochs"] == 30 * 16 / training.num_samples
    mean = training.statistics(["obs"])["obs"].mean
    np.testing.assert_allclose(straight.policy.arrays["encoder.features.mean"], mean, atol=1e-5)


def test_another_mixture_is_another_update(bed: Any) -> None:
    learner = bed.learner()
    learner.update(UpdatePlan(num_steps=5), mixed(bed))
    again = bed.learner(resume=True)
    again.update(UpdatePlan(num_steps=5), mixed(bed))
    assert again.policy.version == 1  # known: not repeated
    again.update(UpdatePlan(num_steps=5), mixed(bed, (1.0, 9.0)))
    assert again.policy.version == 2


def seen(source: SampleSource) -> set[float]:
    return {weight for batch in source.batches(batch_size=8, seed=0, num_batches=99) for weight in batch.weights.tolist()}


def test_a_plan_s_weights_are_those_of_what_is_trained_on(bed: Any) -> None:
    """The held-out loss is a plain mean. Of a mixture, the newest round is that of all parts."""
    whole, reader = bed.more(first=20, num_episodes=10, round=1), Reader(ReadConfig(share=False))
    training, held_out = opened(demos(whole)["demos"].weighted(WEIGHTS), reader, validation_fraction=0.2, seed=0)
    assert seen(training) == {0.5, 1.0, 3.0}
    assert held_out is not None
    assert {batch.weights for batch in held_out.scan(64)} == {None}
    bed.make(bed.folder / "other", num_episodes=5, first=50, round=3)
    data = mixed(bed)["demos"].weighted(WEIGHTS)
    training, held_out = opened(data, reader, validation_fraction=0.2, seed=0)
    assert seen(training) == {0.125, 0.25, 0.75, 1.0, 3.0}
    assert held_out is not None
    assert not held_out.is_weighted


def test_other_weights_are_another_update(bed: Any) -> None:
    """CORRECTNESS 11: a checkpoint of other weights isn't taken for one of these."""
    plan = UpdatePlan(num_steps=5, weights=WEIGHTS)
    first = bed.learner()
    first.update(plan, demos(bed.snapshot))
    again = bed.learner(resume=True)
    again.update(plan, demos(bed.snapshot))
    assert again.policy.version == 1  # known: not repeated
    for version, weights in enumerate((WeightConfig(), WeightConfig(intervention=2.0), WeightConfig(round_decay=0.5)), 2):
        again.update(replace(plan, weights=weights), demos(bed.snapshot))
        assert again.policy.version == version


def trained(source: SampleSource, snapshot: Snapshot) -> dict[str, torch.Tensor]:
    """Return a policy's parameters after five full batches, its statistics being those of the first episodes."""
    policy = Policy(PolicyConfig(encoder=MlpConfig(hidden=(8,))), snapshot.spec.observation, snapshot.spec.action, seed=0)
    facts = snapshot.first(4).columns(["obs", "action"], {"obs": "float32"})
    policy.fit_normaliser(facts)
    objective = Supervised(policy, OptimiserConfig(learning_rate=1e-2, warmup_steps=1))
    objective.begin(5)
    for batch in source.batches(batch_size=source.num_samples, seed=0, num_batches=5):
        objective.step({"demos": to_torch(batch, torch.device("cpu"))})
    return dict(policy.named_parameters())


def test_weights_are_worth_repetitions(bed: Any) -> None:
    """CORRECTNESS 29: an episode of weight 3 teaches what three of it do, whatever memory holds them once."""
    once, times = bed.snapshot.first(4), [1, 3, 2, 5]
    store = Store.create(bed.folder / "repeated", once.spec)
    writer = store.writer("w")
    for index, num in enumerate(times):
        for copy in range(num):
            writer.add(replace(once.episode(index), uid=f"{copy}-{index}"))
    entry = writer.seal()
    assert entry
    sources = [
        Reader(ReadConfig(share=False)).sampler(s, **WINDOWS) for s in (store.commit([entry]), once.weighted(times), once)
    ]
    assert [source.num_samples for source in sources] == [11 * 20, 4 * 20, 4 * 20]
    repeated, weighted, plain = (trained(source, once) for source in sources)
    for name, value in repeated.items():
        torch.testing.assert_close(weighted[name], value, rtol=1e-4, atol=1e-5)
    assert any(not torch.allclose(plain[name], value, atol=1e-3) for name, value in repeated.items())


AHEAD: WindowOptions = {"n_step": 2, "every": True}


def test_streams_have_their_own_windows_and_share_a_budget(bed: Any) -> None:
    """What one stream holds out, no other trains on; streams of steps need no labels."""
    agent, reader = bed.empty(num_episodes=4, first=70), Reader(ReadConfig(share=False))
    streams = {
        "demos": TrainingData(parts=(bed.snapshot,)),
        "agent": TrainingData(parts=(agent,)),
        "again": TrainingData(parts=(bed.snapshot,)),
    }
    needs: dict[str, WindowOptions] = {"demos": WINDOWS, "again": AHEAD, "agent": AHEAD}
    found = open_sources(streams, needs, reader, validation_fraction=0.2, seed=0)
    assert list(found.training) == ["demos", "again", "agent"]
    assert found.held_out is not None
    held_out = found.held_out.num_samples
    assert held_out > 0
    assert [source.num_samples for source in found.training.values()] == [200 - held_out, 200 - held_out, 80]
    batches = {name: next(source.batches(batch_size=4, seed=0)) for name, source in found.training.items()}
    assert [type(batch) for batch in batches.values()] == [Batch, TransitionBatch, TransitionBatch]
    assert reader.report is not None
    assert found.tier == reader.report.tier == 1
    small = Reader(ReadConfig(share=False, memory_budget=reader.report.num_bytes - 1))
    with pytest.raises(InputError, match="too little memory to stream"):
        open_sources(streams, needs, small, validation_fraction=0.2, seed=0)


def test_a_stream_that_the_plan_lacks_is_named(bed: Any) -> None:
    with pytest.raises(InputError, match="needs a stream 'agent', the plan has demos"):
        open_sources(demos(bed.snapshot), {"demos": {}, "agent": {}}, Reader(), validation_fraction=0.0, seed=0)
    nothing = bed.empty(num_episodes=1).select([])
    with pytest.raises(InputError, match="unlabelled: no episode to train on"):
        open_sources({"agent": TrainingData(parts=(nothing,))}, {"agent": AHEAD}, Reader(), validation_fraction=0.0, seed=0)


def test_the_digest_depends_on_every_stream(bed: Any) -> None:
    """That of demonstrations alone is as older checkpoints have it."""
    one, other = TrainingData(parts=(bed.snapshot,)), TrainingData(parts=(bed.snapshot.select([0, 1]),))
    assert digest_of({"demos": one}) == one.digest == bed.snapshot.digest
    named = [{"demos": one, "agent": other}, {"demos": other, "agent": one}, {"demos": one, "agent": one}, {"agent": one}]
    assert len({digest_of(streams) for streams in named} | {one.digest}) == 5
    assert digest_of({"agent": other, "demos": one}) == digest_of(named[0])
