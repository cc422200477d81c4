"""The main job, end to end, on Pendulum: how the score grows with the number of labels that the expert gives.

One scripted expert fills one store. Clones learn from nested subsets of its demonstrations. DAgger gets exactly as many labels
and takes as many gradient steps, but after the first round the learner acts and the expert only labels. Imitation by
interaction gets the fewest demonstrations and no further label; it acts, and is compared with them. All are trained once per
root seed, and all policies are scored on the same held-out episodes. The results are a table, a plot and a video.

The runs of different root seeds share nothing that they write but the store, so that several processes train them at once.
"""

from __future__ import annotations

import json
import re
import shlex
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Any, Literal

import numpy as np

from distil import api
from distil.cluster import asked_cluster, num_cores
from distil.durable import make_folders
from distil.errors import InputError, RunError
from distil.fence import hold
from distil.processes import work_in_processes
from distil.registry import register
from distil.report import Score, plot_scores, score_table
from distil.rollouts.video import check_video, record_video
from distil.runconfig import RunConfig, load_config
from distil.seeding import Purpose, episode_seeds
from distil.session import Session
from distil.stats import mean_interval
from distil.tracking import Group, grouped
from distil.types import Progress, say, silent

CLONE, DAGGER, INTERACTION = "pendulum-scripted-bc", "pendulum-scripted-dagger", "pendulum-dac"
EPISODES = (5, 10, 200)
NUM_SEEDS = 16
STEPS = 10_000
ROUNDS = 4
NOISE = {"data.noise.kind": "gaussian", "data.noise.level": 0.5}


@dataclass(frozen=True, kw_only=True)
class DemoResult:
    """What the demo measured and wrote."""

    title: str
    scores: Sequence[Score]
    commands: Sequence[str]  # each repeats one run
    plot: Path
    video: Path
    best: Path  # the run of the best policy
    wall_s: float
    model: str | None = None  # what MLflow loads the best policy by

    def to_json(self) -> dict[str, Any]:
        """Return it as JSON data."""
        files = {"plot": str(self.plot), "video": str(self.video), "best": str(self.best)}
        scores = [asdict(score) for score in self.scores]
        return {"scores": scores, "commands": list(self.commands), "wall_s": self.wall_s, "model": self.model} | files

    def text(self) -> str:
        """Return the table, the files, and what to do next."""
        return (
            f"{score_table(self.scores, self.title)}\n"
            f"plot   {self.plot}\nvideo  {self.video}\n" + (f"model  {self.model}\n" if self.model else "") + "\n"
            f"{self.wall_s:.0f} seconds. Next:\n"
            + "".join(f"  {command}\n" for command in self.commands)
            + f"  distil compare {self.best.parent}    a verdict, and a page with all runs\n"
            + "  distil sweep pendulum    a search over three families, the best confirmed\n"
            + "  distil ui    the runs in MLflow\n"
        )


@dataclass(frozen=True, kw_only=True)
class _Case:
    """One row of the table: a recipe with its settings, trained once per root seed."""

    name: str  # "BC, 20 episodes"
    recipe: str
    settings: Mapping[str, Any]
    seeds: Sequence[int]

    def among(self, others: Mapping[str, Any]) -> dict[str, Any]:
        """Return its settings and those of `others` that have an effect on it."""
        unused = () if "learner.num_steps" in self.settings else ("learner.num_steps",)
        return {key: value for key, value in others.items() if key not in unused} | dict(self.settings)

    def command(self, others: Mapping[str, Any]) -> str:
        """Return the command that repeats one of its runs, with a store of its own."""
        settings = self.among(others)
        texts = {key: value if isinstance(value, str) else json.dumps(value) for key, value in settings.items()}
        return shlex.join(["distil", "train", self.recipe, *(f"{key}={value}" for key, value in texts.items())])


_Task = tuple[int, Sequence[_Case]]  # a root seed and what to train with it
_Runs = dict[str, api.Run]


