"""The main job, end to end, on LunarLander: how the score grows with the number of labels that the expert gives.

One scripted expert fills one store. Clones learn from nested subsets of its demonstrations. DAgger gets labels for the same
number of episodes, but after the first round the learner acts and the expert only labels. Expert, random and learned policies
are scored on the same held-out episodes. The results are a table, a plot and a video.
"""

from __future__ import annotations

import shutil
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from distil import api
from distil.plans import CollectPlan
from distil.report import Score, plot_scores, score_table, text
from distil.runconfig import RunConfig, load_config
from distil.session import Session
from distil.types import Progress, silent

RECIPE, DAGGER = "lunarlander-bc", "lunarlander-dagger"
EPISODES = (2, 20, 200)
ROUNDS = 5


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
        title = "LunarLander-v3: an expert and those who learned from it, on 50 held-out episodes"
        return (
            f"{text(score_table(self.scores, title))}\nplot   {self.plot}\nvideo  {self.video}\n\n"
            f"{self.wall_s:.0f} seconds. Next:\n"
            f"  distil ui                                            compare the runs in MLflow\n"
            f"  distil train {RECIPE} learner.num_steps=20000   train longer, or change any other key\n"
            f"  distil train {DAGGER}                      DAgger with 30,000 labels\n"
        )


def run_demo(
    out: Path,
    *,
    seed: int = 0,
    episodes: Sequence[int] = EPISODES,
    overrides: api.Overrides | None = None,
    progress: Progress = silent,
) -> DemoResult:
    """Run the demo into the folder `out`.

    Args:
        out: the folder for the store, the runs, the plot and the video.
        seed: root seed of episodes and learning.
        episodes: numbers of labelled episodes; each gives one clone and one run of DAgger.
        overrides: dotted key of the recipe -> value.
        progress: called as the work proceeds.

    Raises:
        InputError: an override is wrong.
        RunError: the environment, a worker or the disk failed.
    """
    started = time.perf_counter()
    common = _common(out, seed, max(episodes)) | dict(overrides or {})
    config = load_config(RECIPE, common)
    with Session(config, progress) as session:
        store = session.store(config)
        session.collector(config, store).collect(CollectPlan(num_episodes=max(episodes)))
        num = config.evaluation.episodes
        baselines = session.baselines(num)
        runs = _train(episodes, common, config.learner.num_steps, session)
        levels = {who: api.score_of(who, session.score(who, num), baselines) for who in ("random", "expert")}
    methods = {
        method: [_score(f"{short}, {number} episodes", run) for number, run in zip(episodes, runs[short], strict=True)]
        for method, short in (("behavioural cloning", "BC"), ("DAgger", "DAgger"))
    }
    best = max([*runs["BC"], *runs["DAgger"]], key=lambda run: run.metrics["eval/return_mean"])
    title = f"{session.spec.name}: score against expert labels"
    subtitle = f"mean return over {num} held-out episodes with its 95 % interval, one training run each"
    xlabel = "labels from the expert (steps)"
    plot = plot_scores(methods, out / "score.png", **levels, title=title, subtitle=subtitle, xlabel=xlabel)
    video = Path(shutil.copyfile(best.path / "video.mp4", out / "best.mp4"))
    _track(config, plot, video, methods)
    return DemoResult(
        scores=[levels["random"], levels["expert"], *(score for scores in methods.values() for score in scores)],
        plot=plot,
        video=video,
        best=best.path,
        wall_s=time.perf_counter() - started,
    )


def _common(out: Path, seed: int, num_episodes: int) -> dict[str, Any]:
    """Return the settings that all runs share."""
    return {
        "seed": seed,
        "data.path": str(out / "demos"),
        "data.episodes": num_episodes,
        "runs": str(out / "runs"),
        "tracking.experiment": "distil-demo",
        "evaluation.video": True,
    }


def _train(episodes: Sequence[int], common: Mapping[str, Any], num_steps: int, session: Session) -> dict[str, list[api.Run]]:
    """Return the runs of both methods, one for each number of episodes."""
    runs: dict[str, list[api.Run]] = {"BC": [], "DAgger": []}
    for number in episodes:
        clone = {**common, "name": f"lunarlander-bc-{number}", "data.episodes": number}
        runs["BC"].append(api.train(RECIPE, clone, session=session))
        mixed = {**common, "name": f"lunarlander-dagger-{number}"} | _dagger(number, num_steps)
        runs["DAgger"].append(api.train(DAGGER, mixed, session=session))
    return runs


def _dagger(num_episodes: int, num_steps: int) -> dict[str, Any]:
    """Return the settings of a DAgger run with the episodes and gradient steps of a clone, divided into equal rounds."""
    rounds = min(ROUNDS, num_episodes)
    each = num_episodes // rounds
    return {
        "data.episodes": num_episodes - each * (rounds - 1),
        "algorithm.rounds": rounds,
        "algorithm.episodes_per_round": each,
        "algorithm.stop.expert_labels": None,
        "algorithm.tuning_episodes": 0,
        "learner.num_steps": max(1, num_steps // rounds),
    }


def _track(config: RunConfig, plot: Path, video: Path, methods: Mapping[str, Sequence[Score]]) -> None:
    """Put the comparison into the MLflow experiment of the compared runs."""
    for name, scores in methods.items():
        tracker = config.tracking.build(config.name)
        tracker.start(f"comparison: {name}", {"recipe": RECIPE, "seed": config.seed})
        for score in scores:
            metrics = {"eval/return_mean": score.mean, "eval/return_ci_low": score.low, "eval/return_ci_high": score.high}
            known = {name: value for name, value in metrics.items() if value is not None}
            tracker.log(known, step=score.num_demonstrations or 0)
        for path in (plot, video):
            tracker.artifact(path)
        tracker.finish()


def _score(name: str, run: api.Run) -> Score:
    metrics = run.metrics
    return Score(
        name=name,
        mean=metrics["eval/return_mean"],
        low=metrics.get("eval/return_ci_low"),
        high=metrics.get("eval/return_ci_high"),
        normalised=metrics.get("eval/normalised"),
        num_demonstrations=int(metrics["budget/expert_labels"]),
        num_transitions=int(metrics["budget/expert_labels"]),
        wall_s=metrics["budget/wall_s"],
    )
