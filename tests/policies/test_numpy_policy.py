import subprocess
import sys
from collections.abc import Callable

import gymnasium as gym
import numpy as np
import pytest
import torch

from distil.errors import InputError
from distil.policies.config import MlpConfig
from distil.policies.numpy_policy import numpy_policy
from distil.policies.policy import Policy, PolicyConfig
from distil.policies.spec import PolicyRef
from distil.spaces import action_spec, observation_spec

HEADS = [
    ("box", "deterministic"),
    ("box", "gaussian"),
    ("box", "mixture"),
    ("box", "bins"),
    ("box", "codes"),
    ("box", "flow"),
    ("discrete", "auto"),
    ("multi_discrete", "auto"),
    ("multi_binary", "auto"),
]


@pytest.mark.parametrize(("action", "head"), HEADS)
@pytest.mark.parametrize("activation", ["relu", "tanh", "silu"])
@pytest.mark.parametrize("num", [1, 7, 16, 20])
def test_equals_torch(world: Callable, action: str, head: str, activation: str, num: int) -> None:
    made = world("nested", action, chunk=2, head={"kind": head}, encoder={"kind": "mlp", "activation": activation})
    planner = numpy_policy(made.policy.ref(0), num)
    rng = np.random.default_rng(0)
    for noise in (None, rng.random((num, planner.noise_size), dtype=np.float32)):
        observations = made.observations(num)
        ours = planner.plan(observations, noise)
        tensors = {name: torch.from_numpy(value).unsqueeze(1) for name, value in observations.items()}
        theirs = made.policy.plan(tensors, None if noise is None else torch.from_numpy(noise)).detach().numpy()
        np.testing.assert_allclose(ours, theirs, atol=1e-5)


@pytest.mark.parametrize("num", [8, 16, 32])
@pytest.mark.parametrize("hidden", [64, 256])
@pytest.mark.parametrize("num_actions", [1, 6])
def test_rows_depend_neither_on_neighbours_nor_on_their_place(num: int, hidden: int, num_actions: int) -> None:
    """CORRECTNESS 5: bit for bit; one plain matrix product of 16 rows fails this on common BLAS kernels."""
    observation = observation_spec(gym.spaces.Box(-np.inf, np.inf, (17,)))
    action = action_spec(gym.spaces.Box(-1, 1, (num_actions,)))
    policy = Policy(PolicyConfig(encoder=MlpConfig(hidden=(hidden, hidden))), observation, action)
    rng = np.random.default_rng(0)
    policy.fit_normaliser({"obs": rng.normal(size=(100, 17))})
    planner = numpy_policy(policy.ref(0), num)
    rows = rng.normal(size=(num, 17)).astype(np.float32)
    base = planner.plan({"obs": rows}, None).copy()
    for row in range(num):
        order = rng.permutation(num)
        np.testing.assert_array_equal(planner.plan({"obs": rows[order]}, None), base[order])
        others = rng.normal(size=(num, 17)).astype(np.float32)
        others[row] = rows[row]
        np.testing.assert_array_equal(planner.plan({"obs": others}, None)[row], base[row])


def test_image_networks_are_for_torch(world: Callable) -> None:
    assert numpy_policy(world("image").policy.ref(0), 4) is None
    assert numpy_policy(world("image", encoder={"kind": "mlp"}).policy.ref(0), 4) is not None


def test_arrays_of_another_shape_are_named(world: Callable) -> None:
    ref, other = world(encoder={"hidden": [8]}).policy.ref(0), world(encoder={"hidden": [9]}).policy.ref(0)
    mixed = PolicyRef(version=0, spec=ref.spec, arrays=ref.arrays | {"head.linear.weight": other.arrays["head.linear.weight"]})
    with pytest.raises(InputError, match=r"policy weights head.linear: found \(2, 9\), expected \(n, 8\)"):
        numpy_policy(mixed, 4)


def test_rollout_workers_import_no_torch() -> None:
    modules = "distil.policies.acting, distil.policies.checkpoint, distil.policies.predict, distil.policies.config"
    code = f"import sys, {modules}; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
