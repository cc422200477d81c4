"""What ends a run before its last round: budgets, time, and a score that is reached for certain."""

from __future__ import annotations

from pydantic import Field

from distil.config import Config
from distil.plans import ConfirmPlan, RoundReport


class TargetConfig(Config):
    """What ends a run before its last round: time, and a score that is reached for certain.

    `normalised` ends a run when its policy's true score is at least that, with the stated confidence. A good mean over a
    round's few tuning episodes does not show this: it starts a second look, at `confirm_episodes` tuning episodes of the
    policy, the expert and the random policy. The run ends if a lower bound of the score from these episodes reaches
    `normalised`, too. It may look again after each later round: look k is wrong with a chance of at most (1 - `confidence`)
    / (k (k + 1)), and the chances of all looks add up to 1 - `confidence`. They hold for normal returns. Where a tenth of
    the episodes fails completely and the score is only just below `normalised`, a run stops too early about twice as often.
    """

    wall_s: float | None = Field(default=None, gt=0)  # looked at between rounds
    normalised: float | None = None  # the score to reach, 0: random policy, 1: expert
    confidence: float = Field(default=0.95, ge=0.5, lt=1)  # that a run which stops on its score has reached it
    confirm_episodes: int = Field(default=100, ge=2)
    """Episodes of a second look. A policy as good as the expert is shown to reach 0.9 by 60 if its returns hardly vary, by
    200 if their standard deviation is 0.3 of the scale; 0.95 takes two to four times as many. With too few, no run ends by
    its score."""

    def confirmation(self, num_looks: int) -> ConfirmPlan | None:
        """Return the next second look, after `num_looks` earlier ones; None: no score ends the run."""
        if self.normalised is None:
            return None
        chance = (1 - self.confidence) / ((num_looks + 1) * (num_looks + 2))
        return ConfirmPlan(
            target=self.normalised, num_episodes=self.confirm_episodes, confidence=1 - chance, num_before=num_looks
        )

    def is_reached(self, last: RoundReport) -> bool:
        """Return whether time is up, or the round's second look has confirmed the score."""
        return (self.wall_s is not None and last.spent.wall_s >= self.wall_s) or (
            self.normalised is not None and last.score_low is not None and last.score_low >= self.normalised
        )


class StopConfig(TargetConfig):
    """`algorithm.stop:` of algorithms that collect demonstrations. Budgets of steps and labels are never exceeded."""

    env_steps: int | None = Field(default=None, ge=1)
    expert_labels: int | None = Field(default=None, ge=1)


class PeekConfig(TargetConfig):
    """`algorithm.stop:` of algorithms that never read the environment's reward, unless they may peek at it to stop."""

    peek: bool = False  # a score is made of the environment's reward: allow it to end the run
