"""`distil reward transfer`: freeze a run's reward, train on it from scratch in another environment, and compare.

OUT/
  runs/           the runs: on each learned reward, on the environment's own reward, clones of the demonstrations
  recipes/        their configurations
  transfer.json   the scores
  transfer.png    the plot

All are ordinary runs with names of their own. The same call continues those that are unfinished and keeps those that are done.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from distil import api
from distil.algorithms.rl import RlConfig
from distil.config import to_yaml
from distil.durable import make_folders, replace_durably
from distil.errors import InputError
from distil.fence import hold
from distil.policies.spec import PolicyRef
from distil.report import Score, plot_levels, score_table
from distil.rewards.config import ABOUT
from distil.rewards.ref import RewardSpec, require_leaves
from distil.rollouts import Baselines, EvalResult
from distil.runconfig import RunConfig
from distil.session import Session
from distil.spaces import difference
from distil.stats import mean_interval
from distil.store.schema import environment
from distil.transfer.settings import Changes, clone, on_reward, require_alike, there
from distil.types import Progress, say, silent

LEARNED, TRUE, SOURCE, CLONE = "RL on the learned reward", "RL on the true reward", "source policy", "clone"
CLONE_STEPS = 5000
_EPISODES = 50


@dataclass(frozen=True, kw_only=True)
class Transfer:
    """What came out: scores on the held-out episodes of the other environment."""

    environment: str
    scores: Sequence[Score]
    notes: Sequence[str]
    spec: RewardSpec
    num_episodes: int
    plot: Path

    @property
    def title(self) -> str:
        """What was measured."""
        return f"{self.environment}: {self.num_episodes} held-out episodes"

    def to_json(self) -> dict[str, Any]:
        """Return it as JSON data."""
        reward = {"kind": self.spec.config.kind, "sees": self.spec.sees, "nature": self.spec.nature}
        return {
            "environment": self.environment,
            "episodes": self.num_episodes,
            "reward": reward | {"about": ABOUT[self.spec.nature]},
            "scores": [asdict(score) for score in self.scores],
            "notes": list(self.notes),
            "plot": str(self.plot),
        }

    def text(self) -> str:
        """Return the table and what is to be known of it."""
        sees = self.spec.sees.replace("_", " and ")
        reward = f"The reward ({self.spec.config.kind}, of the {sees}) is {ABOUT[self.spec.nature]}."
        return "\n".join([score_table(self.scores, self.title), reward, *self.notes, f"plot: {self.plot}"])


def transfer(
    runs: Sequence[Path | str],
    changes: Changes,
    *,
    out: Path | str,
    num_seeds: int = 1,
    restarts: int = 1,
    recipe: str | None = None,
    clone_steps: int = CLONE_STEPS,
    progress: Progress = silent,
) -> Transfer:
    """Carry the reward of a run, or of several that differ by their seeds, to another environment.

    Args:
        runs: the folders of runs that learned a reward.
        changes: dotted key -> value: what is different in the environment (`env.*`); also `expert.*`, `evaluation.*`,
            `rollouts.*`, `tracking.*`, and of reinforcement learning `algorithm.*`, `learner.*`, `policy.*`.
        out: the folder for its runs and results.
        num_seeds: of reinforcement learning on each reward, and of clones; the true reward gets as many.
        restarts: trainings for each of these, of which the one counts whose return on the tuning episodes was the highest, by
            the reward that it learned from.
        recipe: of reinforcement learning; None: the step that the run learned with, or SAC or soft Q-learning.
        clone_steps: gradient steps of a clone.
        progress: called as the work proceeds.

    Raises:
        InputError: a run has no reward, the reward does not fit the other environment, or nothing changes.
        RunError: a run failed. The same call continues from there.
    """
    out, sources = Path(out), [api.open_run(run) for run in runs]
    rewards, configs = [run.reward() for run in sources], [run.config for run in sources]
    require_alike(configs, [str(run.path) for run in sources])
    shared = there(configs[0], changes, out / "runs")
    where = f"the reward of {sources[0].path}"
    with Session(shared, progress) as session:
        for reward in rewards:
            require_leaves(reward.ref.spec, session.spec.observation, session.spec.action, where)
        make_folders(out)
        with hold(out, "transfer"):
            trainings = _Trainings(num_seeds=num_seeds, restarts=restarts, recipe=recipe, clone_steps=clone_steps)
            work = _Work(sources, rewards[0].ref.spec, shared, session, out, changes, trainings)
            return work.carry_out()


@dataclass(frozen=True, kw_only=True)
class _Trainings:
    """How often is trained, and how; see `transfer`."""

    num_seeds: int
    restarts: int
    recipe: str | None
    clone_steps: int


class _Work:
    """The runs and the scores of one transfer."""

    def __init__(
        self,
        sources: Sequence[api.Run],
        spec: RewardSpec,
        shared: RunConfig,
        session: Session,
        out: Path,
        changes: Changes,
        trainings: _Trainings,
    ) -> None:
        self._sources, self._spec, self._shared, self._session, self._out = sources, spec, shared, session, out
        self._changes, self._trainings = changes, trainings
        self._num = shared.evaluation.episodes or _EPISODES
        self._notes = list[str]()

    def carry_out(self) -> Transfer:
        """Train what is missing, score everything, and write table and plot."""
        learned = self._of_each(LEARNED, self._on_learned)
        true = [self._mean(self._on_reward("true", None, seed)) for seed in range(self._trainings.num_seeds)]
        kept = self._of_each(SOURCE, lambda run, seed: run.policy().ref, num_seeds=1)
        clones = self._of_each(CLONE, self._clone)
        random = self._session.score("random", self._num)
        experts = self._session.scores(self._num)
        expert = max(experts.values(), key=lambda result: result.mean) if experts else None
        best = max([*true, *([expert.mean] if expert is not None else [])])
        scale = Baselines(random=random.mean, expert=best)
        rows = [self._level("expert", expert, scale)] if expert is not None else []
        found = {TRUE: true, LEARNED: learned, SOURCE: kept, CLONE: clones}
        rows += [_score(name, means, scale) for name, means in found.items() if means]
        rows.append(self._level("random", random, scale))
        if self._trainings.restarts > 1:
            self._notes.append(
                f"RL: of {self._trainings.restarts} trainings each, the one with the highest return on the tuning episodes, by "
                "the reward that it learned from."
            )
        self._notes.append(
            f"Normalised: 0 is the random policy, 1 the better of the expert and RL on the true reward ({best:.4g})."
        )
        return self._written(rows)

    def _of_each(self, name: str, make: Callable[[api.Run, int], PolicyRef], num_seeds: int | None = None) -> list[float]:
        """Return the mean returns of policies: one a source run, or of a single one one a seed."""
        seeds = range(num_seeds or self._trainings.num_seeds)
        found = list[list[float]]()
        for run in self._sources:
            policies = [make(run, seed) for seed in seeds]
            if any(self._stays_behind(name, policy) for policy in policies):
                return []
            found.append([self._mean(policy) for policy in policies])
        over = f"{len(seeds)} seeds of training"
        if len(found) == 1:
            self._notes += [f"{name}: a value for each of {over}, all from one run."] if len(seeds) > 1 else []
            return found[0]
        self._notes.append(
            f"{name}: a value for each of the {len(found)} runs" + (f", the mean over {over}." if len(seeds) > 1 else ".")
        )
        return [float(np.mean(means)) for means in found]

    def _stays_behind(self, name: str, policy: PolicyRef) -> bool:
        """Return whether a policy can't act in the other environment, and note why."""
        spec, owners = self._session.spec, ("the policy", "the environment")
        pairs = ((policy.spec.observation, spec.observation), (policy.spec.action, spec.action))
        differs = next((text for mine, its in pairs if (text := difference(mine, its, owners))), "")
        if differs:
            self._notes.append(f"{name}: it can't act there, since {differs}.")
        return bool(differs)

    def _mean(self, policy: PolicyRef) -> float:
        act = self._shared.evaluation.act
        return self._session.evaluate("policy", self._num, policy, act=act).mean

    def _on_learned(self, run: api.Run, seed: int) -> PolicyRef:
        return self._on_reward(f"learned-{run.path.name}", run.path.absolute(), seed)

    def _on_reward(self, name: str, path: Path | None, seed: int) -> PolicyRef:
        """Return the policy of the best of the trainings that count as one."""
        source, how, trainings = self._sources[0].config, self._trainings, list[api.Run]()
        for number in range(seed * how.restarts, (seed + 1) * how.restarts):
            named = f"{name}-seed-{number}"
            config = on_reward(source, self._spec, self._shared, self._changes, how.recipe, named, number, path)
            assert isinstance(config.algorithm, RlConfig)
            if how.restarts > 1 and config.algorithm.step.kind == "soft_vi":
                raise InputError("--restarts: planning comes out the same each time; leave it out")
            trainings.append(self._run(config))
        best = trainings[0] if how.restarts == 1 else max(trainings, key=_quality)
        return best.policy().ref

    def _clone(self, run: api.Run, seed: int) -> PolicyRef:
        name = f"clone-{run.path.name}-seed-{seed}"
        config = clone(run.config, self._shared, name, seed, self._trainings.clone_steps)
        return self._run(config, shares=False).policy().ref

    def _run(self, config: RunConfig, *, shares: bool = True) -> api.Run:
        """Return a run, which is started, continued or done."""
        recipe = self._out / "recipes" / f"{config.name}.yaml"
        make_folders(recipe.parent)
        replace_durably(recipe, to_yaml(config).encode())
        say(self._session.progress, f"{config.name}: {self._out / 'runs' / config.name}")
        session = self._session if shares else None
        return api.train(recipe, resume=True, run=config.name, progress=self._session.progress, session=session)

    def _level(self, name: str, result: EvalResult, scale: Baselines) -> Score:
        return Score(name=name, mean=result.mean, low=None, high=None, normalised=scale.normalise(result.mean))

    def _written(self, rows: Sequence[Score]) -> Transfer:
        env = self._shared.env
        assert env is not None
        shown = environment(env.model_dump(mode="json"))
        subtitle = f"{self._num} held-out episodes; dots: training runs; band: 95 % interval"
        plot = plot_levels(rows, self._out / "transfer.png", title=shown, subtitle=subtitle, xlabel="mean return")
        found = Transfer(environment=shown, scores=rows, notes=self._notes, spec=self._spec, num_episodes=self._num, plot=plot)
        replace_durably(self._out / "transfer.json", (json.dumps(found.to_json(), indent=2) + "\n").encode())
        return found


def _quality(run: api.Run) -> float:
    """Return the highest return on tuning episodes, by the reward that the run learned from; InputError if it has none."""
    found = [report.quality for report in run.reports if report.quality is not None]
    if not found:
        raise InputError(
            f"{run.path}: has no score to choose it by, which --restarts needs: set algorithm.tuning_episodes, lower "
            "algorithm.tune_every, set algorithm.select=best, and leave algorithm.stop.normalised out"
        )
    return max(found)


def _score(name: str, means: Sequence[float], scale: Baselines) -> Score:
    low, high = mean_interval(means) or (None, None)
    mean = float(np.mean(means))
    return Score(name=name, mean=mean, low=low, high=high, normalised=scale.normalise(mean), runs=tuple(means))


def default_out(runs: Sequence[Path | str]) -> Path:
    """Return the folder beside the runs' folder; InputError if no run is given."""
    if not runs:
        raise InputError("no run is given: name the folder of a run that learned a reward")
    return Path("transfer") / Path(runs[0]).name
