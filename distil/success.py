"""Success as the producers of data mean it, from the infos of an episode's steps. One rule for rollouts and importers.

`is_success`: the episode's last step counts, as Stable-Baselines3 and Gymnasium-Robotics have it. `success`: any step counts,
as MetaWorld has it. `is_success` goes first where an environment gives both. NaN is no success.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

SUCCESS_KEYS = ("is_success", "success")


class Success:
    """What the infos of an episode have said so far."""

    def __init__(self) -> None:
        self._last: bool | None = None  # the newest `is_success`
        self._any: bool | None = None  # of `success`

    def add(self, info: Mapping[str, Any]) -> None:
        """Take the infos of the next step."""
        if "is_success" in info and (said := flag(info["is_success"])) is not None:
            self._last = said
        if "success" in info and (said := flag(info["success"])) is not None:
            self._any = bool(self._any) or said

    @property
    def reached(self) -> bool | None:
        """Whether the episode, if it ends here, succeeded; None where its infos don't say."""
        return self._any if self._last is None else self._last


def success_of(infos: Sequence[Mapping[str, Any]]) -> bool | None:
    """Return whether an episode succeeded, None if its steps' infos don't say."""
    success = Success()
    for info in infos:
        success.add(info)
    return success.reached


def flag(value: Any) -> bool | None:
    """Return a foreign value as a flag: NaN is False, and what isn't one number or flag is None."""
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
