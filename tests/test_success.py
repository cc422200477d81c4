from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from distil.success import flag, success_of


@pytest.mark.parametrize(
    ("infos", "success"),
    [
        ([], None),
        ([{}, {"other": 1}], None),
        ([{"success": 0.0}, {"success": 1.0}, {"success": 0.0}], True),  # MetaWorld's: any step
        ([{"is_success": False}, {"is_success": True}, {"is_success": False}], False),  # Stable-Baselines3's: the last one
        ([{"is_success": False}, {"is_success": True}, {}], True),
        ([{"success": float("nan")}] * 3, False),
        ([{"success": True, "is_success": False}], False),
        ([{"is_success": float("nan")}] * 5 + [{"is_success": 0.0}], False),  # NaN until the end
        ([{"is_success": True}, {"is_success": float("nan")}], False),
        ([{"success": "yes"}, {"success": [1, 1]}], None),
    ],
)
def test_the_rule_of_each_producer(infos: Any, success: bool | None) -> None:
    """CORRECTNESS 37: success as its producer defines it."""
    assert success_of(infos) is success


@pytest.mark.parametrize(
    ("value", "wanted"),
    [
        (np.bool_(True), True),
        (np.array([0.0]), False),
        (2, True),
        (np.nan, False),
        (np.float64(np.nan), False),
        (np.float64(1.0), True),
        (float("nan"), False),
        (1.0, True),
        (False, False),
        (None, None),
        ("x", None),
        ([[1], []], None),
    ],
)
def test_flags(value: Any, wanted: bool | None) -> None:
    assert flag(value) is wanted
