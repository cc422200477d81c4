from collections.abc import Callable

import numpy as np
import pytest
import torch

from distil.errors import RunError
from distil.policies.torch_planner import TorchPlanner


@pytest.mark.parametrize("horizon", [1, 2])
def test_plans_as_the_policy_does(world: Callable, horizon: int) -> None:
    made = world("image", "box", obs_horizon=horizon, head={"kind": "gaussian"})
    planner = TorchPlanner(made.policy.ref(0))
    windows = {name: value.numpy() for name, value in made.batch(3).observations.items()}
    given = windows if horizon > 1 else {name: value[:, 0] for name, value in windows.items()}
    noise = np.random.default_rng(0).standard_normal((3, planner.noise_size), dtype=np.float32)
    for drawn in (None, noise):
        expected = made.policy.plan(
            {name: torch.from_numpy(value) for name, value in windows.items()},
            None if drawn is None else torch.from_numpy(drawn),
        )
        np.testing.assert_array_equal(planner.plan(given, drawn), expected.detach().numpy())


def test_a_users_head_that_raises_is_named(world: Callable) -> None:
    made = world("vector", "box", head={"kind": "import", "target": "headbed:Breaking", "kwargs": {"points": 0}})
    planner = TorchPlanner(made.policy.ref(0))
    windows = {name: value.numpy()[:, 0] for name, value in made.batch(3).observations.items()}
    with pytest.raises(RunError, match="policy headbed:Breaking raised OSError: points ran out; fix the class"):
        planner.plan(windows, None)
