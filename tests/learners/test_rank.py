"""A rank by itself; what it learns is in test_local.py, what several ranks learn in test_ray_train.py."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from forkbed import side_by_side
from gymnasium import spaces
from rankbed import HEAD, one_of_two

from distil.config import validate
from distil.errors import InputError, RunError
from distil.heads.config import DeterministicConfig, FlowConfig, GaussianConfig, ImportHeadConfig, MixtureConfig
from distil.learners.base import LearnerSetup
from distil.learners.config import LearnerConfig
from distil.learners.data import TrainingData, demos
from distil.learners.factory import make_learner
from distil.learners.rank import Rank, choose_device
from distil.objectives.config import ImportObjectiveConfig
from distil.objectives.ranks import ALONE, Ranks
from distil.plans import StreamPlan, UpdatePlan
from distil.policies.acting import acting, replay
from distil.policies.checkpoint import load_policy_ref, save_policy
from distil.policies.config import ImportEncoderConfig, MlpConfig, PolicyConfig
from distil.policies.predict import Predictor
from distil.policies.restore import policy_of
from distil.spaces import action_spec, observation_spec, stack
from distil.store.reading import ReadConfig
from distil.store.schema import StoreSpec
from distil.store.store import Store
from distil.types import Episode

PLAN = UpdatePlan(num_steps=4)


def make_rank(bed: Any, ranks: Ranks = ALONE, resume: bool = False, seed: int = 0) -> Rank:
    setup = LearnerSetup(
        config=LearnerConfig(batch_size=16, checkpoint_every=2, warmup_steps=1),
        policy=PolicyConfig(encoder=MlpConfig(hidden=(8,))),
        spec=bed.snapshot.spec,
        folder=bed.folder / "checkpoints",
        seed=seed,
        resume=resume,
    )
    return Rank(setup, ranks=ranks)


def files(bed: Any) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in (bed.folder / "checkpoints").glob("*") if path.is_file()}


@pytest.mark.parametrize(
    ("name", "has_gpu", "expected"),
    [("auto", True, "cuda"), ("auto", False, "cpu"), ("cpu", True, "cpu"), ("cuda", True, "cuda")],
)
def test_the_best_allowed_device_is_used(monkeypatch: pytest.MonkeyPatch, name: str, has_gpu: bool, expected: str) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: has_gpu)
    assert choose_device(name).type == expected


def test_a_missing_gpu_is_never_replaced_silently(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    with pytest.raises(InputError, match=r"set learner\.device=cpu"):
        choose_device("cuda")


def test_the_first_weights_are_those_of_the_seed(bed: Any) -> None:
    """CORRECTNESS 11: whatever else drew random numbers, and on whichever rank."""
    first = make_rank(bed).policy
    torch.manual_seed(123)
    torch.rand(7)
    for other, equal in ((make_rank(bed, Ranks(rank=1)), True), (make_rank(bed, seed=1), False)):
        same = all(np.array_equal(values, other.policy.arrays[name], equal_nan=True) for name, values in first.arrays.items())
        assert same == equal
    assert first.version == 0


def test_a_policy_is_read_out_once_a_version(bed: Any) -> None:
    rank = make_rank(bed)
    assert rank.policy is rank.policy
    rank.update(PLAN, demos(bed.snapshot))
    assert rank.policy is rank.policy
    assert rank.policy.version == 1


def test_a_policy_whose_weights_are_not_finite_is_not_kept(bed: Any) -> None:
    learner = bed.learner(learning_rate=1e38, grad_clip=None)
    with pytest.raises(
        RunError, match=r"training diverged: after 4 steps policy\.\S+ is not finite \(loss .*lower learner.learning"
    ):
        learner.update(PLAN, demos(bed.snapshot))
    assert learner.policy.version == 0


def test_a_users_head_that_raises_in_an_update_is_named(bed: Any) -> None:
    head = ImportHeadConfig(target="headbed:Breaking", kwargs={"losses": 2})
    with pytest.raises(RunError, match="policy headbed:Breaking raised OSError: losses ran out; fix the class"):
        bed.learner(policy=PolicyConfig(head=head)).update(PLAN, demos(bed.snapshot))


def test_weights_that_are_frozen_stay(bed: Any) -> None:
    encoder = ImportEncoderConfig(target="headbed:Frozen")
    learner = bed.learner(policy=PolicyConfig(encoder=encoder), ema_decay=0.9)
    before = learner.policy.arrays
    learner.update(PLAN, demos(bed.snapshot))
    changed = {name for name, value in learner.policy.arrays.items() if not np.array_equal(before[name], value, equal_nan=True)}
    assert {name.split(".")[0] for name in changed if "features" not in name} == {"head"}


def test_only_the_first_rank_clears(bed: Any) -> None:
    make_rank(bed).update(PLAN, demos(bed.snapshot))
    before = files(bed)
    assert before
    make_rank(bed, Ranks(rank=1))
    assert files(bed) == before  # not the second's to clear: the first may be writing
    make_rank(bed)
    assert not any(name.endswith(".safetensors") for name in files(bed))


class Apart(Ranks):
    """A rank whose first one is two steps ahead."""

    def of_first(self, value: int) -> int:
        return value + 2


def test_ranks_that_see_different_checkpoints_stop(bed: Any) -> None:
    with pytest.raises(RunError, match=r"rank 1 doesn't see rank 0's checkpoints in .*checkpoints: use a shared folder"):
        make_rank(bed, Apart(rank=1)).update(PLAN, demos(bed.snapshot))


def test_a_new_rank_loads_the_finished_update(bed: Any) -> None:
    rank = make_rank(bed)
    metrics = rank.update(PLAN, demos(bed.snapshot))
    heir = make_rank(bed, resume=True)
    assert heir.policy.version == 1
    assert all(np.array_equal(values, heir.policy.arrays[name]) for name, values in rank.policy.arrays.items())
    assert heir.update(PLAN, demos(bed.snapshot)) == metrics  # reported, not repeated


def test_ranks_with_different_free_memory_read_each_sample_once(bed: Any) -> None:
    """CORRECTNESS 31: two processes; rank 0's free memory decides for both."""
    snapshot = bed.more(num_episodes=60, first=100, length=600)
    columns = snapshot.columns(["obs", "labelled"], {"obs": np.float32})
    expected = columns["obs"][columns["labelled"] == 1][:, 0]
    num_steps, rest = divmod(len(expected), 200)
    assert not rest
    ranks = [(bed.folder, number, free, num_steps, 200, False) for number, free in ((0, 3_000_000), (1, 2_900_000))]
    assert side_by_side(one_of_two, *ranks) == [0, 0]
    tiers = [json.loads((bed.folder / f"metrics{n}.json").read_text())["train/data_tier"] for n in (0, 1)]
    assert tiers == [2, 2]
    seen = np.concatenate([np.load(bed.folder / f"seen{n}.npy") for n in (0, 1)])
    assert np.array_equal(np.sort(seen), np.sort(expected))


