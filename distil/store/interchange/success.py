"""Success as the producers of data mean it, from the infos of an episode's steps."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

SUCCESS_KEYS = ("is_success", "success")


def success_of(infos: Sequence[Mapping[str, Any]]) -> bool | None:
    """Return whether an episode succeeded, None if its steps' infos don't say.

    `is_success`: its last step counts, as Stable-Baselines3 has it. `success`: any step counts, as MetaWorld has it.
    """
    found = {key: [value for info in infos if (value := flag(info.get(key))) is not None] for key in SUCCESS_KEYS}
    if found["is_success"]:
        return found["is_success"][-1]
    return any(found["success"]) if found["success"] else None


def flag(value: Any) -> bool | None:
    """Return a foreign value as a flag: NaN is False, and what isn't one number or flag is None."""
    try:
        array = np.asarray(value)
        if array.dtype.kind not in "biuf" or array.size != 1:
            return None
        number = array.reshape(-1)[0]
    except (TypeError, ValueError):
        return None
    return bool(number) and not (array.dtype.kind == "f" and bool(np.isnan(number)))
