from pathlib import Path
from typing import Any, cast

import gymnasium as gym
import numpy as np
import pytest
import torch

from distil.config import validate
from distil.errors import InputError
from distil.objectives import statistics
from distil.objectives.base import ObjectiveState
from distil.objectives.optimiser_config import OptimiserConfig
from distil.objectives.statistics import fit_policy, refit_policy, whole_chunks
from distil.objectives.supervised import Supervised
from distil.policies.config import PolicyConfig
from distil.policies.policy import Policy
from distil.spaces import action_spec, observation_spec
from distil.store import Snapshot, Store, StoreSpec
from distil.store.moments import moments_of
from distil.store.order import SampleSource
from distil.store.sampler import Sampler
from distil.store.stream import StreamSampler
from distil.types import Episode


class Columns:
    """A source of which only the statistics are asked."""

    def __init__(self, **columns: Any) -> None:
        self.columns = columns

    @property
    def num_samples(self) -> int:
        return len(self.columns["obs"])

    def statistics(self, names: list[str]) -> Any:
        labels = np.arange(2 * self.num_samples).reshape(-1, 2) % 7 / 7
        return moments_of({name: self.columns.get(name, labels) for name in names})


def test_statistics_are_those_of_the_source_and_constant_dimensions_are_named(make_policy):
    policy, values = make_policy(), np.random.default_rng(3).normal(2.0, 5.0, (40, 3)).astype("f4")
    assert fit_policy(policy, cast(SampleSource, Columns(obs=values))) == []
    np.testing.assert_allclose(policy.encoder.features.mean, values.mean(0), rtol=1e-5)
    values[:, 1] = 7
    (note,) = fit_policy(policy, cast(SampleSource, Columns(obs=values)))
    assert note.startswith("1 observation dimensions vary by less than policy.std_floor=")
    assert "obs[1]; lower it if they matter" in note


def test_actions_that_no_label_tells_apart_are_noted() -> None:
    observation = observation_spec(gym.spaces.Box(-1, 1, (3,)))
    rng = np.random.default_rng(0)
    obs, labels = rng.normal(size=(40, 3)), rng.uniform(-1, 1, (40, 3)).astype(np.float32)
    choices = rng.integers(0, 3, (40, 2))

    def notes(space: gym.Space[Any], labels: Any, head: str = "auto", **facts: Any) -> list[str]:
        policy = Policy(validate(PolicyConfig, {"head": {"kind": head}}), observation, action_spec(space))
        return fit_policy(policy, cast(SampleSource, Columns(obs=obs, action=labels)), **facts)

    box, pair = gym.spaces.Box(-1, 1, (3,)), gym.spaces.MultiDiscrete([3, 4])
    assert notes(box, labels, imitates=True) == []
    assert notes(pair, choices, imitates=True) == []
    labels[:, 1] = 0.5 + 1e-8 * np.arange(40)
    assert notes(box, labels) == []  # of what others did, as in reinforcement learning
    same = "1 of 3 numbers of the action are the same in all labels, and can only be repeated: action[1]"
    assert notes(box, labels, imitates=True) == [same]
    (note,) = notes(box, labels, "gaussian", imitates=True)
    assert note.startswith(same + "; policy.head.kind=gaussian has a density")
    choices[:, 0] = 2
    (note,) = notes(pair, choices, imitates=True)
    assert note.startswith("1 of 2 numbers of the action are the same in all labels")
    for space, all_same in ((box, labels[:1]), (pair, choices[:1]), (gym.spaces.Discrete(3), choices[:1, 0])):
        (note,) = notes(space, all_same.repeat(40, 0), imitates=True)
        assert note.startswith("all 40 labels of the training data are the same action (")
        assert notes(space, all_same, imitates=True) == []  # a single label


def rows(num: int, mean: float) -> Any:
    return cast(SampleSource, Columns(obs=np.random.default_rng(num).normal(mean, 1.0, (num, 3)).astype("f4")))


def mean_of(objective: Supervised) -> float:
    return float(objective.policy.encoder.features.mean.mean())


