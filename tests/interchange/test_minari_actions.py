from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from gymnasium import spaces

from distil.errors import InputError
from distil.interchange.episodes import BadEpisodeError
from distil.interchange.minari_actions import choose_actions

ARM = spaces.Dict(
    arm=spaces.Dict(turn=spaces.Box(-1, 2, (2,), np.float32), grip=spaces.Discrete(3, start=1)),
    speed=spaces.Box(-1, 1, (1,), np.float32),
)
DATA: dict[str, Any] = {
    "arm": {"turn": np.arange(6, dtype=np.float32).reshape(3, 2), "grip": np.array([1, 2, 3])},
    "speed": np.full((3, 1), 0.5, np.float32),
}


def test_parts_are_joined_in_the_users_order_with_their_bounds() -> None:
    actions = choose_actions(ARM, ("speed", "arm/turn", "arm/grip"), "made")
    leaf = actions.space.leaf
    assert (leaf.name, leaf.kind, leaf.shape, leaf.dtype) == ("action", "box", (4,), "float32")
    assert (leaf.low, leaf.high) == ((-1, -1, -1, 1), (1, 2, 2, 3))
    np.testing.assert_array_equal(actions.read(DATA), [[0.5, 0, 1, 1], [0.5, 2, 3, 2], [0.5, 4, 5, 3]])
    assert actions.shapes == {"speed": (1,), "arm/turn": (2,), "arm/grip": ()}
    with pytest.raises(BadEpisodeError, match="its actions don't have the space's keys"):
        actions.read({"arm": {}})


def test_one_part_stays_as_it_is() -> None:
    actions = choose_actions(ARM, ("arm/grip",), "made")
    assert (actions.space.leaf.kind, actions.space.leaf.nvec, actions.space.leaf.start) == ("discrete", (3,), 1)
    assert actions.read(DATA).tolist() == [1, 2, 3]


def test_parts_must_be_named_and_there() -> None:
    with pytest.raises(
        InputError, match=r"made: its actions are a Dict: choose and join its parts: action=\[arm/\w+,arm/\w+,speed\]"
    ):
        choose_actions(ARM, ("action",), "made")
    with pytest.raises(InputError, match=r"no key 'arm' .arm is a group"):
        choose_actions(ARM, ("arm",), "made")
    with pytest.raises(InputError, match=r"one array of actions; leave action=... out"):
        choose_actions(spaces.Discrete(2), ("turn",), "made")
    assert choose_actions(spaces.Discrete(2), ("action",), "made").read([0, 1]).tolist() == [0, 1]
