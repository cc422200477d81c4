from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest
import torch

from distil.errors import InputError
from distil.policies.acting import acting, replay
from distil.policies.ensemble import members
from distil.policies.spec import PolicyRef

OBSERVATIONS = ["vector", "matrix", "ram", "image", "discrete", "multi_discrete", "multi_binary", "nested"]
ACTIONS = ["box", "scalar", "matrix64", "integers", "unbounded", "discrete", "multi_discrete", "multi_binary"]
SHAPES = [{}, {"obs_horizon": 3, "chunk": 4, "execute": 2}]


@pytest.mark.parametrize("observation", OBSERVATIONS)
@pytest.mark.parametrize("encoder", ["auto", "mlp"])
@pytest.mark.parametrize("shape", SHAPES)
def test_every_observation_space_acts_as_torch_does(
    world: Callable, oracle: type, observation: str, encoder: str, shape: dict
) -> None:
    made = world(observation, "box", encoder={"kind": encoder, "hidden": [16]}, **shape)
    ours, theirs = acting(made.policy.ref(0), 3), oracle(made.policy.ref(0), 3)
    for step in range(6):
        if step == 3:
            ours.begin(1, 5)
            theirs.begin(1)
        observations = made.observations(3)
        np.testing.assert_allclose(ours.act(observations), theirs.act(observations), atol=1e-4)


@pytest.mark.parametrize(
    ("encoder", "head"),
    [
        ("resmlp", {"kind": "flow", "network": {"kind": "unet", "channels": [8, 16]}}),
        ("gru", {}),
        ("transformer", {"kind": "flow", "network": {"kind": "transformer", "width": 32}}),
    ],
)
def test_every_backbone_acts_as_torch_does(world: Callable, oracle: type, encoder: str, head: dict) -> None:
    """In any order of the rows (CORRECTNESS 5)."""
    made = world("nested", "box", encoder={"kind": encoder, "width": 32}, head=head, obs_horizon=3, chunk=4, execute=2)
    ours, theirs, order = acting(made.policy.ref(0), 4), oracle(made.policy.ref(0), 4), np.array([2, 0, 3, 1])
    moved = acting(made.policy.ref(0), 4)
    for _ in range(4):
        observations = made.observations(4)
        found = ours.act(observations)
        np.testing.assert_allclose(found, theirs.act(observations), atol=1e-4)
        np.testing.assert_array_equal(moved.act({name: value[order] for name, value in observations.items()}), found[order])


AVERAGED = {"temporal_ensemble": {"decay": 0.3}, "chunk": 3}


@pytest.mark.parametrize(
    ("observation", "shape"),
    [
        ("vector", {"obs_horizon": 2}),
        ("vector", {"actions": {"kind": "relative", "to": "obs[1:3]"}}),
        ("vector", {"ensemble": 3, "execute": 1}),
        ("image", {"head": {"kind": "gaussian"}}),
    ],
)
def test_overlapping_plans_are_averaged(world: Callable, oracle: type, observation: str, shape: dict) -> None:
    """CORRECTNESS 7: those of the own episode alone. Relative actions start from where each plan was made."""
    made = world(observation, "box", encoder={"hidden": [16]}, **AVERAGED, **shape)
    ours, theirs, single = (make(made.policy.ref(0), 3) for make in (acting, oracle, acting))
    for step in range(8):
        if step == 5:
            ours.begin(1, 5)
            theirs.begin(1)
        observations = made.observations(3)
        found = ours.act(observations)
        np.testing.assert_allclose(found, theirs.act(observations), atol=1e-4)
        for row in range(3):
            single.begin(row, 0)
        fresh = single.act(observations)
        assert np.array_equal(found[0], fresh[0]) == (step == 0)
        if "ensemble" in shape:
            np.testing.assert_array_equal(ours.doubt, single.doubt)  # that of the current observation
        if "obs_horizon" not in shape:
            np.testing.assert_allclose(replay(made.policy.ref(0), observations)[0], fresh, atol=1e-5)


