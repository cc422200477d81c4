import gymnasium as gym
import numpy as np
import pytest

from distil.config import validate
from distil.errors import InputError
from distil.heads.combine import mean, medoid
from distil.heads.iterative_config import DiffusionConfig, FlowConfig, ShortcutConfig, TwoStepConfig
from distil.policies.config import PolicyConfig
from distil.spaces import action_spec


@pytest.mark.parametrize("config", [FlowConfig(), ShortcutConfig(), DiffusionConfig(), TwoStepConfig()], ids=lambda c: c.kind)
def test_choices_are_refused(config: FlowConfig) -> None:
    with pytest.raises(InputError, match=rf"policy\.head\.kind={config.kind} doesn't fit a discrete action space"):
        config.resolve(action_spec(gym.spaces.Discrete(3)).leaf)


def test_more_steps_than_levels_are_refused() -> None:
    with pytest.raises(InputError, match=r"num_steps=20 is more than num_levels=10: lower it"):
        validate(PolicyConfig, {"head": {"kind": "diffusion", "num_levels": 10, "num_steps": 20}}, "policy")


def test_ensembles_of_random_heads_choose_a_member_and_those_of_regressions_average() -> None:
    points = np.array([[[[-0.5]]], [[[-0.4]]], [[[0.6]]]], np.float32)
    assert FlowConfig().combine(points)[0] == medoid(points)[0] == np.float32(-0.4)
    assert TwoStepConfig().combine(points)[0] == mean(points)[0]