def test_two_ranks_on_two_streams_take_the_steps_of_one(bed: Any) -> None:
    """CORRECTNESS 28: two processes with an objective of two streams; parameters equal to 1e-5."""
    assert side_by_side(one_of_two, *((bed.folder, number, 1 << 30, 30, 16, True) for number in (0, 1))) == [0, 0]
    setup = LearnerSetup(
        config=LearnerConfig(batch_size=16),
        policy=PolicyConfig(encoder=MlpConfig(hidden=(8,)), head=HEAD),
        spec=bed.snapshot.spec,
        folder=bed.folder / "alone",
        seed=0,
        resume=False,
        objective=ImportObjectiveConfig(target="objectivebed:Gentle"),
    )
    alone = Rank(setup)
    plan = UpdatePlan(num_steps=30, streams={"demos": StreamPlan(), "agent": StreamPlan(source="agent")})
    metrics = alone.update(plan, demos(bed.snapshot) | {"agent": TrainingData(parts=(bed.snapshot,))})
    for number in (0, 1):
        arrays = np.load(bed.folder / f"weights{number}.npz")
        assert all(np.allclose(values, arrays[name], rtol=0, atol=1e-5) for name, values in alone.policy.arrays.items())
        found = json.loads((bed.folder / f"metrics{number}.json").read_text())
        assert found["train/loss"] == pytest.approx(metrics["train/loss"], rel=1e-4)


SINGLE = {
    "one image": spaces.Box(0, 255, (16, 16, 3), np.uint8),
    "images in a Dict": spaces.Dict(
        left=spaces.Box(0, 255, (16, 16), np.uint8), right=spaces.Box(0, 255, (3, 16, 16), np.uint8)
    ),
    "one Discrete": spaces.Discrete(5, start=2),
    "one scalar": spaces.Box(-np.inf, np.inf, (), np.float32),
    "one number": spaces.Box(-1, 1, (1,), np.float64),
    "one MultiBinary": spaces.MultiBinary(1),
    "one MultiDiscrete": spaces.MultiDiscrete([2, 3]),
}


def of_space(space: spaces.Space[Any], number: int, length: int = 12) -> Episode:
    space.seed(number)
    samples = [observation_spec(space).flatten(space.sample()) for _ in range(length + 1)]
    actions = np.random.default_rng(number).uniform(-1, 1, (length, 1)).astype(np.float32)
    return Episode(
        observations=stack(samples),
        actions=actions,
        rewards=np.ones(length),
        terminated=True,
        truncated=False,
        expert_actions=actions,
        labelled=np.ones(length, np.uint8),
        acted_by_expert=np.ones(length, np.uint8),
        uid=f"single-{number:04d}",
    )