def run_demo(
    out: Path,
    *,
    seed: int = 0,
    num_seeds: int = NUM_SEEDS,
    episodes: Sequence[int] = EPISODES,
    steps: int = STEPS,
    overrides: api.Overrides | None = None,
    progress: Progress = silent,
) -> DemoResult:
    """Run the demo into the folder `out`.

    Args:
        out: the folder for the store, the runs, the plot and the video.
        seed: the first root seed of episodes and learning; the others follow it.
        num_seeds: number of root seeds, so of training runs with the middle number of episodes; the table's other rows have a
            third of them, but two at least.
        episodes: numbers of labelled episodes.
        steps: of the learner in the environment, for imitation by interaction; 0 leaves it out.
        overrides: dotted key of the recipes -> value.
        progress: called as the work proceeds.

    Raises:
        InputError: an override is wrong.
        RunError: the environment, a worker or the disk failed.
    """
    started = time.perf_counter()
    own, episodes = dict(overrides or {}), sorted(episodes)
    common = _common(out) | own
    config = load_config(CLONE, common | {"data.episodes": episodes[-1]})
    assert config.env is not None
    check_video(config.env)
    cases = _cases(episodes, steps, config.learner.num_steps, range(seed, seed + num_seeds))
    with Session(config, progress) as session, _parent(config, session, out, cases) as group:
        num = config.evaluation.episodes
        levels = {who: _level(who, session, num) for who in ("random", "expert")}  # before the runs, which then find them
        runs = _train([case for row in cases.values() for case in row], config, common, session, group.parent)
        methods = {name: [_score(case.name, runs[case.name]) for case in row] for name, row in cases.items()}
        how = f"{num} held-out episodes"
        plot = _plot(methods, levels, out / "score.png", session.spec.name, how)
        best = max((run for found in runs.values() for run in found), key=lambda run: run.metrics["eval/return_mean"])
        video = record_video(
            config.env, best.policy().ref, episode_seeds(Purpose.EVALUATE, 1)[0], out / "best.mp4", name=best.path.name
        )
        for path in (plot, video):
            group.tracker.artifact(path)
    return DemoResult(
        title=f"{session.spec.name}: an expert and those who learned from it; {how}",
        scores=[*levels.values(), *(score for scores in methods.values() for score in scores)],
        commands=[row[len(row) // 2].command({"seed": seed} | own) for row in cases.values()],
        plot=plot,
        video=video,
        best=best.path,
        model=_register(config, best, progress),
        wall_s=time.perf_counter() - started,
    )


def _register(config: RunConfig, best: api.Run, progress: Progress) -> str | None:
    """Put the best policy into MLflow's model registry; where that fails, a line says how to repeat it."""
    if not config.tracking.enabled:
        return None
    try:
        return register(best.path, progress=progress).uri
    except (InputError, RunError) as error:
        say(progress, f"the best policy is not in MLflow's model registry: {error}")
        return None


def _common(out: Path) -> dict[str, Any]:
    """Return the settings that all runs share."""
    return {"data.path": str(out / "demos"), "runs": str(out / "runs"), "tracking.experiment": "distil-demo"}


def _cases(episodes: Sequence[int], acted: int, num_steps: int, seeds: Sequence[int]) -> dict[str, list[_Case]]:
    """Return the rows of the table: method, as the plot calls it -> a case for each number of episodes.

    Cloning and DAgger take `num_steps` gradient steps in total, and get as many labels; imitation by interaction
    gets the fewest, acts for `acted` steps, and takes the gradient steps of its recipe. Noise on the expert's actions, which
    closes much of the gap for cloning too, is shown at the middle number alone. There, cloning and DAgger get all seeds: some
    clones fail and others do not, so that few of them say little about their mean. The other rows get a third.
    """
    few = seeds[: max(2, len(seeds) // 3)]
    clones = {number: {"data.episodes": number, "learner.num_steps": num_steps} for number in episodes}
    middle = episodes[len(episodes) // 2]
    rows: dict[str, tuple[str, str, Mapping[int, Mapping[str, Any]]]] = {
        "behavioural cloning": ("BC", CLONE, clones),
        "DAgger": ("DAgger", DAGGER, {number: _dagger(number, num_steps) for number in episodes}),
        "cloning, expert disturbed by noise": ("BC with noise", CLONE, {middle: clones[middle] | NOISE}),
    }
    if acted:
        alone = {"data.episodes": episodes[0], "algorithm.steps": acted}
        rows[f"DAC: {acted:,} steps of its own"] = ("DAC", INTERACTION, {episodes[0]: alone})
    return {
        method: [
            _Case(
                name=f"{short}, {number} episodes",
                recipe=recipe,
                settings=found,
                seeds=seeds if number == middle and not settings[number].keys() & NOISE else few,
            )
            for number, found in settings.items()
        ]
        for method, (short, recipe, settings) in rows.items()
    }


def _dagger(num_episodes: int, num_steps: int) -> dict[str, Any]:
    """Return the settings of a DAgger run with the episodes and gradient steps of a clone.

    The first round has two shares of the episodes, or more: a policy of too few demonstrations wastes the labels of the next
    round. The gradient steps are divided evenly.
    """
    rounds = min(ROUNDS, num_episodes)
    each = max(1, num_episodes // (rounds + 1))
    return {
        "data.episodes": num_episodes - each * (rounds - 1),
        "algorithm.rounds": rounds,
        "algorithm.episodes_per_round": each,
        "learner.num_steps": max(1, num_steps // rounds),
    }


@contextmanager
def _parent(config: RunConfig, session: Session, out: Path, cases: Mapping[str, Sequence[_Case]]) -> Iterator[Group]:
    """Hold the demo's folder, and open the run that all runs of the demo belong to in MLflow."""
    rows = {case.name: len(case.seeds) for row in cases.values() for case in row}
    name = f"demo: {session.spec.name}"
    make_folders(out)
    with (
        hold(out, "demo") as held,
        grouped(
            config.tracking, config.name, out, name, params={"runs": rows}, progress=session.progress, check=held.check
        ) as group,
    ):
        yield group


def _train(
    cases: Sequence[_Case], config: RunConfig, common: Mapping[str, Any], session: Session, parent: str
) -> dict[str, list[api.Run]]:
    """Return the runs of each case, by its name. A process trains all runs of a root seed, one after another."""
    seeds = sorted({seed for case in cases for seed in case.seeds})
    tasks = [(seed, [case for case in cases if seed in case.seeds]) for seed in seeds]
    num = min(_num_processes(config), len(tasks))
    if num == 1:
        found = [_train_seed(common, session, parent, task) for task in tasks]
    else:
        found = work_in_processes(partial(_trainer, config, common, parent), tasks, num, "root seeds", session.progress)
    return {case.name: [runs[case.name] for runs in found if case.name in runs] for case in cases}


def _num_processes(config: RunConfig) -> int:
    """Return how many processes train: one for each core, or this one alone if the runs themselves use several."""
    rollouts = config.rollouts
    use_ray = rollouts.num_workers not in (0, "auto") or rollouts.service is not None or asked_cluster(rollouts.address)
    return 1 if use_ray or config.overlap or config.learner.num_learners else num_cores()


@contextmanager
def _trainer(
    config: RunConfig, common: Mapping[str, Any], parent: str, progress: Progress
) -> Iterator[Callable[[_Task], _Runs]]:
    with Session(config, progress) as session:
        yield partial(_train_seed, common, session, parent)


def _train_seed(common: Mapping[str, Any], session: Session, parent: str, task: _Task) -> _Runs:
    """Return the runs with one root seed, by the name of their case."""
    seed, cases = task
    runs = {}
    for case in cases:
        name = f"{re.sub('[^a-z0-9]+', '-', case.name.lower())}-seed-{seed}"
        settings = {**case.among(common), "seed": seed, "name": name}
        runs[case.name] = api.train(case.recipe, settings, session=session, parent=parent)
    return runs


def _level(who: Literal["random", "expert"], session: Session, num_episodes: int) -> Score:
    """Return the mean of a policy that is not trained, so that it has no spread over training runs."""
    return Score(name=who, mean=session.score(who, num_episodes).mean, low=None, high=None, normalised=float(who == "expert"))


def _plot(methods: Mapping[str, Sequence[Score]], levels: Mapping[str, Score], path: Path, environment: str, how: str) -> Path:
    return plot_scores(
        methods,
        path,
        **levels,
        title=f"{environment}: score against expert labels",
        subtitle=f"dots: training runs, each the mean of {how}; band: 95 % interval of their mean",
        xlabel="labels from the expert (steps)",
    )


def _score(name: str, runs: Sequence[api.Run]) -> Score:
    """Return the mean over the runs, with its interval."""
    metrics = [run.metrics for run in runs]
    means = [each["eval/return_mean"] for each in metrics]
    low, high = mean_interval(means) or (None, None)
    num_labels = int(metrics[0]["budget/expert_labels"])
    return Score(
        name=name,
        mean=float(np.mean(means)),
        low=low,
        high=high,
        normalised=float(np.mean([each["eval/normalised"] for each in metrics])),
        num_demonstrations=num_labels,
        num_transitions=num_labels,
        num_own_steps=int(metrics[0].get("budget/agent_steps", 0)) or None,
        wall_s=float(np.mean([each["budget/wall_s"] for each in metrics])),
        runs=tuple(means),
    )
