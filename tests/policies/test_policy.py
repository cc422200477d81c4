import dataclasses
from collections.abc import Callable

import gymnasium as gym
import numpy as np
import pytest
import torch

from distil.errors import InputError
from distil.policies.ensemble import members
from distil.policies.policy import Actions, Policy, PolicyConfig, vote
from distil.spaces import action_spec, observation_spec

OBSERVATIONS = ["vector", "matrix", "ram", "image", "discrete", "multi_discrete", "multi_binary", "nested"]
ACTIONS = ["box", "scalar", "matrix64", "integers", "unbounded", "discrete", "multi_discrete", "multi_binary"]


@pytest.mark.parametrize(("observation", "action"), list(zip(OBSERVATIONS, ACTIONS, strict=True)))
@pytest.mark.parametrize(("horizon", "chunk"), [(1, 1), (3, 4)])
def test_every_space_trains(world: Callable, observation: str, action: str, horizon: int, chunk: int) -> None:
    made = world(observation, action, obs_horizon=horizon, chunk=chunk)
    batch = made.batch(6)
    loss = made.policy(batch)
    assert loss.shape == (6,)
    loss.sum().backward()
    assert all(torch.isfinite(p.grad).all() for p in made.policy.parameters())


@pytest.mark.parametrize("head", ["deterministic", "gaussian", "categorical"])
def test_pads_give_exactly_zero_gradient_and_do_not_count(world: Callable, head: str) -> None:
    """CORRECTNESS 6."""
    made = world("vector", "multi_discrete" if head == "categorical" else "box", chunk=4, head={"kind": head})
    batch = made.batch(5)
    is_pad = torch.arange(4) >= torch.tensor([4, 3, 2, 1, 1])[:, None]
    padded = dataclasses.replace(batch, is_pad=is_pad)
    scrambled = batch.actions.clone()
    scrambled[is_pad] = batch.actions[0, 0]
    other = dataclasses.replace(padded, actions=scrambled)
    grads = []
    for item in (padded, other):
        made.policy.zero_grad()
        made.policy.loss(item).mean().backward()
        grads.append([p.grad.clone() for p in made.policy.parameters()])
    assert all(torch.equal(a, b) for a, b in zip(*grads, strict=True))
    per_step = made.policy.head.loss(made.policy.encoder(batch.observations), made.policy.actions.encode(batch.actions))
    expected = torch.stack([row[~mask].mean() for row, mask in zip(per_step, is_pad, strict=True)])
    torch.testing.assert_close(made.policy.loss(padded), expected)


def test_a_padded_single_step_gives_nothing(world: Callable) -> None:
    """CORRECTNESS 6, at chunk 1, where the loss takes its short way."""
    made = world()
    batch = dataclasses.replace(made.batch(2), is_pad=torch.tensor([[True], [False]]))
    loss = made.policy.loss(batch)
    assert loss[0] == 0
    assert loss[1] > 0


def test_unfitted_policy_is_an_error() -> None:
    """CORRECTNESS 8: a missing statistic is never a pass-through."""
    policy = Policy(PolicyConfig(), observation_spec(gym.spaces.Box(-1, 1, (2,))), action_spec(gym.spaces.Discrete(2)))
    with pytest.raises(InputError, match="fit_normaliser"):
        policy.plan({"obs": torch.zeros(1, 1, 2)}, None)


def test_loaded_state_counts_as_fitted(world: Callable) -> None:
    made = world(action="unbounded")
    fresh = Policy(made.policy.config, made.observation, made.action, seed=1)
    fresh.load_state_dict(made.policy.state_dict())
    batch = made.batch(3)
    assert torch.equal(fresh.loss(batch), made.policy.loss(batch))


