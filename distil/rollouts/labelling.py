"""Labels for what a policy visited: whole episodes at once after the rollout, where the expert needs nothing but observations.

Legend: T steps of an episode.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from distil.errors import RunError
from distil.experts.base import Expert, label
from distil.types import Episode


def label_episode(episode: Episode, expert: Expert, where: str) -> Episode:
    """Return `episode` with the expert's action at each of its T visited states, from one call of the expert.

    A step that the expert leaves out, or answers with what is no action, stays unlabelled.

    Args:
        episode: without labels.
        expert: who is asked; neither needs_env nor stateful.
        where: the environment's name, for errors.

    Raises:
        RunError: the expert raised; it names the episode's seed.
    """
    visited = {name: values[:-1] for name, values in episode.observations.items()}
    try:
        labels = label(expert, visited)
    except Exception as error:  # the user's expert: any kind
        text = str(error) if isinstance(error, RunError) else f"expert {expert.name} raised {type(error).__name__}: {error}"
        raise RunError(
            f"{' '.join(text.split())} (environment {where}, labelling the episode of seed {episode.seed})"
        ) from error
    actions = labels.actions.astype(episode.actions.dtype, copy=False)
    actions[~labels.mask] = 0
    return replace(episode, expert_actions=actions, labelled=labels.mask.astype(np.uint8))