@pytest.mark.parametrize("action", ACTIONS)
@pytest.mark.parametrize("act", ["point", "sample"])
@pytest.mark.parametrize("shape", SHAPES)
def test_actions_are_in_the_environments_space(world: Callable, action: str, act: str, shape: dict) -> None:
    """CORRECTNESS 9."""
    head = {"kind": "gaussian" if action in ("box", "scalar", "matrix64", "integers", "unbounded") else "auto"}
    made = world("vector", action, head=head, **shape)
    actor = acting(made.policy.ref(0), 5, act=act)
    for _ in range(4):
        actions = actor.act(made.observations(5))
        assert actions.dtype == made.action_space.dtype
        assert all(made.action_space.contains(np.asarray(row)) for row in actions)


@pytest.mark.parametrize(("observation", "action"), [("vector", "integers"), ("nested", "discrete"), ("image", "box")])
@pytest.mark.parametrize("shape", SHAPES)
def test_an_ensemble_acts_as_torch_does(world: Callable, oracle: type, observation: str, action: str, shape: dict) -> None:
    """Images go through torch's planner."""
    made = world(observation, action, ensemble=3, **shape)
    ours, theirs = acting(made.policy.ref(0), 3), oracle(made.policy.ref(0), 3)
    for step in range(6):
        if step == 3:
            ours.begin(1, 5)
            theirs.begin(1)
        observations = made.observations(3)
        expected = theirs.act(observations)
        expected = expected.round() if action == "integers" else expected
        np.testing.assert_allclose(ours.act(observations), expected, atol=1e-4)


@pytest.mark.parametrize("action", ["matrix64", "multi_discrete"])
def test_doubt_is_of_the_plan_that_is_executed(world: Callable, action: str) -> None:
    """With a queue, of the plan that filled it: row 1 begins anew in the middle of its chunk."""
    made = world("vector", action, ensemble=3, obs_horizon=2, chunk=3, encoder={"hidden": [8]})
    ref = made.policy.ref(0)
    actor, alone = acting(ref, 2), [acting(member, 2) for member in members(ref)]
    assert actor.doubt is None
    found, expected = [], []
    for step in range(7):
        if step == 4:
            for one in (actor, *alone):
                one.begin(1, 0)
        observations = made.observations(2)
        actor.act(observations)
        found.append(actor.doubt)
        modes = np.stack([one.act(observations) for one in alone])
        if action == "matrix64":
            expected.append((modes / 2).std(0).mean((-1, -2)))  # bounds -1 and 3: half of the range is 2
        else:
            most = np.max([(modes == choice).mean(0) for choice in range(6)], 0)
            expected.append(1 - most.mean((-1, -2)))
        assert all(one.doubt is None for one in alone)
    np.testing.assert_allclose(found, expected, atol=1e-6)
    assert found[0].dtype == np.float32
    assert np.ptp(found, axis=0).min() > 0  # the step counts, not the plan as a whole


@pytest.mark.parametrize("shape", [{}, {"obs_horizon": 3}, {"chunk": 2, "execute": 1}])
def test_doubt_of_stored_observations_is_that_of_acting(world: Callable, shape: dict) -> None:
    made = world("nested", "box", ensemble=2, encoder={"kind": "mlp", "hidden": [8]}, **shape)
    ref, horizon = made.policy.ref(0), shape.get("obs_horizon", 1)
    actor = acting(ref, 11)
    steps = [made.observations(11) for _ in range(horizon)]
    for step in steps:
        actor.act(step)
    windows = {name: np.stack([step[name] for step in steps], 1) for name in steps[0]}
    windows = windows if horizon > 1 else {name: value[:, 0] for name, value in windows.items()}
    for block in (4, 11, 256):
        found = replay(ref, windows, block=block)[1]
        assert (found.shape, found.dtype) == ((11,), np.float32)
        np.testing.assert_allclose(found, actor.doubt, atol=1e-6)
    assert replay(ref, {name: value[:0] for name, value in windows.items()})[1].shape == (0,)


def test_a_single_network_has_no_doubt(world: Callable) -> None:
    made = world()
    actions, doubt = replay(made.policy.ref(0), made.observations(3))
    assert len(actions) == 3
    assert doubt is None


