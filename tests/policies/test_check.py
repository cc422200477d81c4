import gymnasium as gym
import numpy as np
import pytest
import torch

from distil.config import validate
from distil.errors import InputError
from distil.policies.check import try_out
from distil.policies.config import PolicyConfig
from distil.spaces import action_spec, observation_spec

SPACES = {
    "vector": gym.spaces.Box(-np.inf, np.inf, (5,)),
    "nested": gym.spaces.Dict(a=gym.spaces.Discrete(3), image=gym.spaces.Box(0, 255, (7, 6, 3), np.uint8)),
    "image": gym.spaces.Box(0, 255, (7, 6, 3), np.uint8),
}
BOX = gym.spaces.Box(np.array([-2, 0], np.float32), np.array([2, 10], np.float32))


def check(observation="vector", action=BOX, **data):
    spaces = observation_spec(SPACES[observation]), action_spec(action)
    try_out(validate(PolicyConfig, data).resolve(*spaces), *spaces)


def own(target, **kwargs):
    return {"kind": "import", "target": target, "kwargs": kwargs}


@pytest.mark.parametrize("observation", SPACES)
@pytest.mark.parametrize("shape", [{}, {"obs_horizon": 3, "chunk": 4, "ensemble": 2}])
@pytest.mark.parametrize("head", ["Laplace", "Twinned", "Fitted"])
def test_what_keeps_the_contract_passes(observation, shape, head):
    before = torch.get_rng_state()
    check(observation, head=own(f"headbed:{head}", width=0.2), **shape)
    check(observation, encoder=own("headbed:Frames", width=4), head=own("headbed:OfTokens"), **shape)
    check(observation, encoder=own("headbed:Frames"), **shape)
    assert torch.equal(before, torch.get_rng_state())


FAULTS = {
    "NoPoint": "has no method point; define it",
    "Lopsided": r"loss_BT has shape \(\) for a batch of 3, expected \(3, 1\)",
    "Bare": "loss returns Tensor; return distil.heads.base.HeadLoss",
    "Short": r"point has shape \(3, 1, 1\) for a batch of 3, expected \(3, 1, 2\)",
    "Raising": "sample_from raises KeyError: 'what'; fix the class",
    "Global": "sample_from gives other actions for the same noise",
    "Dropping": "loss differs for the same generator",
    "Wide": r"extras\['all'\] has shape \(3, 1, 2\); give a scalar or \(3, 1\)",
    "Infinite": "is not finite on random observations",
    "Noisy": "noise_kind 'gaussian' with noise_size 2",
    "OtherTwin": "numpy_twin and torch give different actions",
    "Integers": "point returns torch.int64, for this action space it must be torch.float32",
}


@pytest.mark.parametrize("name", FAULTS)
def test_a_head_that_breaks_the_contract_is_named_in_one_line(name):
    with pytest.raises(InputError, match=rf"^policy.head headbed:{name}: {FAULTS[name]}|{FAULTS[name]}") as caught:
        check(head=own(f"headbed:{name}"))
    assert f"policy.head headbed:{name}" in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("name", "fault"),
    [
        ("Tuple", "forward returns Tensor; return distil.heads.base.Context"),
        ("Narrow", r"pooled_BD has shape \(3, 15\) for a batch of 3, expected \(3, 16\)"),
        ("Flat", r"tokens_BLD has shape \(3, 16\) for a batch of 3, expected \(3, 1, 16\)"),
        ("Dropout", "forward gives other contexts for the same observations"),
        ("Double", "pooled_BD is torch.float64, required: torch.float32"),
        ("Sizeless", "num_out is 0; set it to the number of context features"),
        ("Laplace", "not a subclass of distil.policies.encoder.Backbone"),
    ],
)
def test_a_backbone_that_breaks_the_contract_is_named_in_one_line(name, fault):
    with pytest.raises(InputError, match=rf"^policy.encoder headbed:{name}: {fault}"):
        check(encoder=own(f"headbed:{name}"))


def test_each_weight_takes_part_in_the_loss_or_is_frozen():
    with pytest.raises(InputError, match=r"policy \(headbed:Unused\): the weight head.spare.weight takes no part in the loss"):
        check(head=own("headbed:Unused"))
    spaces = observation_spec(SPACES["vector"]), action_spec(BOX)
    config = validate(PolicyConfig, {"head": own("headbed:Unused")}).resolve(*spaces)
    try_out(config, *spaces, supervised=False)  # an objective of the user's may train it
    check(encoder=own("headbed:Frozen"))


def test_a_head_for_actions_without_bounds_rescales():
    with pytest.raises(InputError, match="has no method rescale, which an action space without bounds needs"):
        check(action=gym.spaces.Box(-np.inf, np.inf, (2,)), head=own("headbed:Laplace"))