FLOWS = [{"kind": "flow", "network": {"kind": kind}} for kind in ("unet", "transformer")]
PERCEPTRONS: dict[str, dict[str, Any]] = {"mlp": {"kind": "mlp", "hidden": [8]}}
PERCEPTRONS["cnn"] = {"kind": "cnn", "channels": [4], "image_features": 4, "hidden": [8]}
NETWORKS: list[dict[str, Any]] = [  # others
    {"encoder": {"kind": "resmlp", "width": 8, "channels": [4]}, "head": FLOWS[0]},
    {"encoder": {"kind": "gru", "width": 8, "channels": [4]}},
    {"encoder": {"kind": "transformer", "width": 8, "channels": [4]}, "head": FLOWS[1]},
]


@pytest.mark.parametrize(
    ("name", "horizon", "networks"),
    [*((name, horizon, {}) for name in SINGLE for horizon in (1, 2)), *(("images in a Dict", 3, keys) for keys in NETWORKS)],
)
def test_an_observation_of_a_single_thing_trains_resumes_and_acts(
    tmp_path: Path, name: str, horizon: int, networks: dict[str, Any]
) -> None:
    """CORRECTNESS 38: in-process, from the store to actions in numpy and torch."""
    space = SINGLE[name]
    spec = StoreSpec(observation=observation_spec(space), action=action_spec(spaces.Box(-1, 1, (1,), np.float32)))
    store = Store.create(tmp_path / "store", spec)
    writer = store.writer("single")
    for number in range(4):
        writer.add(of_space(space, number))
    entry = writer.seal()
    assert entry is not None
    snapshot = store.commit([entry])
    kind = "cnn" if any(leaf.is_image for leaf in spec.observation.leaves) else "mlp"
    policy = validate(PolicyConfig, {"encoder": PERCEPTRONS[kind], "obs_horizon": horizon, **networks})
    config = LearnerConfig(batch_size=8, checkpoint_every=2, warmup_steps=1)
    facts = {"config": config, "policy": policy, "spec": spec, "folder": tmp_path / "checkpoints", "seed": 0}
    undisturbed = Rank(LearnerSetup(**facts | {"folder": tmp_path / "undisturbed"}, resume=False))
    undisturbed.update(PLAN, demos(snapshot))
    rank = Rank(LearnerSetup(**facts, resume=False))
    rank.update(PLAN, demos(snapshot))
    (done,) = (tmp_path / "checkpoints").glob("*-done.safetensors")
    done.unlink()  # killed before the end: the one inside is left
    resumed = Rank(LearnerSetup(**facts, resume=True))
    resumed.update(PLAN, demos(snapshot))
    ref = resumed.policy
    assert all(np.array_equal(values, undisturbed.policy.arrays[name]) for name, values in ref.arrays.items())
    save_policy(ref, tmp_path / "policy")
    ref = load_policy_ref(tmp_path / "policy")
    rows = {name: values[:3] for name, values in of_space(space, 9).observations.items()}
    acts = acting(ref, 3)
    for slot in range(3):
        acts.begin(slot, slot)
    network = policy_of(ref).eval()
    windows = {name: torch.from_numpy(values)[:, None].expand(-1, horizon, *values.shape[1:]) for name, values in rows.items()}
    wanted = network.actions.decode(network.plan(windows, None), windows)[:, 0].detach()
    actions = acts.act(rows)
    assert actions.shape == (3, 1)
    assert np.allclose(actions, wanted.numpy(), atol=1e-5)
    single = {name: values[0] for name, values in rows.items()}
    assert np.allclose(Predictor(ref).predict(spec.observation.unflatten(single)), actions[0], atol=1e-5)