def test_statistics_that_are_of_no_use_are_fitted_again_when_the_data_have_doubled(make_policy):
    objective = Supervised(make_policy(), OptimiserConfig())
    for num, mean, expected in ((40, 0.0, 0.0), (79, 10.0, 0.0), (80, 20.0, 20.0), (159, 30.0, 20.0), (160, 40.0, 40.0)):
        notes = objective.fit_statistics({"demos": rows(num, mean)})
        assert mean_of(objective) == pytest.approx(expected, abs=0.5)
        assert any("they were fitted again" in note for note in notes) == (num in (80, 160))


def test_statistics_stay_while_they_are_of_use_and_with_them_the_learned_function(make_policy):
    """Three standard deviations away, or one dimension far away: as after a fall."""
    objective, fallen = Supervised(make_policy(), OptimiserConfig()), rows(160, 0.0)
    fallen.columns["obs"][:, 0] *= 100
    objective.fit_statistics({"demos": rows(40, 0.0)})
    before = {name: value.clone() for name, value in objective.policy.state_dict().items()}
    for later in (rows(80, 3.0), fallen):
        assert objective.fit_statistics({"demos": later}) == []
        assert all(torch.equal(value, before[name]) for name, value in objective.policy.state_dict().items())


def test_a_loaded_objective_knows_what_its_statistics_were_fitted_on(make_policy):
    first, second, old = (Supervised(make_policy(), OptimiserConfig()) for _ in range(3))
    first.fit_statistics({"demos": rows(40, 5.0)})
    state = first.state_dict()
    second.load_state_dict(state)
    second.fit_statistics({"demos": rows(79, 20.0)})
    assert mean_of(second) == pytest.approx(5.0, abs=0.5)
    second.fit_statistics({"demos": rows(80, 20.0)})
    assert mean_of(second) == pytest.approx(20.0, abs=0.5)
    counters = {name: value for name, value in state.counters.items() if name != "num_fitted"}
    old.load_state_dict(ObjectiveState(tensors=state.tensors, counters=counters))  # of a version that fitted them once
    old.fit_statistics({"demos": rows(400, 20.0)})
    assert mean_of(old) == pytest.approx(5.0, abs=0.5)


def test_a_narrow_first_round_does_not_hide_later_observations(make_policy, make_batch):
    """Statistics of the first rows alone would clip nearly all of the later ones to +-obs_clip."""
    objective = Supervised(make_policy(hidden=(32, 32)), OptimiserConfig(learning_rate=1e-2, warmup_steps=0))
    wide = np.random.default_rng(0).normal(size=(400, 3)).astype("f4")
    objective.fit_statistics({"demos": cast(SampleSource, Columns(obs=wide[:40] * 1e-3))})
    objective.fit_statistics({"demos": cast(SampleSource, Columns(obs=wide))})
    objective.begin(200)
    losses = [float(objective.step({"demos": make_batch(step, 64)})["loss"]) for step in range(200)]
    assert losses[-1] < 0.02 * losses[0]


def test_the_range_of_actions_stays_when_only_observations_are_fitted_again(make_policy):
    policy = make_policy()
    fit_policy(policy, rows(40, 0.0))
    before = {name: value.clone() for name, value in policy.actions.state_dict().items()}
    refit_policy(policy, rows(40, 70.0))
    assert float(policy.encoder.features.mean.mean()) == pytest.approx(70.0, abs=0.5)
    for name, value in policy.actions.state_dict().items():
        assert torch.equal(value, before[name])


LENGTH = 40
BOXES = StoreSpec(
    observation=observation_spec(gym.spaces.Box(-np.inf, np.inf, (2,), np.float32)),
    action=action_spec(gym.spaces.Box(-200, 200, (2,), np.float32)),
)


def numbered(folder: Path, num: int) -> Snapshot:
    """Episodes whose labels are (episode, step); those of odd ones lack the label of step 10."""
    writer = (store := Store.create(folder, BOXES)).writer("w")
    for number in range(num):
        labels = np.stack([np.full(LENGTH, number), np.arange(LENGTH)], 1).astype(np.float32)
        labelled = np.ones(LENGTH, np.uint8)
        labelled[10] = number % 2 == 0
        writer.add(
            Episode(
                observations={"obs": np.concatenate([labels, labels[-1:]])},
                actions=labels,
                rewards=np.zeros(LENGTH),
                terminated=True,
                truncated=False,
                expert_actions=labels * labelled[:, None],
                labelled=labelled,
                acted_by_expert=labelled,
                uid=f"e-{number:03d}",
            )
        )
    return store.commit([writer.seal()])


