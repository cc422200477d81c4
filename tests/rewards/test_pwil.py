from dataclasses import replace

import numpy as np
import pytest
import torch
from rewardbed import steps

from distil.rewards.base import Steps
from distil.rewards.config import PwilConfig
from distil.rewards.pwil import PwilReward


def _line(places: list[float], ended: list[int] | None = None) -> Steps:
    """Steps at places on a line; actions and other features are 0."""
    num = len(places)
    features = torch.zeros(num, 3)
    features[:, 0] = torch.tensor(places)
    return replace(steps(num, ended=ended), features_BF=features, actions_BA=torch.zeros(num, 2))


def _last(*lengths: int) -> np.ndarray:
    ends = np.zeros(sum(lengths), np.bool_)
    ends[np.cumsum(lengths) - 1] = True
    return ends


def _model() -> PwilReward:
    return PwilConfig(scale=2.0, bandwidth=3.0).build(3, 2, torch.Generator())


def test_each_step_takes_the_nearest_that_is_left_in_turn() -> None:
    """Algorithm 1 by hand: D = 5, one demonstration of T = 3 steps at 0, 1 and 5."""
    shown = _line([0.0, 1.0, 5.0])
    rewards, of_shown = _model().of_episodes(_line([0.9, 0.8, 0.7, 0.6]), _last(4), shown, _last(3))
    moved = np.array([0.1, 0.8, 4.3, np.inf]) / 3  # to 1, to 0, to 5, and nothing is left
    np.testing.assert_allclose(rewards, 2 * np.exp(-3 * 3 / np.sqrt(5) * moved), rtol=1e-5)
    assert of_shown.tolist() == [2.0, 2.0, 2.0]


def test_with_several_demonstrations_a_step_takes_its_share_of_each() -> None:
    """Two demonstrations of two steps: each of four places has a quarter, a step moves a half."""
    shown = _line([0.0, 2.0, 1.0, 2.0])
    rewards, _ = _model().of_episodes(_line([0.0, 2.0]), _last(2), shown, _last(2, 2))
    np.testing.assert_allclose(rewards, 2 * np.exp(-3 * 2 / np.sqrt(5) * np.array([0.25, 0.0])), rtol=1e-5)


def test_an_episode_s_rewards_are_its_own_and_stay() -> None:
    model, shown = _model(), _line([0.0, 1.0])
    first, _ = model.of_episodes(_line([0.5, 0.2]), _last(2), shown, _last(2))
    both, _ = model.of_episodes(_line([3.0, 0.5, 0.2]), _last(1, 2), shown, _last(2))
    assert both[1:].tolist() == first.tolist()


@pytest.mark.parametrize(("ended", "worth"), [([], 0.0), ([1], 1.0), ([1, 3], 2.0)])
def test_the_absorbing_state_is_worth_what_the_demonstrations_say(ended: list[int], worth: float) -> None:
    """CORRECTNESS 17."""
    model = _model()
    model.of_episodes(_line([0.5]), _last(1), _line([0.0, 1.0, 0.0, 1.0], ended), _last(2, 2))
    rewards = model(replace(steps(2), rewards_B=torch.tensor([0.5, 0.25])))
    assert rewards.rewards_B.tolist() == [0.5, 0.25]
    assert rewards.absorbing_B.tolist() == [worth, worth]
