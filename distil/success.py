"""Success of an episode, from the infos of its steps. Rollouts and importers use the same rule.

`is_success`: the last step decides, as in Stable-Baselines3 and Gymnasium-Robotics. `success`: one successful step is enough,
as in MetaWorld. `is_success` takes precedence where an environment gives both. NaN is not a success.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

SUCCESS_KEYS = ("is_success", "success")


class Success:
    """Success according to the infos seen so far in one episode."""

    def __init__(self) -> None:
        self._last: bool | None = None  # the latest `is_success`
        self._any: bool | None = None  # whether any `success` was true

    def add(self, info: Mapping[str, Any]) -> None:
        """Add the infos of the next step."""
        if "is_success" in info and (said := flag(info["is_success"])) is not None:
            self._last = said
        if "success" in info and (said := flag(info["success"])) is not None:
            self._any = bool(self._any) or said

    @property
    def reached(self) -> bool | None:
        """Whether the episode succeeded if it ends here; None if its infos do not say."""
        return self._any if self._last is None else self._last


def success_of(infos: Sequence[Mapping[str, Any]]) -> bool | None:
    """Return whether an episode succeeded; None if its infos do not say."""
    success = Success()
    for info in infos:
        success.add(info)
    return success.reached


def flag(value: Any) -> bool | None:
    """Return a foreign value as a flag: NaN is False; anything but a single number or flag is None."""
    if isinstance(value, bool | int | float):
        return bool(value == value and value)  # NaN is not equal to itself; value may be numpy's
    try:
        array = np.asarray(value)
        if array.dtype.kind not in "biuf" or array.size != 1:
            return None
        number = array.reshape(-1)[0]
    except (TypeError, ValueError):
        return None
    return bool(number) and not (array.dtype.kind == "f" and bool(np.isnan(number)))
