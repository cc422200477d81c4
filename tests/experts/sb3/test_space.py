import base64
import pickle

import numpy as np
import pytest
from gymnasium import spaces

from distil.errors import InputError
from distil.experts.sb3.space import read_space

BOX = spaces.Box(np.array([-2, 0], np.float32), np.array([2, np.inf], np.float32))


def entry(data):
    return {":type:": "x", ":serialized:": base64.b64encode(data).decode()}


@pytest.mark.parametrize(
    "space",
    [
        BOX,
        spaces.Box(0, 255, (4, 4, 3), np.uint8),
        spaces.Discrete(3),
        spaces.Discrete(3, start=-1),
        spaces.MultiDiscrete([2, 5]),
        spaces.MultiBinary(4),
        spaces.MultiBinary((2, 3)),
        spaces.Dict([("z", BOX), ("a", spaces.Discrete(2))]),
    ],
    ids=repr,
)
@pytest.mark.parametrize("protocol", [2, 4, 5])
def test_spaces_pickled_by_gymnasium_are_read(space, protocol):
    for seeded in (False, True):
        if seeded:
            space.seed(0)  # the random generator is pickled too
        read = read_space(entry(pickle.dumps(space, protocol)), "x")
        assert read == space
        if isinstance(space, spaces.Dict):
            assert list(read.spaces) == ["z", "a"]


def test_other_spaces_are_refused():
    for value, fault in (
        (1, "a space of kind int, which isn't one of Gymnasium's"),
        (spaces.Text(3), "a space of kind Text, which isn't supported"),
        (spaces.Dict(a=spaces.Dict(b=BOX)), "a nested Dict"),
        (open, r"refused, it asks for \w+.open"),
    ):
        with pytest.raises(InputError, match=rf"^x: .*{fault}"):
            read_space(entry(pickle.dumps(value, 4)), "x")
    for value in (None, {}, {":serialized:": 3}):
        with pytest.raises(InputError, match=r"^x: is missing; save the model again"):
            read_space(value, "x")
    with pytest.raises(InputError, match=r"^x: damaged"):
        read_space({":serialized:": "?"}, "x")


def test_sizes_are_checked_before_anything_is_allocated():
    program = b"cgymnasium.spaces.multi_binary\nMultiBinary\n)\x81}(S'n'\nI10000000000\nub."
    with pytest.raises(InputError, match=r"a MultiBinary of \(?\[?10000000000"):
        read_space(entry(program), "x")
    for state in (b"", b"S'low'\nI1\n", b"S'n'\nS'x'\n"):
        for name in (
            "box\nBox",
            "dict\nDict",
            "discrete\nDiscrete",
            "multi_binary\nMultiBinary",
            "multi_discrete\nMultiDiscrete",
        ):
            with pytest.raises(InputError, match=r"^x: damaged|^x: .* in place of an array"):
                read_space(entry(f"cgymnasium.spaces.{name}\n".encode() + b")\x81}(" + state + b"ub."), "x")
