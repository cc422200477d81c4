"""What the configurations of all experts have in common."""

from __future__ import annotations

from typing import Any

from distil.config import Config


class OneExpertConfig(Config):
    """Base of the configurations of single experts."""

    paid: bool = False  # each answer costs: it is asked for demonstrations and labels alone, not for the check and the scores


def identity(config: Config) -> dict[str, Any]:
    """Return what tells an expert's episodes and labels from those of others, as JSON data: all but what answers cost."""
    hidden = {"paid"} if isinstance(config, OneExpertConfig) else {"members": {"__all__": {"paid"}}}
    return config.model_dump(mode="json", exclude=hidden)
