import gymnasium as gym
import pytest

from distil.errors import InputError
from distil.heads.fits import require_kind
from distil.spaces import action_spec


def test_kinds() -> None:
    leaf = action_spec(gym.spaces.Discrete(3)).leaf
    require_kind("categorical", leaf, ("discrete", "box"))
    with pytest.raises(InputError, match=r"policy\.head\.kind=flow doesn't fit a discrete action space: leave it at auto"):
        require_kind("flow", leaf, ("box",))
