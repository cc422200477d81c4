import gymnasium as gym
import pytest
import torch

from distil.config import Config, validate
from distil.errors import InputError
from distil.heads.config import (
    AutoHeadConfig,
    CategoricalConfig,
    DeterministicConfig,
    GaussianConfig,
    HeadConfig,
    MixtureConfig,
    with_bound,
)
from distil.spaces import action_spec

BOX = action_spec(gym.spaces.Box(-1, 1, (2,))).leaf
CHOICE = action_spec(gym.spaces.Discrete(3)).leaf


class Owner(Config):
    head: HeadConfig = AutoHeadConfig()


def test_kind_defaults_to_auto_and_selects() -> None:
    assert validate(Owner, {"head": {}}).head == AutoHeadConfig()
    assert validate(Owner, {"head": {"kind": "deterministic", "loss": "l1"}}).head == DeterministicConfig(loss="l1")
    with pytest.raises(InputError, match=r"head.kind: no kind 'gausian'; did you mean gaussian"):
        validate(Owner, {"head": {"kind": "gausian"}})


def test_auto_follows_the_action_space() -> None:
    assert AutoHeadConfig().resolve(BOX) == DeterministicConfig(bound="clip")
    assert AutoHeadConfig(bound="tanh").resolve(BOX) == DeterministicConfig(bound="tanh")
    assert AutoHeadConfig().resolve(CHOICE) == CategoricalConfig()


def test_a_saved_head_without_a_bound_had_tanh() -> None:
    for kind in ("auto", "deterministic"):
        assert with_bound({"chunk": 2, "head": {"kind": kind}}) == {"chunk": 2, "head": {"kind": kind, "bound": "tanh"}}
    for same in ({"head": {"kind": "deterministic", "bound": "clip"}}, {"head": {"kind": "gaussian"}}, {}, None, [1]):
        assert with_bound(same) == same


@pytest.mark.parametrize(
    ("config", "leaf"),
    [
        (DeterministicConfig(), CHOICE),
        (GaussianConfig(), CHOICE),
        (MixtureConfig(), CHOICE),
        (CategoricalConfig(), BOX),
    ],
)
def test_a_head_that_does_not_fit_the_space_is_refused(config: GaussianConfig, leaf: object) -> None:
    with pytest.raises(InputError, match="leave it at auto"):
        config.resolve(leaf)


KINDS = [
    *({"kind": kind} for kind in ("deterministic", "gaussian", "bins", "energy", "latent")),
    {"kind": "mixture", "num_components": 3},
    {"kind": "codes", "num_codes": 4, "num_levels": 2, "hidden": 5},
    *({"kind": kind, "network": {"width": 32, "num_blocks": 1}} for kind in ("flow", "diffusion", "shortcut", "two_step")),
    {"kind": "flow", "network": {"kind": "unet", "channels": [8, 16], "num_blocks": 2}},
    {"kind": "flow", "network": {"kind": "transformer", "width": 4, "num_heads": 1}},
]


@pytest.mark.parametrize("data", KINDS, ids=str)
def test_a_head_has_at_least_the_weights_that_it_says(data: dict) -> None:
    """And not many more, with a context of one number."""
    config = validate(Owner, {"head": data}).head
    head = config.build(BOX, 1, 3, generator=torch.Generator().manual_seed(0))
    num = sum(value.numel() for value in head.state_dict().values())
    assert num / 5 < config.least_weights(6) <= num
