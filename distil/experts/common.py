"""The part that all experts' configurations share."""

from __future__ import annotations

from typing import Any

from distil.config import Config


class OneExpertConfig(Config):
    """Base of the configurations of single experts."""

    paid: bool = False  # queries cost money: ask only for demonstrations and labels, not for the check and the scores


def identity(config: Config) -> dict[str, Any]:
    """Return what identifies an expert's episodes and labels, as JSON data: all but `paid` and `trust`."""
    hidden = {"paid", "trust"} if isinstance(config, OneExpertConfig) else {"members": {"__all__": {"paid", "trust"}}}
    return config.model_dump(mode="json", exclude=hidden)