def test_constant_dimensions_are_zero_and_outliers_clipped(world: Callable) -> None:
    """CORRECTNESS 8."""
    made = world("matrix")
    column = np.random.default_rng(0).normal(size=(50, 2, 3)).astype(np.float32)
    column[:, 0, 0] = 5
    made.policy.fit_normaliser({"obs": column})
    features = made.policy.encoder.features({"obs": torch.from_numpy(column[:, None])})
    assert torch.equal(features[..., 0], torch.zeros(50, 1))
    torch.testing.assert_close(features[..., 1:].mean((0, 1)), torch.zeros(5), atol=1e-5, rtol=0)
    torch.testing.assert_close(features[..., 1:].std((0, 1), correction=0), torch.ones(5))
    far = made.policy.encoder.features({"obs": torch.full((1, 1, 2, 3), 1e6)})
    assert torch.equal(far, torch.full((1, 1, 6), 10.0))


def test_statistics_are_frozen(world: Callable) -> None:
    """CORRECTNESS 8: neither an optimiser nor a forward pass moves them."""
    made = world()
    before = made.policy.encoder.features.mean.clone()
    made.policy.loss(made.batch(4)).mean().backward()
    assert "encoder.features.mean" not in dict(made.policy.named_parameters())
    assert torch.equal(before, made.policy.encoder.features.mean)


@pytest.mark.parametrize("name", ACTIONS)
def test_action_normalisation_round_trips(world: Callable, name: str) -> None:
    """CORRECTNESS 9: to 1e-6 of the range."""
    made = world(action=name)
    actions = torch.from_numpy(np.stack([[np.asarray(made.action_space.sample())] for _ in range(20)]))
    codec: Actions = made.policy.actions
    back = codec.decode(codec.encode(actions))
    scale = float(codec.half_width.max()) if made.action.leaf.kind == "box" else 1.0
    np.testing.assert_allclose(back.numpy() / scale, actions.numpy() / scale, atol=1e-6)


def test_ref_round_trips_and_is_a_copy(world: Callable) -> None:
    made = world("nested", "box", obs_horizon=2, chunk=2)
    ref = made.policy.ref(7)
    batch = made.batch(4)
    before = made.policy.loss(batch).detach().clone()
    with torch.no_grad():
        for parameter in made.policy.parameters():
            parameter.add_(1)
    again = Policy.from_ref(ref)
    assert ref.version == 7
    assert torch.equal(again.loss(batch), before)
    assert again.config == made.policy.config


def test_arrays_of_another_shape_are_named(world: Callable) -> None:
    made, other = world(encoder={"hidden": [8]}), world(encoder={"hidden": [9]})
    with pytest.raises(InputError, match=r"encoder.mlp.layers.0.bias: found \(9,\), expected \(8,\)"):
        made.policy.load_arrays(other.policy.ref(0).arrays)


def test_seed_decides_the_start_and_global_state_is_untouched(world: Callable) -> None:
    before = torch.get_rng_state()
    made = world()
    again = Policy(made.policy.config, made.observation, made.action, seed=0)
    other = Policy(made.policy.config, made.observation, made.action, seed=1)
    assert torch.equal(before, torch.get_rng_state())
    assert torch.equal(made.policy.head.linear.weight, again.head.linear.weight)
    assert not torch.equal(made.policy.head.linear.weight, other.head.linear.weight)


def test_state_resets_by_row(world: Callable) -> None:
    """CORRECTNESS 7, in torch: a reset row forgets its history and queue, the others go on."""
    made = world("vector", "box", obs_horizon=2, chunk=3)
    steps = [{k: torch.from_numpy(v) for k, v in made.observations(2).items()} for _ in range(3)]
    state = made.policy.initial_state(2)
    for step in steps[:2]:
        _, state = made.policy.act(step, state)
    mixed, _ = made.policy.act(steps[2], state.reset(torch.tensor([True, False])))
    going, _ = made.policy.act(steps[2], state)
    first, _ = made.policy.act(steps[2], made.policy.initial_state(2))
    assert torch.equal(mixed[0], first[0])
    assert torch.equal(mixed[1], going[1])
    assert not torch.equal(mixed[0], going[0])


def test_generator_samples(world: Callable) -> None:
    made = world(head={"kind": "gaussian"})
    observations = {k: torch.from_numpy(v) for k, v in made.observations(2).items()}
    acts = [
        made.policy.act(observations, made.policy.initial_state(2), generator=torch.Generator().manual_seed(seed))[0]
        for seed in (0, 0, 1)
    ]
    assert torch.equal(acts[0], acts[1])
    assert not torch.equal(acts[0], acts[2])


