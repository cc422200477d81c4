"""The spaces that a model was trained on: pickles of Gym's or Gymnasium's classes in its settings, read as data."""

from __future__ import annotations

import base64
import binascii
from collections.abc import Mapping
from typing import Any

from gymnasium import spaces

from distil.errors import InputError
from distil.experts import pickles
from distil.experts.pickled_space import space_of


def read_space(entry: Any, where: str) -> spaces.Space[Any]:
    """Return the space of a model's `observation_space` or `action_space`.

    Args:
        entry: the entry of the settings.
        where: the name used in errors.

    Raises:
        InputError: the entry is missing, damaged, or a class of another package.
    """
    again = "save the model again with Stable-Baselines3"
    if not isinstance(entry, Mapping) or not isinstance(entry.get(":serialized:"), str):
        raise InputError(f"{where}: is missing; {again}")
    try:
        data = base64.b64decode(entry[":serialized:"], validate=True)
    except binascii.Error as error:
        raise InputError(f"{where}: damaged: {error}; copy the file again") from None
    return space_of(pickles.read(data, where), where, again)
