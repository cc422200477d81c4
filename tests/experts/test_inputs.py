import numpy as np
from gymnasium import spaces

from distil.experts.inputs import Statistics, encode, width
from distil.spaces import observation_spec


def test_leaves_fill_the_columns_in_turn():
    space = spaces.Dict(
        a=spaces.Box(-1, 1, (2,)), b=spaces.Discrete(3), c=spaces.MultiDiscrete([2, 2]), d=spaces.MultiBinary(2)
    )
    values = {"obs/a": [[3, 5]], "obs/b": [2], "obs/c": [[1, 0]], "obs/d": [[1, 0]]}
    statistics = Statistics(mean={"obs/a": np.array([1.0, 1.0])}, scale={"obs/a": np.array([2.0, 0.1])}, clip=10)
    inputs = np.full((1, 11), np.nan, np.float32)
    column = 0
    for leaf in observation_spec(space).leaves:
        end = encode(leaf, np.array(values[leaf.name]), inputs, column, statistics)
        assert end - column == width(leaf)
        column = end
    np.testing.assert_allclose(inputs, [[1, 10, 0, 0, 1, 0, 1, 1, 0, 1, 0]])
