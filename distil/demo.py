"""The main job, end to end, on LunarLander: how a clone's score grows with the number of demonstrations.

One scripted expert fills one store; three clones learn from nested subsets of it; expert, random and clones are measured on
the same held-out episodes; table, plot and video show what came out.
"""

from __future__ import annotations

import shutil
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from distil import api
from distil.plans import CollectPlan
from distil.report import Score, plot_scores, score_table, text
from distil.runconfig import RunConfig, load_config
from distil.session import Session
from distil.types import Progress, silent

RECIPE = "lunarlander-bc"
DEMONSTRATIONS = (2, 20, 200)


@dataclass(frozen=True, kw_only=True)
class DemoResult:
    """What the demo measured and wrote."""

    scores: Sequence[Score]
    plot: Path
    video: Path
    best: Path  # the run of the best policy
    wall_s: float

    def to_json(self) -> dict[str, Any]:
        """Return it as JSON data."""
        files = {"plot": str(self.plot), "video": str(self.video), "best": str(self.best)}
        return {"scores": [asdict(score) for score in self.scores], "wall_s": self.wall_s} | files

    def text(self) -> str:
        """Return the table, the files, and what to do next."""
        table = text(score_table(self.scores, "LunarLander-v3: an expert and its clones on 50 held-out episodes"))
        return (
            f"{table}\nplot   {self.plot}\nvideo  {self.video}\n\n"
            f"{self.wall_s:.0f} seconds. Next:\n"
            f"  distil ui                                            compare the runs in MLflow\n"
            f"  distil train {RECIPE} learner.num_steps=20000   train longer, or change any other key\n"
        )


def run_demo(
    out: Path,
    *,
    seed: int = 0,
    demonstrations: Sequence[int] = DEMONSTRATIONS,
    overrides: api.Overrides | None = None,
    progress: Progress = silent,
) -> DemoResult:
    """Run the demo into the folder `out`.

    Args:
        out: gets the store, the runs, the plot and the video.
        seed: root seed of demonstrations and learning.
        demonstrations: number of episodes that each clone learns from.
        overrides: of the recipe's keys.
        progress: told of the work's progress.
    """
    started = time.perf_counter()
    common = {
        "seed": seed,
        "data.path": str(out / "demos"),
        "data.episodes": max(demonstrations),
        "runs": str(out / "runs"),
        "tracking.experiment": "distil-demo",
        "evaluation.video": True,
        **(overrides or {}),
    }
    config = load_config(RECIPE, common)
    with Session(config, progress) as session:
        store = session.store(config)
        session.collector(config, store).collect(CollectPlan(num_episodes=max(demonstrations)))
        num = config.evaluation.episodes
        baselines = session.baselines(num)
        runs = {}
        for number in demonstrations:
            name = f"lunarlander-bc-{number}"
            runs[number] = api.train(RECIPE, common | {"name": name, "data.episodes": number}, session=session)
        levels = {who: api.score_of(who, session.score(who, num), baselines) for who in ("random", "expert")}
    clones = [_score(number, run) for number, run in runs.items()]
    best = max(runs.values(), key=lambda run: run.metrics["eval/return_mean"])
    plot = plot_scores(
        {"behavioural cloning": clones},
        out / "score.png",
        expert=levels["expert"],
        random=levels["random"],
        title=f"{session.spec.name}: score against demonstrations",
        subtitle=f"mean return over {num} held-out episodes with its 95 % interval, one training run each",
    )
    video = Path(shutil.copyfile(best.path / "video.mp4", out / "best.mp4"))
    _track(config, plot, video, clones)
    return DemoResult(
        scores=[levels["random"], levels["expert"], *clones],
        plot=plot,
        video=video,
        best=best.path,
        wall_s=time.perf_counter() - started,
    )


def _track(config: RunConfig, plot: Path, video: Path, clones: Sequence[Score]) -> None:
    """Put the comparison into MLflow, beside the runs that it compares."""
    tracker = config.tracking.build(config.name)
    tracker.start("comparison", {"recipe": RECIPE, "seed": config.seed})
    for clone in clones:
        metrics = {"eval/return_mean": clone.mean, "eval/return_ci_low": clone.low, "eval/return_ci_high": clone.high}
        tracker.log(metrics, step=clone.num_demonstrations or 0)
    for path in (plot, video):
        tracker.artifact(path)
    tracker.finish()


def _score(number: int, run: api.Run) -> Score:
    metrics = run.metrics
    return Score(
        name=f"BC, {number} episodes",
        mean=metrics["eval/return_mean"],
        low=metrics["eval/return_ci_low"],
        high=metrics["eval/return_ci_high"],
        normalised=metrics.get("eval/normalised"),
        num_demonstrations=number,
        num_transitions=int(metrics["budget/env_steps"]),
        wall_s=metrics["budget/wall_s"],
    )