def fitted_on_labels(chunk: int, **settings: Any) -> Policy:
    data = {"chunk": chunk, "encoder": {"hidden": [8]}, "head": {"kind": "import", "target": "headbed:Fitted"}, **settings}
    return Policy(validate(PolicyConfig, data), BOXES.observation, BOXES.action)


@pytest.mark.parametrize("tier", [1, 2])
def test_a_head_is_fitted_on_chunks_without_pads_from_all_of_the_data(tmp_path, monkeypatch, tier) -> None:
    """CORRECTNESS 6: also without those that hold a step that is not labelled. Each once, at most as many as the bound."""
    snapshot = numbered(tmp_path, 100)
    source = Sampler(snapshot, chunk=4) if tier == 1 else StreamSampler(snapshot, memory_budget=1_300_000, chunk=4)
    policy = fitted_on_labels(4)
    fit_policy(policy, source)
    ((chunks, _),) = policy.head.fits
    found = (chunks * 200).round().numpy().astype(int)
    expected = {(e, s) for e in range(100) for s in range(LENGTH - 3) if e % 2 == 0 or not 7 <= s <= 10}
    assert {(e, s) for e, s in found[:, 0]} == expected
    assert len(found) == len(expected)
    assert (found == found[:, :1] + np.stack([np.zeros(4, int), np.arange(4)], 1)).all()
    monkeypatch.setattr(statistics, "_MOST_CHUNKS", 500)
    some = whole_chunks(policy, source)
    assert torch.equal(some, whole_chunks(policy, source))
    assert len(some) == 500
    assert len(np.unique(some[:, 0, 0].numpy())) > (95 if tier == 1 else 50)  # streamed: some blocks of episodes


def test_each_member_is_fitted_once_on_the_same_chunks_with_a_seed_of_its_own(tmp_path) -> None:
    """CORRECTNESS 14: heads stay as they were when the data have grown."""
    policy = fitted_on_labels(4, ensemble=2)
    assert not policy._fitted
    objective = Supervised(policy, OptimiserConfig())
    objective.fit_statistics({"demos": Sampler(numbered(tmp_path / "a", 10), chunk=4)})
    assert policy._fitted
    heads = [head for _, head in policy._networks()]
    (first,), (second,) = (head.fits for head in heads)
    assert first[0] is second[0]
    assert first[1] != second[1]
    kept = heads[0].middle.clone()
    objective.fit_statistics({"demos": Sampler(numbered(tmp_path / "b", 40), chunk=4)})
    assert [len(head.fits) for head in heads] == [1, 1]
    assert torch.equal(heads[0].middle, kept)


def test_labels_relative_to_an_observation_are_fitted_as_the_head_sees_them(tmp_path) -> None:
    policy = fitted_on_labels(4, actions={"kind": "relative", "to": "obs"})
    fit_policy(policy, Sampler(numbered(tmp_path, 4), chunk=4))
    ((chunks, _),) = policy.head.fits
    moved = chunks * policy.actions.half_width + policy.actions.centre
    steps = torch.tensor([[0.0, 0.0], [0.0, 1.0], [0.0, 2.0], [0.0, 3.0]])
    torch.testing.assert_close(moved, steps.expand_as(moved), atol=1e-4, rtol=0)


def test_a_chunk_longer_than_every_episode_is_refused_where_a_head_is_fitted_on_chunks(tmp_path) -> None:
    source = Sampler(numbered(tmp_path, 4), chunk=LENGTH + 1)
    with pytest.raises(InputError, match=r"head.kind=import .* no episode has policy.chunk=41 labelled steps in a row: lower"):
        fit_policy(fitted_on_labels(LENGTH + 1), source)
    fit_policy(Policy(PolicyConfig(chunk=LENGTH + 1), BOXES.observation, BOXES.action), source)  # the other heads need none
