from collections.abc import Callable

import numpy as np
import pytest
import torch

from distil.errors import InputError, RunError
from distil.policies.acting import acting
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


def test_a_gpu_that_torch_does_not_see_is_said(world: Callable, monkeypatch: pytest.MonkeyPatch) -> None:
    """A node with GPUs, and an image whose torch knows none: all of its labels would come from the CPU."""
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.setattr("distil.policies.acting._on_gpu", True)
    with pytest.raises(InputError, match="torch sees no GPU where the policy shall act; install a CUDA build of torch there"):
        acting(world("image", "box").policy.ref(0), 2)
    acting(world("vector", "box").policy.ref(0), 2)  # in numpy
