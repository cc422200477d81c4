"""A sweep in three steps: prepare once, search with one seed for each configuration, confirm the best with fresh seeds.

What the sweep's journal says is durable: a sweep that was killed continues from there, and its unfinished trials from their own
runs' journals.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from distil.recorded import NOTE
from distil.report import table
from distil.seeding import Purpose
from distil.session import Session
from distil.sweep.config import SweepConfig
from distil.sweep.families import Metric, families, metric_of
from distil.sweep.prepare import check
from distil.sweep.ranking import Confirmed, front, front_text, searched, verdict
from distil.sweep.search import check_searcher, num_trials
from distil.sweep.stage import Stage
from distil.sweep.state import SweepDir, Trial
from distil.tracking import grouped
from distil.types import Progress, say, silent


@dataclass(frozen=True, kw_only=True)
class SweepResult:
    """What a sweep found."""

    folder: Path
    metric: str
    trials: Sequence[Trial]
    confirmed: Sequence[Confirmed]  # best first
    front: Sequence[Confirmed]  # the Pareto front of score and labels; empty if labels are no objective
    verdict: str
    wall_s: float

    def to_json(self) -> dict[str, Any]:
        """Return it as JSON data."""
        trials = [
            {"name": t.name, "family": t.family, "values": t.values, "score": t.score, "ended": t.ended, "fault": t.fault}
            for t in self.trials
            if t.of is None
        ]
        return {
            "sweep": str(self.folder),
            "metric": self.metric,
            "verdict": self.verdict,
            "front": [one.trial for one in self.front],
            "confirmed": [one.to_json() for one in self.confirmed],
            "trials": trials,
            "wall_s": self.wall_s,
        }

    def text(self) -> str:
        """Return the ranking as a table, with the verdict and where everything is."""
        searched = [trial for trial in self.trials if trial.of is None]
        counts = {how: sum(trial.ended == how for trial in searched) for how in ("done", "stopped", "failed")}
        rows = [self._row(one) for one in self.confirmed]
        if not any(row["own steps"] for row in rows):
            rows = [{key: value for key, value in row.items() if key != "own steps"} for row in rows]
        right = ("mean", "95 % interval", "in the search")
        ranking = table(rows, f"{Metric.of(self.metric).held_out} of fresh seeds", numeric=right) if rows else ""
        done = ", ".join(f"{num} {how}" for how, num in counts.items() if num)
        lines = ["", self.verdict, *([front_text(self.front)] if self.front else []), ""]
        lines += [
            f"  {one.trial}: {', '.join(f'{key}={_short(value)}' for key, value in one.values.items())}"
            for one in self.confirmed
        ]
        lines += ["", f"{len(searched)} trials ({done}) in {self.wall_s:.0f} s: {self.folder}. Next:"]
        lines.append(f"  distil compare {self.folder}    a verdict, and a page with all runs")
        if self.confirmed:
            lines.append(f"  distil register {self.confirmed[0].best_run}    the best policy, in MLflow's model registry")
        return ranking + "\n".join(lines)

    def _row(self, one: Confirmed) -> dict[str, str | float | None]:
        row: dict[str, str | float | None] = {
            "configuration": one.trial,
            "mean": f"{one.mean:.3f}",
            "95 % interval": "" if one.interval is None else f"{one.interval[0]:.3f} to {one.interval[1]:.3f}",
            "seeds": len(one.scores),
            "labels": round(one.labels),
            "own steps": round(one.spent.get("agent_steps", 0)) or None,
            "in the search": f"{one.searched:.3f}",
        }
        return row | ({"front": "yes" if one in self.front else None} if self.front else {})


def _short(value: Any) -> str:
    return f"{value:.4g}" if isinstance(value, float) else str(value)


def run_sweep(sweep: SweepConfig, *, resume: bool = False, progress: Progress = silent) -> SweepResult:
    """Carry out a sweep, or what is left of it.

    Args:
        sweep: the configuration; with `resume`, that of the folder.
        resume: continue the sweep in its folder; it is started if there is none. A process that runs it stops first.
        progress: told of trials as they end, and shown notes.

    Raises:
        InputError: something in it is wrong; nothing has started then. Or another process runs it, without `resume`.
        SupersededError: a newer attempt has taken the sweep over.
        RunError: the environment, the expert, Ray Tune or the disk failed. What was committed is kept.
    """
    started = time.perf_counter()
    found = families(sweep)
    check_searcher(sweep)
    folder = SweepDir(sweep.folder)
    with Session(found[0].config, progress) as session:
        check(sweep, found, session)
        for family in found:
            session.require_shared(family.config, elsewhere=True)
        metric = metric_of(sweep, found, has_successes=_reports_success(sweep, session))
        first, name = found[0].config, f"sweep: {sweep.name}"
        first.tracking.check(first.name)
        if not (resume and folder.is_sweep):
            folder = SweepDir.create(sweep)
        folder.require_same(sweep)
        about = {"families": list(sweep.families), "trials": {family.name: num_trials(sweep, family.space) for family in found}}
        with (
            folder.lock(take=resume, note=partial(say, progress)) as held,
            grouped(first.tracking, first.name, folder.path, name, params=about, progress=progress, check=held.check) as group,
        ):
            stage = Stage(sweep, found, folder, session, metric, group.parent, held.attempt.number)
            stage.search()
            confirmed = stage.confirm()
            trials = list(folder.trials().values())
            result = SweepResult(
                folder=folder.path,
                metric=stage.metric.name,
                trials=trials,
                confirmed=confirmed,
                front=front(confirmed) if sweep.by_labels else (),
                verdict=verdict(confirmed) if confirmed else searched(trials),
                wall_s=time.perf_counter() - started,
            )
            held.check()
            folder.finish(result.to_json())
            group.tags[NOTE] = result.verdict
    return result


def _reports_success(sweep: SweepConfig, session: Session) -> bool:
    """Return whether an episode says if it was a success; it is only run where that matters."""
    if sweep.metric != "tune/success_rate":
        return False
    return session.evaluate("random", 1, purpose=Purpose.TUNE).successes is not None
