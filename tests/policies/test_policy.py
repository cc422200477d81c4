import dataclasses
from collections.abc import Callable

import gymnasium as gym
import numpy as np
import pytest
import torch
from torch import Tensor, nn

from distil.errors import InputError
from distil.heads.base import Context, HeadLoss
from distil.policies.ensemble import members
from distil.policies.policy import Policy, PolicyConfig
from distil.policies.restore import policy_of
from distil.spaces import action_spec, observation_spec

OBSERVATIONS = ["vector", "matrix", "ram", "image", "discrete", "multi_discrete", "multi_binary", "nested"]
ACTIONS = ["box", "scalar", "matrix64", "integers", "unbounded", "discrete", "multi_discrete", "multi_binary"]


@pytest.mark.parametrize(("observation", "action"), list(zip(OBSERVATIONS, ACTIONS, strict=True)))
@pytest.mark.parametrize(("horizon", "chunk"), [(1, 1), (3, 4)])
def test_every_space_trains(world: Callable, observation: str, action: str, horizon: int, chunk: int) -> None:
    made = world(observation, action, obs_horizon=horizon, chunk=chunk)
    batch = made.batch(6)
    loss = made.policy.loss(batch)
    assert loss.shape == (6,)
    loss.sum().backward()
    assert all(torch.isfinite(p.grad).all() for p in made.policy.parameters())


@pytest.mark.parametrize("head", ["deterministic", "gaussian", "mixture", "bins", "codes", "energy", "categorical"])
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
        made.policy.loss(item, generator=torch.Generator().manual_seed(0)).mean().backward()
        grads.append([p.grad.clone() for p in made.policy.parameters()])
    assert all(torch.equal(a, b) for a, b in zip(*grads, strict=True))
    context, labels = made.policy.encoder(batch.observations), made.policy.actions.encode(batch.actions, batch.observations)
    per_step = made.policy.head.loss(context, labels, is_pad, generator=torch.Generator().manual_seed(0)).loss_BT
    expected = torch.stack([row[~mask].mean() for row, mask in zip(per_step, is_pad, strict=True)])
    torch.testing.assert_close(made.policy.loss(padded, generator=torch.Generator().manual_seed(0)), expected)


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


def test_seed_decides_the_start_and_global_state_is_untouched(world: Callable) -> None:
    before = torch.get_rng_state()
    made = world()
    again = Policy(made.policy.config, made.observation, made.action, seed=0)
    other = Policy(made.policy.config, made.observation, made.action, seed=1)
    assert torch.equal(before, torch.get_rng_state())
    assert torch.equal(made.policy.head.linear.weight, again.head.linear.weight)
    assert not torch.equal(made.policy.head.linear.weight, other.head.linear.weight)


@pytest.mark.parametrize("head", ["deterministic", "gaussian", "mixture", "bins", "codes", "energy", "categorical"])
def test_autocast_keeps_the_loss_in_float32(world: Callable, head: str) -> None:
    made = world("vector", "multi_discrete" if head == "categorical" else "box", chunk=2, head={"kind": head})
    batch = made.batch(8)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        loss = made.policy.loss(batch, generator=torch.Generator().manual_seed(0))
    assert loss.dtype == torch.float32
    expected = made.policy.loss(batch, generator=torch.Generator().manual_seed(0))
    torch.testing.assert_close(loss, expected, rtol=0.1, atol=0.05)


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


@pytest.mark.parametrize("head", ["deterministic", "gaussian", "mixture", "bins", "codes", "categorical"])
def test_an_ensembles_loss_is_the_mean_of_its_members(world: Callable, head: str) -> None:
    action = "multi_discrete" if head == "categorical" else "box"
    made = world("vector", action, ensemble=3, chunk=2, head={"kind": head})
    batch = made.batch(6)
    alone = [policy_of(member) for member in members(made.policy.ref(0))]
    loss = made.policy.loss(batch)
    torch.testing.assert_close(loss, torch.stack([policy.loss(batch) for policy in alone]).mean(0))
    loss.sum().backward()
    for i, policy in enumerate(alone):
        policy.loss(batch).sum().backward()
        for name, parameter in policy.named_parameters():
            ours = made.policy.get_parameter(f"members.{i}.{name}" if i else name).grad
            torch.testing.assert_close(ours * 3, parameter.grad, rtol=1e-4, atol=1e-6)


def test_a_heads_figures_are_means_over_members_and_valid_steps(world: Callable, monkeypatch: pytest.MonkeyPatch) -> None:
    made = world(chunk=3, ensemble=2)
    batch = dataclasses.replace(made.batch(2), is_pad=torch.tensor([[False, False, True], [False, True, True]]))
    assert made.policy.losses(batch).extras == {}
    network, calls = type(made.policy.head), []

    def loss(self: nn.Module, context: Context, actions: Tensor, is_pad: Tensor, *, generator: object = None) -> HeadLoss:
        assert torch.equal(is_pad, batch.is_pad)
        calls.append(len(calls))
        per_step = torch.tensor([[1.0, 2.0, 50.0], [6.0, 50.0, 50.0]])
        return HeadLoss(loss_BT=per_step, extras={"each": per_step, "one": torch.tensor(4.0 + calls[-1])})

    monkeypatch.setattr(network, "loss", loss)
    found = made.policy.losses(batch)
    assert {name: float(value) for name, value in found.extras.items()} == {"each": 3.0, "one": 4.5}
    assert found.loss_B.tolist() == [1.5, 6.0]
