from collections.abc import Callable

import numpy as np
import pytest
import torch

from distil.policies.action_scaling import Actions

ACTIONS = ["box", "scalar", "matrix64", "integers", "unbounded", "discrete", "multi_discrete", "multi_binary"]


@pytest.mark.parametrize("name", ACTIONS)
def test_action_normalisation_round_trips(world: Callable, name: str) -> None:
    """CORRECTNESS 9: to 1e-6 of the range."""
    made = world(action=name)
    actions = torch.from_numpy(np.stack([[np.asarray(made.action_space.sample())] for _ in range(20)]))
    codec: Actions = made.policy.actions
    back = codec.decode(codec.encode(actions, {}), {})
    scale = float(codec.half_width.max()) if made.action.leaf.kind == "box" else 1.0
    np.testing.assert_allclose(back.numpy() / scale, actions.numpy() / scale, atol=1e-6)