@pytest.mark.parametrize("head", ["deterministic", "gaussian", "categorical"])
def test_autocast_keeps_the_loss_in_float32(world: Callable, head: str) -> None:
    made = world("vector", "multi_discrete" if head == "categorical" else "box", chunk=2, head={"kind": head})
    batch = made.batch(8)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        loss = made.policy(batch)
    assert loss.dtype == torch.float32
    torch.testing.assert_close(loss, made.policy(batch), rtol=0.1, atol=0.05)


NAMES = {
    *(f"encoder.{name}" for name in ("features.mean", "features.inv_std", "mlp.layers.0.weight", "mlp.layers.0.bias")),
    *("actions.centre", "actions.half_width", "head.linear.weight", "head.linear.bias"),
}


def test_a_single_policy_has_no_members_and_an_ensemble_begins_with_it(world: Callable) -> None:
    one, three = (world(encoder={"hidden": [8]}, ensemble=size).policy for size in (1, 3))
    assert one.state_dict().keys() == NAMES
    networks = {name for name in NAMES if not name.startswith("actions.")}
    assert three.state_dict().keys() == NAMES | {f"members.{i}.{name}" for i in (1, 2) for name in networks}
    for name in NAMES:
        assert torch.equal(one.state_dict()[name], three.state_dict()[name])


def test_members_differ_in_their_weights_and_share_their_statistics(world: Callable) -> None:
    arrays = world(ensemble=3).policy.ref(0).arrays
    for name in ("encoder.mlp.layers.0.weight", "head.linear.bias"):
        weights = [arrays[prefix + name] for prefix in ("", "members.1.", "members.2.")]
        assert len({value.tobytes() for value in weights}) == 3
    for prefix in ("members.1.", "members.2."):
        np.testing.assert_array_equal(arrays[prefix + "encoder.features.mean"], arrays["encoder.features.mean"])


@pytest.mark.parametrize("head", ["deterministic", "gaussian", "categorical"])
def test_an_ensembles_loss_is_the_mean_of_its_members(world: Callable, head: str) -> None:
    action = "multi_discrete" if head == "categorical" else "box"
    made = world("vector", action, ensemble=3, chunk=2, head={"kind": head})
    batch = made.batch(6)
    alone = [Policy.from_ref(member) for member in members(made.policy.ref(0))]
    loss = made.policy(batch)
    torch.testing.assert_close(loss, torch.stack([policy(batch) for policy in alone]).mean(0))
    loss.sum().backward()
    for i, policy in enumerate(alone):
        policy(batch).sum().backward()
        for name, parameter in policy.named_parameters():
            ours = made.policy.get_parameter(f"members.{i}.{name}" if i else name).grad
            torch.testing.assert_close(ours * 3, parameter.grad, rtol=1e-4, atol=1e-6)


def test_an_ensemble_goes_through_its_ref(world: Callable) -> None:
    made = world("image", "discrete", ensemble=2)
    batch, ref = made.batch(4), made.policy.ref(1)
    again = Policy.from_ref(ref)
    assert torch.equal(again.loss(batch), made.policy.loss(batch))
    with pytest.raises(InputError, match=r"policy weights members\.1\.\S+: found \(\S+,\), expected nothing"):
        world("image", "discrete").policy.load_arrays(ref.arrays)


def test_an_ensemble_acts_deterministically(world: Callable) -> None:
    made = world(head={"kind": "gaussian"}, ensemble=2)
    observations = {k: torch.from_numpy(v) for k, v in made.observations(2).items()}
    generator = torch.Generator().manual_seed(0)
    state = made.policy.initial_state(2)
    sampled, mode = (made.policy.act(observations, state, generator=source)[0] for source in (generator, None))
    assert torch.equal(sampled, mode)


def test_of_a_tie_the_lowest_choice_wins() -> None:
    choices = torch.tensor([2, 1, 0, 1, 2, 3])
    assert vote(choices[:4, None, None, None]) == 1
    assert vote(choices[:5, None, None, None]) == 1
    assert vote(choices[2:, None, None, None]) == 0
