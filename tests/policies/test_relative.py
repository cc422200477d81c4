"""Actions relative to an observation: from labels to head actions, and back on every way that a policy acts."""

import copy
from collections.abc import Callable
from typing import Any

import gymnasium as gym
import numpy as np
import pytest
import torch

from distil.config import validate
from distil.errors import InputError
from distil.heads.base import HeadLoss
from distil.objectives.optimiser_config import OptimiserConfig
from distil.objectives.statistics import label_moments
from distil.objectives.supervised import Supervised
from distil.policies.acting import acting, replay
from distil.policies.policy import Policy, PolicyConfig
from distil.policies.spec import PolicySpec
from distil.spaces import action_spec, observation_spec
from distil.store import Store, StoreSpec
from distil.store.order import SampleSource
from distil.store.sampler import Sampler
from distil.types import Episode

RELATIVE = {"kind": "relative", "to": "obs[1:3]"}
SHAPES = [{}, {"obs_horizon": 3, "chunk": 4, "execute": 2}, {"ensemble": 3, "chunk": 2}]
LOSS = HeadLoss(loss_BT=torch.zeros(4, 3))
FIELD = gym.spaces.Box(0, 512, (2,), np.float32)


@pytest.mark.parametrize("head", ["deterministic", "gaussian", "mixture", "bins", "codes", "energy", "flow"])
@pytest.mark.parametrize("shape", SHAPES)
def test_acts_as_torch_does(world: Callable, oracle: type, head: str, shape: dict) -> None:
    """A chunk stays relative to what it was planned from while it is executed; also where an episode begins in between."""
    made = world("vector", "box", head={"kind": head}, actions=RELATIVE, encoder={"hidden": [16]}, **shape)
    ours, theirs = acting(made.policy.ref(0), 3), oracle(made.policy.ref(0), 3)
    for step in range(6):
        if step == 3:
            ours.begin(1, 5)
            theirs.begin(1)
        observations = made.observations(3)
        np.testing.assert_allclose(ours.act(observations), theirs.act(observations), atol=1e-4)


def test_images_too(world: Callable, oracle: type) -> None:
    """On torch's way, whose planner is another one."""
    actions = {"kind": "relative", "to": "obs/a[:2]"}
    made = world("nested", "box", actions=actions, encoder={"kind": "auto", "hidden": [16]})
    ours, theirs = acting(made.policy.ref(0), 3), oracle(made.policy.ref(0), 3)
    observations = made.observations(3)
    np.testing.assert_allclose(ours.act(observations), theirs.act(observations), atol=1e-4)


def test_a_policy_moves_with_its_origin(world: Callable) -> None:
    """What it does at two places differs by what lies between them, if it sees nothing else."""
    made = world("vector", "unbounded", actions=RELATIVE, encoder={"hidden": [8]})
    with torch.no_grad():
        made.policy.encoder.mlp.layers[0].weight.zero_()  # it sees nothing
    observations = made.observations(2)["obs"]
    actions = acting(made.policy.ref(0), 2).act({"obs": observations})
    np.testing.assert_allclose(actions[1] - actions[0], observations[1, 1:3] - observations[0, 1:3], rtol=1e-4)
    again = replay(made.policy.ref(0), {"obs": observations})[0]
    np.testing.assert_allclose(again, actions, rtol=1e-5)


def test_labels_are_moved_before_they_are_scaled(world: Callable, monkeypatch: pytest.MonkeyPatch) -> None:
    made = world("vector", "box", actions=RELATIVE, obs_horizon=2, chunk=3)
    batch, seen = made.batch(4), []
    monkeypatch.setattr(made.policy.head, "loss", lambda context, actions, pads, **rest: seen.append(actions) or LOSS)
    made.policy.loss(batch)
    moved = batch.actions - batch.observations["obs"][:, -1:, 1:3].float()
    expected = (moved - made.policy.actions.centre) / made.policy.actions.half_width
    torch.testing.assert_close(seen[0], expected.float(), rtol=1e-4, atol=1e-5)


