"""What a finished run reached, as `distil train` prints it: the table of `distil evaluate`, and what it cost."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping

    from distil.api import Run
    from distil.report import Score

_SPENT = {
    "demonstrations": "demonstrations",
    "expert_labels": "labels",
    "env_steps": "environment steps",
    "gradient_steps": "gradient steps",
}
_LOSSES = ("train/loss", "train/validation_loss")


def result_text(run: Run) -> str:
    """Return the scores on the held-out episodes, what the run spent, and its last losses."""
    from distil.console import duration, number
    from distil.report import score_table

    metrics = run.metrics
    parts = []
    if scores := _scores(metrics):
        parts.append(score_table(scores, f"{run.config.evaluation.episodes} held-out episodes"))
    if (success := metrics.get("eval/success_rate")) is not None:
        parts.append(f"successful: {100 * success:.0f} % of the policy's episodes")
    spent = [f"{metrics[f'budget/{key}']:,.0f} {name}" for key, name in _SPENT.items() if metrics.get(f"budget/{key}")]
    if "budget/wall_s" in metrics:
        spent.append(duration(metrics["budget/wall_s"]))
    parts.append(f"spent: {', '.join(spent) or 'nothing'}")
    losses = [
        f"{name.removeprefix('train/').replace('_', ' ')}: {number(metrics[name])}" for name in _LOSSES if name in metrics
    ]
    return "\n".join([*parts, *losses])


def _scores(metrics: Mapping[str, float]) -> list[Score]:
    """Return the rows of policy, expert and random policy; none if the run was not evaluated."""
    from distil.report import Score

    if "eval/return_mean" not in metrics:
        return []
    policy = Score(
        name="policy",
        mean=metrics["eval/return_mean"],
        low=metrics.get("eval/return_ci_low"),
        high=metrics.get("eval/return_ci_high"),
        normalised=metrics.get("eval/normalised"),
    )
    levels = {name: metrics.get(f"eval/{name}_return_mean") for name in ("expert", "random")}
    return [policy] + [
        Score(name=name, mean=mean, low=None, high=None, normalised=float(name == "expert"))
        for name, mean in levels.items()
        if mean is not None
    ]
