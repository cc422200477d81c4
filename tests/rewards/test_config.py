import pytest
import torch
from pydantic import TypeAdapter, ValidationError
from rewardbed import steps

from distil.rewards.base import LearnedReward
from distil.rewards.config import RewardConfig

CHOICE = TypeAdapter(RewardConfig)
KINDS = ["environment", "constant", "discriminator", "airl", "maxent", "pwil"]


@pytest.mark.parametrize("kind", KINDS)
def test_each_kind_builds_its_model_from_the_seed(kind: str) -> None:
    models = [CHOICE.validate_python({"kind": kind}).build(3, 2, torch.Generator().manual_seed(seed)) for seed in (0, 0, 1)]
    first, same, other = (list(model.parameters()) for model in models)
    assert all(map(torch.equal, first, same))
    assert not first or not torch.equal(first[0], other[0])
    assert isinstance(models[0], LearnedReward) == bool(first)


def test_settings_reach_the_network() -> None:
    config = {"kind": "discriminator", "sees": "state", "hidden": (5, 7), "spectral_norm": True}
    model = CHOICE.validate_python(config).build(3, 2, torch.Generator())
    assert model.network.inputs(steps(4)).shape == (4, 4)
    assert [tuple(layer.weight.shape) for layer in model.modules() if isinstance(layer, torch.nn.Linear)] == [
        (5, 4),
        (7, 5),
        (1, 7),
    ]
    assert any("parametrizations" in name for name, _ in model.named_parameters())


def test_an_unknown_kind_is_refused() -> None:
    with pytest.raises(ValidationError, match="discriminator"):
        CHOICE.validate_python({"kind": "critic"})


def test_a_positive_reward_needs_the_absorbing_state() -> None:
    """CORRECTNESS 17: seeing the end isn't enough; on CartPole, demonstrations of falling led to balancing."""
    with pytest.raises(ValidationError, match="set ends=absorbing, or shape=airl"):
        CHOICE.validate_python({"kind": "discriminator", "shape": "gail", "ends": "done"})