@pytest.fixture
def source(tmp_path: Any) -> SampleSource:
    """Labels that are at most 20 away from where the robot is, anywhere on a field of 512; some are missing."""
    spec = StoreSpec(observation=observation_spec(gym.spaces.Box(0, 512, (3,), np.float32)), action=action_spec(FIELD))
    store = Store.create(tmp_path / "store", spec)
    writer, rng = store.writer("w"), np.random.default_rng(0)
    for number in range(3):
        place = rng.uniform(50, 460, 2)
        steps = np.cumsum(rng.uniform(-3, 3, (31, 2)), 0) + place
        labels = (steps[:-1] + rng.uniform(-20, 20, (30, 2))).astype(np.float32)
        labelled = np.ones(30, np.uint8)
        labelled[5:9] = 0
        labels[5:9] = -1e6  # whatever is there
        writer.add(
            Episode(
                observations={"obs": np.concatenate([rng.uniform(0, 512, (31, 1)), steps], 1).astype(np.float32)},
                actions=labels.clip(0, 512),
                rewards=np.zeros(30),
                terminated=True,
                truncated=False,
                expert_actions=labels,
                labelled=labelled,
                acted_by_expert=labelled,
                uid=f"e-{number}",
            )
        )
    return Sampler(store.commit([writer.seal()]), chunk=3)


def learner(source: SampleSource) -> Supervised:
    config = validate(PolicyConfig, {"chunk": 3, "actions": RELATIVE, "encoder": {"kind": "mlp", "hidden": [16]}})
    return Supervised(Policy(config, source.spec.observation, source.spec.action), OptimiserConfig())


def test_the_scaling_is_that_of_the_moved_labels(source: SampleSource) -> None:
    """Of all steps of all windows that have a label, and no others."""
    objective = learner(source)
    objective.fit_statistics({"demos": source})
    (batch,) = source.scan(10_000)
    moved = (batch.actions - batch.observations["obs"][:, -1:, 1:3])[~batch.is_pad]
    half = objective.policy.actions.half_width.numpy()
    np.testing.assert_allclose(half, (moved.max(0) - moved.min(0)) / 2 * 1.05, rtol=1e-5)
    assert (half < 35).all()  # not the field's 256
    found = label_moments(objective.policy, source)
    assert found.count == len(moved)
    np.testing.assert_allclose(found.mean, moved.mean(0), rtol=1e-4)


def test_what_the_policy_does_stays_inside_the_bounds(source: SampleSource) -> None:
    """CORRECTNESS 9: also next to the field's border."""
    objective = learner(source)
    objective.fit_statistics({"demos": source})
    with torch.no_grad():
        objective.policy.head.linear.bias.fill_(100.0)
    corner = {"obs": np.array([[0, 511, 511], [0, 1, 1]], np.float32)}
    actions = acting(objective.policy.ref(0), 2).act(corner)
    assert all(FIELD.contains(row) for row in actions)
    np.testing.assert_array_equal(actions[0], [512, 512])


def test_a_saved_policy_of_earlier_versions_is_absolute(world: Callable) -> None:
    spec = world("vector", "box").policy.spec
    data = copy.deepcopy(spec.to_json())
    assert data["config"].pop("actions") == {"kind": "absolute"}
    assert PolicySpec.from_json(data) == spec


@pytest.mark.parametrize(
    ("observation", "action", "to", "wrong"),
    [
        ("vector", "discrete", "obs", "doesn't fit a discrete action space: leave it at absolute"),
        ("vector", "box", "state[0:2]", r"state\[0:2\]: no such leaf; the observation has: obs; name one, or a part"),
        ("vector", "box", "obs[a]", "no such leaf"),
        ("vector", "box", "obs", "names 5 of 5 numbers, the action has 2; name as many"),
        ("vector", "box", "obs[4:6]", "names 1 of 5 numbers, the action has 2"),
        ("vector", "box", "obs[3:1]", "names 0 of 5 numbers, the action has 2"),
        ("nested", "box", "obs/image", "obs/image is an image, and holds no positions; name a Box"),
        ("discrete", "box", "obs", "obs is discrete, and holds no positions"),
    ],
)
def test_what_the_spaces_do_not_have_is_refused_by_name(
    world: Callable, observation: str, action: str, to: str, wrong: str
) -> None:
    with pytest.raises(InputError, match=f"policy.actions.*{wrong}"):
        world(observation, action, actions={"kind": "relative", "to": to})
