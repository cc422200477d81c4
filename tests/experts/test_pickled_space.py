import pickle

import pytest
from gymnasium import spaces

from distil.errors import InputError
from distil.experts import pickles
from distil.experts.pickled_space import space_of


def read(value):
    return space_of(pickles.read(pickle.dumps(value), "x"), "x", "save it again")


def test_a_space_equals_the_pickled_one():
    space = spaces.Dict(a=spaces.Box(-1, 2, (3,)), b=spaces.Discrete(4, start=1))
    assert read(space) == space


def test_what_is_no_whole_space_is_refused():
    with pytest.raises(InputError, match=r"^x: a space of kind Text, which isn't supported; wrap the model"):
        read(spaces.Text(3))
    damaged = spaces.Box(-1, 1, (2,))
    del damaged.low
    with pytest.raises(InputError, match=r"^x: damaged: KeyError: 'low'; save it again"):
        read(damaged)
