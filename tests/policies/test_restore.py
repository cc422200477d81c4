from collections.abc import Callable

import pytest
import torch

from distil.errors import InputError
from distil.policies.restore import load_arrays, policy_of


def test_ref_round_trips_and_is_a_copy(world: Callable) -> None:
    made = world("nested", "box", obs_horizon=2, chunk=2)
    ref = made.policy.ref(7)
    batch = made.batch(4)
    before = made.policy.loss(batch).detach().clone()
    with torch.no_grad():
        for parameter in made.policy.parameters():
            parameter.add_(1)
    again = policy_of(ref)
    assert ref.version == 7
    assert torch.equal(again.loss(batch), before)
    assert again.config == made.policy.config


def test_arrays_of_another_shape_are_named(world: Callable) -> None:
    made, other = world(encoder={"hidden": [8]}), world(encoder={"hidden": [9]})
    with pytest.raises(InputError, match=r"encoder.mlp.layers.0.bias: found \(9,\), expected \(8,\)"):
        load_arrays(made.policy, other.policy.ref(0).arrays)


def test_an_ensemble_goes_through_its_ref(world: Callable) -> None:
    made = world("image", "discrete", ensemble=2)
    batch, ref = made.batch(4), made.policy.ref(1)
    again = policy_of(ref)
    assert torch.equal(again.loss(batch), made.policy.loss(batch))
    with pytest.raises(InputError, match=r"policy weights members\.1\.\S+: found \(\S+,\), expected nothing"):
        load_arrays(world("image", "discrete").policy, ref.arrays)
