import gymnasium as gym
import pytest

from distil.config import validate
from distil.errors import InputError
from distil.heads.codes_config import CodesConfig
from distil.spaces import action_spec


def test_it_is_for_box_actions() -> None:
    leaf = action_spec(gym.spaces.Box(-1, 1, (2,))).leaf
    assert CodesConfig().resolve(leaf) == CodesConfig()
    with pytest.raises(InputError, match=r"policy.head.kind=codes doesn't fit a discrete action space: leave it at auto"):
        CodesConfig().resolve(action_spec(gym.spaces.Discrete(3)).leaf)


@pytest.mark.parametrize("data", [{"num_codes": 1}, {"num_levels": 0}, {"offset_weight": 0}, {"focal": -1}])
def test_what_makes_no_sense_is_refused(data: dict[str, object]) -> None:
    with pytest.raises(InputError, match=next(iter(data))):
        validate(CodesConfig, data)
