"""`weights:` a configuration that gives the episodes of snapshots their weights, see `distil.store.weights`."""

from __future__ import annotations

import numpy as np
from pydantic import Field

from distil.config import Config
from distil.store.snapshot import Snapshot
from distil.store.weights import Weights


class WeightConfig(Config):
    """`weights:` how much the episodes of a round, and the expert's interventions, count in the loss.

    Only ratios matter: the loss is the weighted mean. The held-out loss and the observations' statistics know no weights.
    """

    round_decay: float = Field(default=1.0, gt=0, le=1)  # an episode of k rounds before the newest one weighs decay^k
    intervention: float = Field(default=1.0, gt=0, le=1e6)  # factor of steps at which the expert took over from the policy

    @property
    def is_even(self) -> bool:
        """Whether everything counts alike."""
        return self.round_decay == self.intervention == 1

    def apply(self, *parts: Snapshot) -> tuple[Snapshot, ...]:
        """Return views of all `parts` that carry these weights, times those that they have; the parts as they are if even.

        The newest round is that of all parts together: rounds of several stores are taken to count the same run.
        """
        if self.is_even:
            return parts
        newest = max((int(part.episodes.round.max(initial=0)) for part in parts), default=0)
        return tuple(self._apply(part, newest) for part in parts)

    def _apply(self, part: Snapshot, newest: int) -> Snapshot:
        known = part.weights or Weights(episode=np.ones(part.num_episodes, np.float32))
        decayed = np.float64(self.round_decay) ** (newest - part.episodes.round)
        return part.weighted(known.episode * decayed, known.intervention * self.intervention)
