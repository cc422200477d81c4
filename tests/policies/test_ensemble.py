from collections.abc import Callable
from dataclasses import replace

import gymnasium as gym
import numpy as np
import pytest
import torch

from distil.errors import InputError
from distil.heads.combine import mean, medoid, vote
from distil.objectives.optimiser_config import OptimiserConfig
from distil.objectives.supervised import Supervised
from distil.policies.acting import acting, replay
from distil.policies.config import MlpConfig, PolicyConfig
from distil.policies.ensemble import EnsemblePlanner, members
from distil.policies.numpy_policy import numpy_policy
from distil.policies.policy import Policy
from distil.policies.restore import policy_of
from distil.policies.spec import PolicyRef
from distil.seeding import integer
from distil.spaces import action_spec, observation_spec
from distil.types import Array, Batch

HEADS = [
    ("box", "deterministic"),
    ("box", "gaussian"),
    ("box", "mixture"),
    ("box", "codes"),
    ("discrete", "auto"),
    ("multi_discrete", "auto"),
    ("multi_binary", "auto"),
]


def planner(ref: PolicyRef, num: int) -> EnsemblePlanner:
    return EnsemblePlanner([numpy_policy(member, num) for member in members(ref)], ref.spec.head.combine)


@pytest.mark.parametrize(("action", "head"), HEADS)
@pytest.mark.parametrize(("num", "size"), [(1, 2), (7, 3), (20, 4)])
def test_equals_torch(world: Callable, action: str, head: str, num: int, size: int) -> None:
    made = world("nested", action, chunk=2, ensemble=size, head={"kind": head}, encoder={"kind": "mlp", "hidden": [16]})
    observations = made.observations(num)
    ours = planner(made.policy.ref(0), num).plan(observations, None)
    tensors = {name: torch.from_numpy(value).unsqueeze(1) for name, value in observations.items()}
    alone = [policy_of(member).plan(tensors, None).detach().numpy() for member in members(made.policy.ref(0))]
    theirs = {"mixture": medoid, "codes": medoid, "auto": vote}.get(head, mean)(np.stack(alone))[0]
    assert ours.shape == theirs.shape == (num, 2, ours.shape[-1])
    assert ours.dtype == theirs.dtype
    np.testing.assert_allclose(ours, theirs, atol=1e-5)


def test_each_member_is_a_policy_of_its_own_seed(world: Callable) -> None:
    made = world("vector", "box", ensemble=3, encoder={"hidden": [8]})
    ref = made.policy.ref(4)
    single = PolicyConfig(encoder=MlpConfig(hidden=(8,)))
    for member, seed in zip(members(ref), (0, integer(0, "member", 1), integer(0, "member", 2)), strict=True):
        alone = Policy(single, made.observation, made.action, seed=seed).ref(0)
        assert member.version == 4
        assert member.spec == alone.spec
        assert member.arrays.keys() == alone.arrays.keys()
        assert all(np.array_equal(member.arrays[name], alone.arrays[name]) for name in alone.arrays if "features" not in name)
        np.testing.assert_array_equal(member.arrays["encoder.features.mean"], ref.arrays["encoder.features.mean"])


def test_a_single_network_is_its_only_member(world: Callable) -> None:
    ref = world().policy.ref(2)
    (only,) = members(ref)
    assert only.arrays == dict(ref.arrays)
    assert only.spec == ref.spec


def test_arrays_of_another_number_of_members_are_named(world: Callable) -> None:
    one, two, three = (world(ensemble=size).policy.ref(0) for size in (1, 2, 3))
    with pytest.raises(InputError, match=r"members\.2\.encoder\S+: found nothing in an ensemble of 3; use the config"):
        acting(replace(three, arrays=two.arrays), 4)
    with pytest.raises(InputError, match=r"members\.2\.encoder\S+: found something in an ensemble of 2"):
        acting(replace(two, arrays=three.arrays), 4)
    with pytest.raises(InputError, match=r"members\.1\.encoder\S+: found something in an ensemble of 1"):
        acting(replace(one, arrays=two.arrays), 4)