def _episode(ref: PolicyRef, num: int, slot: int, seed: int, steps: list, others: np.random.Generator) -> list:
    """Act one episode in a slot while the other slots begin and see whatever they like."""
    actor = acting(ref, num, act="sample")
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


@pytest.mark.parametrize("head", ["deterministic", "gaussian", "mixture", "bins", "codes"])
@pytest.mark.parametrize("shape", [*SHAPES, {"obs_horizon": 2, "chunk": 3}, {"ensemble": 3, "chunk": 2}, AVERAGED])
def test_an_episode_depends_on_weights_and_seed_only(world: Callable, head: str, shape: dict) -> None:
    """CORRECTNESS 5: not on the slot, the neighbours, or what ran in the slot before; 150 steps outlast a block of noise."""
    ref = world("vector", "box", head={"kind": head}, **shape).policy.ref(0)
    steps = list(np.random.default_rng(0).normal(size=(150, 5)))
    runs = [_episode(ref, 16, slot, 9, steps, np.random.default_rng(slot)) for slot in (0, 5, 13, 15)]
    for run in runs[1:]:
        np.testing.assert_array_equal(run, runs[0])
    other = _episode(ref, 16, 0, 10, steps, np.random.default_rng(0))
    assert np.array_equal(other, runs[0]) == (head == "deterministic" and "ensemble" not in shape)


def test_an_episode_of_a_search_in_torch_depends_on_weights_and_seed_only(world: Callable) -> None:
    """CORRECTNESS 5: a last bit that depended on the slot would choose another candidate."""
    head = {"kind": "energy", "hidden": [32, 16], "num_candidates": 20}
    ref = world("vector", "box", head=head, chunk=2).policy.ref(0)
    steps = list(np.random.default_rng(0).normal(size=(20, 5)))
    runs = [_episode(ref, 7, slot, 9, steps, np.random.default_rng(slot)) for slot in (0, 6)]
    np.testing.assert_array_equal(*runs)
    assert not np.array_equal(_episode(ref, 7, 0, 10, steps, np.random.default_rng(0)), runs[0])


@pytest.mark.parametrize("head", ["gaussian", "auto"])
def test_image_policies_sample_from_the_episodes_noise_too(world: Callable, head: str) -> None:
    """CORRECTNESS 5, on the torch path."""
    made = world("image", "box" if head == "gaussian" else "discrete", head={"kind": head})
    observations = made.observations(8)
    order = np.random.default_rng(0).permutation(8)
    results = []
    for rows in (np.arange(8), order):
        actor = acting(made.policy.ref(0), 8, act="sample")
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
        made.policy.head.linear.bias.copy_(torch.from_numpy(demonstration.ravel()))
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
    shapes = [{}, {"ensemble": 3}, {"ensemble": 3, "chunk": 4}]
    worlds = [world("vector", action, **shape) for action in ("box", "scalar", "discrete") for shape in shapes]
    for made in (*worlds, world("vector", "box", **AVERAGED)):
        actor = acting(made.policy.ref(0), 8)
        first, doubt = actor.act(made.observations(8)), actor.doubt
        kept, doubted = first.copy(), np.copy(doubt)
        actor.act({"obs": made.observations(8)["obs"] * 100})
        np.testing.assert_array_equal(first, kept)
        np.testing.assert_array_equal(doubt, doubted)


@pytest.mark.parametrize("observation", ["vector", "image"])
def test_weights_of_another_configuration_are_one_line(world: Callable, observation: str) -> None:
    """Issue 8, number 22: a file whose spec makes sense, but isn't that of its arrays."""
    ref, faults = world(observation).policy.ref(1), list[str]()
    for name, value in ref.arrays.items():
        lacking = {key: array for key, array in ref.arrays.items() if key != name}
        for other in (lacking, {**lacking, name: np.zeros((0, 3), np.float32)}, {**lacking, name: value[..., None]}):
            try:
                acting(replace(ref, arrays=other), 2)
            except InputError as error:
                faults.append(str(error))
    assert len(faults) > len(ref.arrays)
    assert not any("\n" in fault for fault in faults)
