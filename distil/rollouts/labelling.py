"""Labels for the states that a policy visited: complete episodes after the rollout, for experts that need observations only.

Legend: T steps of an episode.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import numpy as np

from distil.errors import RunError
from distil.experts.base import Expert, label
from distil.rollouts.loop import Finished
from distil.types import Episode, Labels

_MAX_PENDING = 16  # episodes of a worker that may wait for a served expert


class Labeller:
    """Labels each episode with one question. While a served expert answers, the worker continues with other episodes.

    A step for which the expert returns no valid action stays unlabelled.

    Args:
        expert: gives the labels; neither needs_env nor stateful.
        where: the environment's name, for errors.
    """

    def __init__(self, expert: Expert, where: str) -> None:
        self._expert, self._where = expert, where
        self._served: Any = expert if getattr(expert, "served", False) else None
        self._pending: deque[tuple[Finished, Any]] = deque()

    def put(self, finished: Finished) -> Iterator[Finished]:
        """Take an episode without labels; yield the episodes that are labelled by now, in the order of `put`.

        Raises:
            RunError: the expert raised; the message names the episode's seed.
        """
        episode = finished.episode
        assert episode is not None
        visited = {name: values[:-1] for name, values in episode.observations.items()}
        if self._served is None:
            try:
                labels = label(self._expert, visited)
            except Exception as error:  # the user's expert: any kind
                raise self._fault(error, episode) from error
            yield finished._replace(episode=_with(episode, labels))
            return
        self._pending.append((finished, self._served.submit(visited)))
        while self._pending and (len(self._pending) > _MAX_PENDING or self._served.is_ready(self._pending[0][1])):
            yield self._next()

    def flush(self, wait: bool = True) -> Iterator[Finished]:
        """Yield the episodes that wait for labels; without `wait`, drop those whose labels are not there yet."""
        while self._pending:
            if not wait and not self._served.is_ready(self._pending[0][1]):
                self._pending.clear()
                return
            yield self._next()

    def _next(self) -> Finished:
        finished, reference = self._pending.popleft()
        episode = finished.episode
        assert episode is not None
        try:
            labels = self._served.result(reference)
        except RunError as error:
            raise self._fault(error, episode) from error
        return finished._replace(episode=_with(episode, labels))

    def _fault(self, error: Exception, episode: Episode) -> RunError:
        name = self._expert.name
        text = str(error) if isinstance(error, RunError) else f"expert {name} raised {type(error).__name__}: {error}"
        return RunError(f"{' '.join(text.split())} (environment {self._where}, labelling the episode of seed {episode.seed})")


def _with(episode: Episode, labels: Labels) -> Episode:
    actions = labels.actions.astype(episode.actions.dtype, copy=False)
    actions[~labels.mask] = 0
    return replace(episode, expert_actions=actions, labelled=labels.mask.astype(np.uint8))
