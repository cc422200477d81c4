from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from distil.errors import InputError
from distil.interchange.flat import divide, nested_space


@pytest.mark.parametrize(
    ("options", "ends", "terminated", "truncated"),
    [
        ({}, [5], [0], [1]),
        ({"terminated": True}, [5], [1], [0]),
        ({"ends": [2, 5]}, [2, 5], [0, 0], [1, 1]),
        ({"ends": [2, 5], "terminated": [1, 0]}, [2, 5], [1, 0], [0, 1]),
        ({"ends": [2, 5], "terminated": [1, 0], "truncated": [0, 0]}, [2, 5], [1, 0], [0, 0]),
        ({"terminated": [0, 1, 0, 0, 1]}, [2, 5], [1, 1], [0, 0]),
        ({"terminated": [0, 1, 0, 0, 0], "truncated": [0, 0, 1, 0, 0]}, [2, 3, 5], [1, 0, 0], [0, 1, 1]),  # the last is cut
        ({"terminated": np.ones((5, 1)), "truncated": False}, [1, 2, 3, 4, 5], [1] * 5, [0] * 5),
    ],
)
def test_where_episodes_end_and_how(options: Any, ends: Any, terminated: Any, truncated: Any) -> None:
    """CORRECTNESS 1: terminated is not truncated."""
    found = divide(5, **options)
    assert found.ends.tolist() == ends
    assert found.terminated.tolist() == [bool(flag) for flag in terminated]
    assert found.truncated.tolist() == [bool(flag) for flag in truncated]


@pytest.mark.parametrize(
    ("options", "text"),
    [
        ({"ends": [2, 2, 5]}, "must increase; number 1 is 2 after 2"),
        ({"ends": [0, 5]}, "must increase; number 0 is 0 after 0"),
        ({"ends": [2, 4]}, "ends at 4, the actions at 5"),
        ({"ends": [2.5, 5.0]}, "whole numbers"),
        ({"ends": []}, "whole numbers"),
        ({"ends": [3, 5], "terminated": [0, 1, 0, 0, 0]}, "terminated is set at step 1, which isn't an episode's last one"),
        ({"ends": [3, 5], "truncated": [0, 1, 0]}, r"truncated has 3 flags; give one, 2 \(episodes\) or 5 \(steps\)"),
        ({"terminated": [0, 0.5, 0, 0, 0]}, "terminated is 0.5 at number 1, neither 0 nor 1"),
        ({"terminated": [float("nan")] * 5}, "terminated is nan at number 0"),
    ],
)
def test_contradictions_are_named(options: Any, text: str) -> None:
    with pytest.raises(InputError, match=f"data: .*{text}"):
        divide(5, **options, where="data")


def test_no_steps() -> None:
    with pytest.raises(InputError, match="data: it has no steps"):
        divide(0, where="data")


def test_the_space_of_nested_keys() -> None:
    about = ((2,), np.float32)
    space = nested_space({"a/x": about, "b": about, "a/y": about})
    assert space.tree == {"dict": {"a": {"dict": {"x": "obs/a/x", "y": "obs/a/y"}}, "b": "obs/b"}}
    assert [leaf.name for leaf in space.leaves] == ["obs/a/x", "obs/a/y", "obs/b"]
    assert nested_space({"": about}).tree == "obs"
    for bad in ({}, {"a": about, "a/x": about}, {"a/x": about, "a": about}):
        with pytest.raises(InputError, match=r"no observations|too; rename one"):
            nested_space(bad)
