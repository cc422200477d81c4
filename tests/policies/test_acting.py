from collections.abc import Callable

import numpy as np
import pytest
import torch

from distil.policies.acting import acting
from distil.types import PolicyRef

OBSERVATIONS = ["vector", "matrix", "ram", "image", "discrete", "multi_discrete", "multi_binary", "nested"]
ACTIONS = ["box", "scalar", "matrix64", "integers", "unbounded", "discrete", "multi_discrete", "multi_binary"]
SHAPES = [{}, {"obs_horizon": 3, "chunk": 4, "execute": 2}]


@pytest.mark.parametrize("observation", OBSERVATIONS)
@pytest.mark.parametrize("encoder", ["auto", "mlp"])
@pytest.mark.parametrize("shape", SHAPES)
def test_every_observation_space_acts_as_torch_does(world: Callable, observation: str, encoder: str, shape: dict) -> None:
    made = world(observation, "box", encoder={"kind": encoder, "hidden": [16]}, **shape)
    ours, state = acting(made.policy.ref(0), 3), made.policy.initial_state(3)
    for step in range(6):
        if step == 3:
            ours.begin(1, 5)
            state = state.reset(torch.tensor([False, True, False]))
        observations = made.observations(3)
        actions = ours.act(observations)
        theirs, state = made.policy.act({name: torch.from_numpy(value) for name, value in observations.items()}, state)
        np.testing.assert_allclose(actions, theirs.numpy(), atol=1e-4)


@pytest.mark.parametrize("action", ACTIONS)
@pytest.mark.parametrize("deterministic", [True, False])
@pytest.mark.parametrize("shape", SHAPES)
def test_actions_are_in_the_environments_space(world: Callable, action: str, deterministic: bool, shape: dict) -> None:
    """CORRECTNESS 9."""
    head = {"kind": "gaussian" if action in ("box", "scalar", "matrix64", "integers", "unbounded") else "auto"}
    made = world("vector", action, head=head, **shape)
    actor = acting(made.policy.ref(0), 5, deterministic=deterministic)
    for _ in range(4):
        actions = actor.act(made.observations(5))
        assert actions.dtype == made.action_space.dtype
        assert all(made.action_space.contains(np.asarray(row)) for row in actions)


def _episode(ref: PolicyRef, num: int, slot: int, seed: int, steps: list, others: np.random.Generator) -> list:
    """Act one episode in a slot while the other slots begin and see whatever they like."""
    actor = acting(ref, num, deterministic=False)
    for row in range(num):
        actor.begin(row, int(others.integers(100)))
    for _ in range(int(others.integers(5))):
        actor.act({"obs": others.normal(size=(num, 5))})
    actor.begin(slot, seed)
    out = []
    for step in steps:
        if others.random() < 0.3:
            actor.begin((slot + 1) % num, int(others.integers(100)))
        observations = others.normal(size=(num, 5))
        observations[slot] = step
        out.append(actor.act({"obs": observations})[slot])
    return out


@pytest.mark.parametrize("head", ["deterministic", "gaussian"])
@pytest.mark.parametrize("shape", [*SHAPES, {"obs_horizon": 2, "chunk": 3}])
def test_an_episode_depends_on_weights_and_seed_only(world: Callable, head: str, shape: dict) -> None:
    """CORRECTNESS 5: not on the slot, the neighbours, or what ran in the slot before; 150 steps outlast a block of noise."""
    ref = world("vector", "box", head={"kind": head}, **shape).policy.ref(0)
    steps = list(np.random.default_rng(0).normal(size=(150, 5)))
    runs = [_episode(ref, 16, slot, 9, steps, np.random.default_rng(slot)) for slot in (0, 5, 13, 15)]
    for run in runs[1:]:
        np.testing.assert_array_equal(run, runs[0])
    other = _episode(ref, 16, 0, 10, steps, np.random.default_rng(0))
    assert np.array_equal(other, runs[0]) == (head == "deterministic")


@pytest.mark.parametrize("head", ["gaussian", "auto"])
def test_image_policies_sample_from_the_episodes_noise_too(world: Callable, head: str) -> None:
    """CORRECTNESS 5, on the torch path."""
    made = world("image", "box" if head == "gaussian" else "discrete", head={"kind": head})
    observations = made.observations(8)
    order = np.random.default_rng(0).permutation(8)
    results = []
    for rows in (np.arange(8), order):
        actor = acting(made.policy.ref(0), 8, deterministic=False)
        for slot, row in enumerate(rows):
            actor.begin(slot, int(row))
        results.append(actor.act({name: value[rows] for name, value in observations.items()}))
    np.testing.assert_array_equal(results[0][order], results[1])


def test_open_loop_replays_a_demonstration_exactly(world: Callable) -> None:
    """CORRECTNESS 7: a policy whose chunk is the demonstration executes it step by step, from each environment's reset on."""
    made = world("vector", "matrix64", chunk=6, encoder={"hidden": [4]})
    demonstration = np.random.default_rng(0).uniform(-0.9, 0.9, (6, 4)).astype(np.float32)
    with torch.no_grad():
        made.policy.head.linear.weight.zero_()
        made.policy.head.linear.bias.copy_(torch.from_numpy(np.arctanh(demonstration).ravel()))
    expected = (demonstration * 2 + 1).reshape(6, 2, 2)  # bounds -1 and 3
    actor = acting(made.policy.ref(0), 2)
    taken = []
    for step in range(9):
        if step == 3:
            actor.begin(1, 0)  # in the middle of its chunk
        taken.append(actor.act(made.observations(2)))
    played = np.stack(taken, 1)
    np.testing.assert_allclose(played[0], expected[[0, 1, 2, 3, 4, 5, 0, 1, 2]], atol=1e-6)
    np.testing.assert_allclose(played[1], expected[[0, 1, 2, 0, 1, 2, 3, 4, 5]], atol=1e-6)


def test_results_are_the_callers_to_keep(world: Callable) -> None:
    for made in (world(), world("vector", "scalar"), world("vector", "discrete")):
        actor = acting(made.policy.ref(0), 8)
        first = actor.act(made.observations(8))
        kept = first.copy()
        actor.act({"obs": made.observations(8)["obs"] * 100})
        np.testing.assert_array_equal(first, kept)
