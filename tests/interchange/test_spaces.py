import numpy as np
import pytest
from gymnasium import spaces

from distil.errors import InputError
from distil.interchange.spaces import action_of, gym_space, observation_of
from distil.spaces import action_spec, observation_spec

BOX = spaces.Box(np.array([-1, -np.inf], np.float32), np.array([2, np.inf], np.float32))


@pytest.mark.parametrize(
    "space",
    [
        BOX,
        spaces.Box(0, 255, (4, 4, 3), np.uint8),
        spaces.Box(-(2**63), 2**63 - 1, (2,), np.int64),
        spaces.Box(-1, 1, (), np.float64),
        spaces.Discrete(4, start=-2),
        spaces.MultiDiscrete([[2, 3], [4, 5]]),
        spaces.MultiBinary(3),
        spaces.MultiBinary([2, 3]),
        spaces.Dict(z=BOX, a=spaces.Tuple([spaces.Discrete(2), spaces.Dict(q=BOX)])),
    ],
)
def test_a_space_comes_back(space: spaces.Space[object]) -> None:
    spec = observation_spec(space)
    assert observation_spec(gym_space(spec)) == spec
    if not isinstance(space, spaces.Box) or space.dtype != np.int64:  # float64 rounds the widest bounds
        assert gym_space(spec) == space


def test_observations_without_a_space() -> None:
    spec = observation_of({"img": ((4, 4, 3), "u1"), "x": ((), ">f4"), "on": ((2,), bool)})
    assert spec.tree == {"dict": {"img": "obs/img", "x": "obs/x", "on": "obs/on"}}
    assert [(leaf.kind, leaf.shape, leaf.dtype) for leaf in spec.leaves] == [
        ("box", (4, 4, 3), "uint8"),
        ("box", (1,), "float32"),
        ("multi_binary", (2,), "int8"),
    ]
    assert spec.leaves[0].is_image
    with pytest.raises(InputError, match="text: <U3 isn't numbers"):
        observation_of({"text": ((), "U3")})
    with pytest.raises(InputError, match="no observations chosen"):
        observation_of({})


def test_actions_without_a_space() -> None:
    def described(*arrays: object) -> str:
        return action_of([np.asarray(array) for array in arrays]).describe()

    assert described([[0.5, 1.0]]) == "Box(2) float64"
    assert described([0, 1], [3, 0]) == "Discrete(4)"
    assert described([[0], [0]]) == "Discrete(2)"
    assert described([[0, 5], [1, 2]]) == "MultiDiscrete(2, 6)"
    assert described([[0, -5]]) == "Box(2) int64"
    assert described([[0, 10**6]]) == "Box(2) int64"
    assert described(np.array([True, False])) == "Discrete(2)"
    assert action_of([np.array([0, 2])]) == action_spec(spaces.Discrete(3))
    with pytest.raises(InputError, match="no episodes"):
        action_of([])