@pytest.mark.parametrize("tier", [1, 2])
@pytest.mark.parametrize(
    "head", [DeterministicConfig(), GaussianConfig(), MixtureConfig(), FlowConfig()], ids=lambda head: head.kind
)
def test_a_policy_reaches_every_label(bed: Any, head: Any, tier: int) -> None:
    """CORRECTNESS 33 and 34: labels of +-0.7 first, of +-6.4 in the next round; the scaling holds all, exactly."""
    policy = PolicyConfig(encoder=MlpConfig(hidden=(16, 16)), head=head)
    read, length = ReadConfig(memory_budget=1_500_000), 600 if tier == 2 else 20
    config = LearnerConfig(batch_size=16, warmup_steps=5, ema_decay=0.9, learning_rate=3e-3, read=read)
    notes: list[str] = []
    learner = make_learner(config, policy, bed.open_spec, bed.folder / "checkpoints", seed=0, note=notes.append)
    first = bed.scaled("open", range(60), length=length)
    assert learner.update(UpdatePlan(num_steps=300), demos(first))["train/data_tier"] == tier
    before = learner.policy
    rows = first.columns(["obs", "labelled"])
    rows = {"obs": rows["obs"][rows["labelled"] == 1][:64].astype(np.float32)}
    acted = replay(before, rows)[0]
    grown = bed.scaled("open", range(60, 70), length=length, actions=9.0)
    learner.update(UpdatePlan(num_steps=1, round=1), demos(grown))
    assert len(notes) == 1
    assert "widened" in notes[0]
    after = learner.policy
    labels = grown.columns(["expert_action"])["expert_action"]
    centre, half = (after.arrays[f"actions.{name}"] for name in ("centre", "half_width"))
    assert (abs(labels - centre) < half).all()
    assert half[0] == pytest.approx((labels[:, 0].max() - labels[:, 0].min()) / 2 * 1.05)
    columns = first.columns(["obs", "labelled"], {"obs": np.float32})
    obs = columns["obs"][columns["labelled"] == 1]
    np.testing.assert_array_equal(after.arrays["encoder.features.mean"], obs.mean(0, dtype=np.float64).astype(np.float32))
    acts = replay(after, rows)[0]  # a warm start: nearly the same policy
    assert abs(acts - acted).mean() < 0.2 * abs(acted).mean()
    learner.update(UpdatePlan(num_steps=300, round=2), demos(grown))
    assert len(notes) == 1
    assert np.array_equal(learner.policy.arrays["actions.half_width"], half)
    assert np.array_equal(learner.policy.arrays["encoder.features.mean"], after.arrays["encoder.features.mean"])
    learner.close()


@pytest.mark.parametrize("unit", [1e-5, 1e-8])
def test_the_same_task_in_other_units_learns_as_well(bed: Any, unit: Any) -> None:
    """CORRECTNESS 33."""
    losses, policy = [], PolicyConfig(encoder=MlpConfig(hidden=(16, 16)))
    for name, factor in (("plain", 1.0), ("scaled", unit)):
        snapshot = bed.scaled(name, range(10), obs=factor)
        learner = make_learner(
            LearnerConfig(batch_size=16, warmup_steps=5), policy, bed.open_spec, bed.folder / f"c-{name}", seed=0
        )
        losses.append(learner.update(UpdatePlan(num_steps=200), demos(snapshot))["train/loss"])
    assert losses[1] == pytest.approx(losses[0], rel=1e-3)


def test_constant_dimensions_are_named_once(bed: Any) -> None:
    notes: list[str] = []
    policy = PolicyConfig(encoder=MlpConfig(hidden=(8,)), std_floor=100)
    learner = make_learner(
        LearnerConfig(batch_size=16), policy, bed.snapshot.spec, bed.folder / "noted", seed=0, note=notes.append
    )
    for number in range(2):
        learner.update(UpdatePlan(num_steps=2, round=number, from_scratch=True), demos(bed.snapshot))
    assert len(notes) == 1
    assert "3 observation dimensions vary by less than policy.std_floor=100" in notes[0]
    assert "obs[0], obs[1], obs[2]; lower it" in notes[0]


def test_images_of_floats_that_are_read_as_plain_numbers_are_named(bed: Any) -> None:
    sky = spaces.Dict(sky=spaces.Box(0, 1, (8, 8, 3), np.float32), far=spaces.Box(0, 1, (2,), np.float32))
    spec = StoreSpec(observation=observation_spec(sky), action=bed.snapshot.spec.action)
    writer = (store := Store.create(bed.folder / "sky", spec)).writer("w")
    rng = np.random.default_rng(0)
    seen = {"obs/sky": rng.random((5, 8, 8, 3), np.float32), "obs/far": rng.random((5, 2), np.float32)}
    actions = rng.random((4, 2), np.float32)
    facts: dict[str, Any] = {
        "labelled": np.ones(4, np.uint8),
        "acted_by_expert": np.ones(4, np.uint8),
        "seed": 0,
        "uid": "sky-0",
    }
    episode = Episode(
        observations=seen,
        actions=actions,
        rewards=np.ones(4),
        terminated=True,
        truncated=False,
        expert_actions=actions,
        **facts,
    )
    writer.add(episode)
    entry = writer.seal()
    assert entry is not None
    notes: list[str] = []
    policy = PolicyConfig(encoder=MlpConfig(hidden=(8,)))
    learner = make_learner(LearnerConfig(batch_size=4), policy, spec, bed.folder / "seen", seed=0, note=notes.append)
    learner.update(UpdatePlan(num_steps=1), demos(store.commit([entry])))
    (note,) = [note for note in notes if "images" in note]
    assert note.startswith("obs/sky: images of floats are read as plain numbers")
