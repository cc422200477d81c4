"""What every algorithm is: a pure function from the last report to the next round."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

from distil.plans import Round, RoundReport


@dataclass(frozen=True, kw_only=True)
class Budget:
    """What the run's configuration grants an algorithm. Counts; None: whatever there is."""

    num_demonstrations: int | None  # None: train on the store as it is, collect nothing
    num_steps: int
    num_evaluation_episodes: int
    baselines: bool = True
    has_expert: bool = True
    may_check: bool = True  # whether the expert may be asked for episodes on which it proves itself
    max_episode_steps: int | None = None  # None: an episode has no known limit


class Algorithm(Protocol):
    """Decides the rounds of a run. Pure: equal reports give equal rounds, so a resumed run takes the same way."""

    def next_round(self, last: RoundReport | None) -> Round | None:
        """Return the round after `last` (None: nothing is done yet), or None when the run is finished."""
