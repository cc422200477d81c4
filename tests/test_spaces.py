import json

import gymnasium as gym
import numpy as np
import pytest
from gymnasium import spaces
from hypothesis import given, settings
from hypothesis import strategies as st

from distil.errors import InputError
from distil.spaces import action_spec, difference, observation_spec, space_from_json, stack

LEAVES = st.one_of(
    st.builds(lambda n, hi: spaces.Box(-hi, hi, (n,), np.float32), st.integers(1, 4), st.sampled_from([1.0, np.inf])),
    st.builds(lambda h, w: spaces.Box(0, 255, (h, w, 3), np.uint8), st.integers(1, 4), st.integers(1, 4)),
    st.builds(lambda n, start: spaces.Discrete(n, start=start), st.integers(1, 9), st.integers(-3, 3)),
    st.builds(lambda n: spaces.MultiDiscrete(n), st.lists(st.integers(1, 5), min_size=1, max_size=4)),
    st.builds(lambda n: spaces.MultiBinary(n), st.integers(1, 5)),
)
SPACES = st.recursive(
    LEAVES,
    lambda sub: st.one_of(
        st.dictionaries(st.sampled_from(["a", "b", "c"]), sub, min_size=1, max_size=3).map(spaces.Dict),
        st.lists(sub, min_size=1, max_size=3).map(lambda parts: spaces.Tuple(parts)),
    ),
    max_leaves=6,
)


@given(SPACES, st.integers(0, 10**6))
@settings(max_examples=60)
def test_any_nesting_round_trips(space, seed):
    spec = observation_spec(space)
    assert space_from_json(json.loads(json.dumps(spec.to_json()))) == spec
    space.seed(seed)
    value = space.sample()
    leaves = spec.flatten(value)
    assert list(leaves) == [leaf.name for leaf in spec.leaves]
    for leaf in spec.leaves:
        assert leaves[leaf.name].shape == leaf.shape
        assert leaves[leaf.name].dtype == leaf.dtype
    assert spec.flatten(spec.unflatten(leaves)).keys() == leaves.keys()
    for name, array in spec.flatten(spec.unflatten(leaves)).items():
        np.testing.assert_array_equal(array, leaves[name])
    assert all(array.shape[0] == 2 for array in stack([leaves, leaves]).values())


def test_names_follow_the_tree():
    space = spaces.Dict(
        image=spaces.Box(0, 255, (4, 4), np.uint8), state=spaces.Tuple((spaces.Discrete(3), spaces.MultiBinary(2)))
    )
    spec = observation_spec(space)
    assert [leaf.name for leaf in spec.leaves] == ["obs/image", "obs/state/0", "obs/state/1"]
    assert [leaf.is_image for leaf in spec.leaves] == [True, False, False]
    stacks = {(4, 9, 9, 3): True, (4, 3, 9, 9): True, (9,): False, (2, 4, 9, 9, 3): False}
    for shape, is_image in stacks.items():
        assert observation_spec(spaces.Box(0, 255, shape, np.uint8)).leaf.is_image is is_image
    assert observation_spec(spaces.Discrete(2)).tree == "obs"


@pytest.mark.parametrize(
    ("shape", "dtype", "wanted"),
    [
        ((8, 9, 3), np.float32, True),
        ((3, 8, 9), np.float64, True),
        ((4, 8, 9, 3), np.float32, True),
        ((2, 3, 16, 16), np.float16, True),
        ((8, 9, 3), np.uint8, False),
        ((8, 9), np.float32, False),
        ((7, 9, 3), np.float32, False),
        ((8, 8, 8), np.float32, False),
        ((3,), np.float32, False),
    ],
)
def test_float_images_are_recognised(shape, dtype, wanted):
    assert observation_spec(spaces.Box(0, 1 if dtype != np.uint8 else 255, shape, dtype)).leaf.looks_like_float_image is wanted


@pytest.mark.parametrize(("low", "high"), [(0, [1, 2]), ([-2, -1], 5), ([0, 1], [2, 3]), (-1, 1)])
def test_one_bound_may_be_uniform_and_the_other_not(low, high):
    box = spaces.Box(np.broadcast_to(np.float32(low), 2), np.broadcast_to(np.float32(high), 2))
    bounds = space_from_json(json.loads(json.dumps(action_spec(box).to_json()))).leaf.bounds()
    np.testing.assert_array_equal(bounds, [box.low, box.high])