@pytest.mark.parametrize("action", ["box", "discrete"])
def test_rows_depend_neither_on_neighbours_nor_on_their_place(action: str) -> None:
    """CORRECTNESS 5: bit for bit, the doubt too."""
    space = gym.spaces.Box(-1, 1, (6,)) if action == "box" else gym.spaces.Discrete(4)
    config = PolicyConfig(encoder=MlpConfig(hidden=(64, 64)), ensemble=3)
    policy = Policy(config, observation_spec(gym.spaces.Box(-np.inf, np.inf, (17,))), action_spec(space))
    rng = np.random.default_rng(0)
    policy.fit_normaliser({"obs": rng.normal(size=(100, 17))})
    made = planner(policy.ref(0), 16)

    def plan(rows: Array) -> tuple[Array, Array]:
        actions = made.plan({"obs": rows}, None)
        assert made.doubt is not None
        return actions, made.doubt

    rows = rng.normal(size=(16, 17)).astype(np.float32)
    base, doubt = plan(rows)
    assert doubt.max() > 0
    for row in range(16):
        order = rng.permutation(16)
        for ours, expected in zip(plan(rows[order]), (base[order], doubt[order]), strict=True):
            np.testing.assert_array_equal(ours, expected)
        others = rng.normal(size=(16, 17)).astype(np.float32)
        others[row] = rows[row]
        for ours, expected in zip(plan(others), (base, doubt), strict=True):
            np.testing.assert_array_equal(ours[row], expected[row])


@pytest.mark.parametrize("action", ["box", "discrete"])
def test_doubt_is_larger_off_the_data_than_on_it(action: str) -> None:
    space = gym.spaces.Box(-1, 1, (2,)) if action == "box" else gym.spaces.Discrete(3)
    config = PolicyConfig(encoder=MlpConfig(hidden=(32, 32)), ensemble=5)
    policy = Policy(config, observation_spec(gym.spaces.Box(-np.inf, np.inf, (3,))), action_spec(space))
    rng = np.random.default_rng(0)
    seen = rng.uniform(-1, 1, (256, 3)).astype(np.float32)
    seen[:, 2] = 0.1 * seen[:, 0]  # a plane
    labels = np.sin(3 * seen[:, :2]) if action == "box" else (seen[:, 0] > 0.3).astype(np.int64) + (seen[:, 1] > 0)
    policy.fit_normaliser({"obs": seen, "action": labels})
    objective = Supervised(policy, OptimiserConfig(learning_rate=1e-2))
    objective.begin(100)
    batch = Batch(
        observations={"obs": torch.from_numpy(seen[:, None])},
        actions=torch.from_numpy(labels[:, None]),
        is_pad=torch.zeros(256, 1, dtype=torch.bool),
    )
    before = replay(policy.ref(0), {"obs": seen})[1].mean()
    for _ in range(100):
        objective.step({"demos": batch})
    ref = objective.evaluation_policy().ref(1)
    on = rng.uniform(-1, 1, (500, 3)).astype(np.float32)
    on[:, 2] = 0.1 * on[:, 0]
    off = on + np.float32([0, 0, 1])  # away from the plane
    near, far = replay(ref, {"obs": on})[1], replay(ref, {"obs": off})[1]
    assert near.mean() < before
    assert far.mean() > 3 * near.mean()


@pytest.mark.parametrize(("action", "head"), [*HEADS, ("box", "gaussian")])
def test_a_sample_is_of_one_member_that_the_noise_chooses(world: Callable, action: str, head: str) -> None:
    """A mixture: the mean of two members' actions may be nobody's. The doubt is that of their default actions, as without."""
    made = world("vector", action, ensemble=3, chunk=2, head={"kind": head}, encoder={"kind": "mlp", "hidden": [16]})
    num, ref = 3000, made.policy.ref(0)
    together, alone = planner(ref, num), [numpy_policy(member, num) for member in members(ref)]
    rng, observations = np.random.default_rng(0), {"obs": np.tile(made.observations(1)["obs"], (num, 1))}
    draw = rng.standard_normal if together.noise_kind == "normal" else rng.random
    noise = draw((num, together.noise_size), np.float32)
    own = noise[:, :-1] if together.noise_size > 1 else None
    actions = together.plan(observations, noise)
    theirs = [one.plan(observations, own).copy() for one in alone]
    same = np.array([(actions == each).all((1, 2)) for each in theirs])
    assert same.any(0).all()
    if action == "box":
        np.testing.assert_allclose(same.mean(1), 1 / 3, atol=0.04)
    doubt = together.doubt
    together.plan(observations, None)
    np.testing.assert_array_equal(doubt, together.doubt)
