import gymnasium as gym
import pytest

from distil.config import validate
from distil.errors import InputError
from distil.heads.bins_config import BinsConfig
from distil.spaces import action_spec


def test_it_is_for_box_actions() -> None:
    leaf = action_spec(gym.spaces.Box(-1, 1, (2,))).leaf
    assert BinsConfig().resolve(leaf) == BinsConfig()
    with pytest.raises(
        InputError, match=r"policy\.head\.kind=bins doesn't fit a multi_discrete action space: leave it at auto"
    ):
        BinsConfig().resolve(action_spec(gym.spaces.MultiDiscrete([2, 3])).leaf)


@pytest.mark.parametrize("data", [{"num_bins": 1}, {"num_bins": 1025}, {"hidden": 0}, {"temperature": 0}, {"spacing": "even"}])
def test_what_makes_no_sense_is_refused(data: dict[str, object]) -> None:
    with pytest.raises(InputError, match=next(iter(data))):
        validate(BinsConfig, data)