def test_bounds_keep_each_dimension():
    low, high = np.array([-1, -2], np.float32), np.array([1, np.inf], np.float32)
    leaf = action_spec(spaces.Box(low, high)).leaf
    np.testing.assert_array_equal(leaf.bounds()[0], low)
    np.testing.assert_array_equal(leaf.bounds()[1], high)
    low, high = action_spec(spaces.Box(-1, 1, (2, 3))).leaf.bounds()
    assert low.shape == high.shape == (2, 3)


def test_describe_names_what_differs():
    assert observation_spec(spaces.Box(-1, 1, (8,), np.float32)).describe() == "Box(8) float32"
    assert action_spec(spaces.Discrete(4)).describe() == "Discrete(4)"
    both = observation_spec(spaces.Dict(a=spaces.Discrete(2), b=spaces.MultiBinary(2)))
    assert both.describe() == "obs/a: Discrete(2), obs/b: MultiBinary(2)"
    assert action_spec(spaces.MultiBinary((4, 3))).describe() == "MultiBinary(4, 3)"
    assert action_spec(spaces.MultiDiscrete([2, 3])).describe() == "MultiDiscrete(2, 3)"
    assert action_spec(spaces.MultiDiscrete([[2, 3], [4, 5]])).describe() == "MultiDiscrete([[2, 3], [4, 5]])"


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda: observation_spec(spaces.Dict(a=spaces.Dict(b=spaces.Text(3)))), "obs/a/b: space Text"),
        (lambda: observation_spec(spaces.Dict()), "empty"),
        (lambda: observation_spec(spaces.Graph(spaces.Discrete(2), None)), "obs: space Graph"),
        (lambda: action_spec(spaces.Dict(a=spaces.Discrete(2))), "flatten it"),
        (lambda: action_spec(spaces.MultiDiscrete([2, 2], start=[1, 0])), "start"),
    ],
)
def test_unsupported_spaces_say_so_by_name(make, words):
    with pytest.raises(InputError, match=words):
        make()


def test_registered_environments_are_described():
    for name in ("CartPole-v1", "Pendulum-v1", "Blackjack-v1", "FrozenLake-v1"):
        env = gym.make(name)
        observation, action = env.observation_space.sample(), env.action_space.sample()
        assert set(observation_spec(env.observation_space).flatten(observation)) == {
            leaf.name for leaf in observation_spec(env.observation_space).leaves
        }
        assert action_spec(env.action_space).flatten(action)["action"].shape == env.action_space.shape
        env.close()


BOX = spaces.Box(-1, 1, (3,), np.float32)
IMAGE = spaces.Box(0, 255, (4, 4, 3), np.uint8)
DIM = spaces.Box(IMAGE.low, np.where(np.arange(48).reshape(4, 4, 3) == 21, 7, IMAGE.high), dtype=np.uint8)


@pytest.mark.parametrize(
    ("ours", "theirs", "text"),
    [
        (spaces.Box(-np.inf, np.inf, (3,), np.float32), BOX, "obs low is -inf in the data, -1 in the environment"),
        (BOX, spaces.Box(-1, np.array([1, 2, 3], np.float32)), "obs high is 1 in the data, (1, 2, 3) in the environment"),
        (DIM, IMAGE, "obs high[1, 3, 0] is 7 in the data, 255 in the environment"),
        (BOX, spaces.Box(-1, 1, (3,), np.float64), "obs dtype is float32 in the data, float64 in the environment"),
        (BOX, spaces.Box(-1, 1, (3, 1), np.float32), "obs shape is 3 in the data, (3, 1) in the environment"),
        (BOX, spaces.Discrete(3), "obs kind is box in the data, discrete in the environment"),
        (spaces.Discrete(3, start=1), spaces.Discrete(3), "obs start is 1 in the data, 0 in the environment"),
        (spaces.Discrete(3), spaces.Discrete(4), "obs nvec is 3 in the data, 4 in the environment"),
        (spaces.Dict(a=BOX, b=BOX), spaces.Dict(a=BOX), "obs/b is only in the data"),
        (spaces.Dict(a=BOX), spaces.Dict(a=BOX, b=BOX, c=BOX), "obs/b, obs/c are only in the environment"),
        (
            spaces.Dict({"0": BOX}),
            spaces.Tuple((BOX,)),
            "the keys are ordered or nested as {'dict': {'0': 'obs/0'}} in the data",
        ),
        (spaces.Dict(a=BOX), spaces.Dict(a=BOX), ""),
    ],
    ids=lambda value: "" if isinstance(value, spaces.Space) else value,
)
def test_the_difference_of_two_spaces_is_named(ours: spaces.Space, theirs: spaces.Space, text: str) -> None:
    found = difference(observation_spec(ours), observation_spec(theirs), ("the data", "the environment"))
    assert found.startswith(text)
    assert bool(found) == bool(text)
