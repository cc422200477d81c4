"""Session: what the runs of one environment and expert share."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from distil.cluster import ensure_ray
from distil.content import Content, changed
from distil.envs import EnvSpec, content_of, describe, reset_infos
from distil.errors import InputError, RunError
from distil.experts.common import identity
from distil.experts.gates.config import HumanGateConfig
from distil.experts.team import Team
from distil.plans import CheckPlan, Who
from distil.policies.checkpoint import require_spaces
from distil.policies.spec import PolicyRef
from distil.rollouts import Baselines, Collector, EvalResult, Fleet, evaluate
from distil.runconfig import RunConfig
from distil.seeding import Purpose, episode_seeds
from distil.store import MixtureConfig, Snapshot, Store, StoreSpec
from distil.store.location import location
from distil.store.schema import environment
from distil.types import Progress, say, silent


class Session:
    """What the runs of one environment and expert share: the fleet of workers, and the baselines measured with it.

    Raises:
        InputError: the environment or the expert can't be made, or they don't fit each other. Nothing has started then.
    """

    def __init__(self, config: RunConfig, progress: Progress = silent) -> None:
        self.spec = describe(config.env) if config.env is not None else _stored(config)
        config.algorithm.build(config.budget(self.spec.max_episode_steps))  # refused before anything starts
        team = Team.of(config.expert, config.env, self.spec) if config.expert and config.env else None
        config.policy.resolve(self.spec.observation, self.spec.action)
        if isinstance(config.gate, HumanGateConfig):
            config.gate.check(self.spec.action.leaf)
        for augmentation in config.learner.augment:
            augmentation.check(self.spec.observation)
        if config.learner.num_learners:  # a session of Ray started for the workers alone would have no room for the learners
            ensure_ray(config.rollouts.address, config.rollouts.num_cpus + config.learner.num_learners)
        self._fleet: Fleet | None = None
        self.content = _content(config)
        if config.env is not None:
            ledger = Path(config.runs).resolve() / "labels" / _digest(self._identity(config))
            self._fleet = Fleet(env=config.env, spec=self.spec, config=config.rollouts, team=team, ledger=ledger)
        self.progress = progress
        self._name_dropped_infos(config)
        self.num_queries = 0  # steps of the experts' own episodes so far: what the check and the scores have asked
        self._scores: dict[tuple[Who, int, Purpose, str], EvalResult] = {}

    @property
    def fleet(self) -> Fleet:
        """Who runs episodes; InputError without an environment."""
        if self._fleet is None:
            raise InputError(f"{self.spec.name}: the configuration has no environment to run episodes in: set env.id")
        return self._fleet

    def score(self, who: Who, num_episodes: int, purpose: Purpose = Purpose.EVALUATE, expert: str = "") -> EvalResult:
        """Return how `who` ("expert" or "random") does on the episodes of a purpose; measured once.

        Args:
            who: of them.
            num_episodes: how many.
            purpose: of the episodes.
            expert: which one of several, by name; the first unless given.
        """
        key = (who, num_episodes, purpose, expert)
        if key not in self._scores:
            self._scores[key] = self.evaluate(who, num_episodes, purpose=purpose, expert=expert)
        return self._scores[key]

    def scores(self, num_episodes: int, purpose: Purpose = Purpose.EVALUATE) -> dict[str, EvalResult]:
        """Return how each expert does, by name."""
        return {name: self.score("expert", num_episodes, purpose, name) for name in self.fleet.experts}

    def evaluate(
        self,
        who: Who,
        num_episodes: int,
        policy: PolicyRef | None = None,
        purpose: Purpose = Purpose.EVALUATE,
        expert: str = "",
    ) -> EvalResult:
        """Return how `who` does on the first `num_episodes` episodes; InputError if the policy is for other spaces."""
        if policy is not None:
            require_spaces(policy, self.spec.observation, self.spec.action, self.spec.name)
        seeds = episode_seeds(purpose, num_episodes)
        what = f"evaluate {expert or who}"
        result = evaluate(self.fleet, who, seeds, policy=policy, expert=expert, progress=self.progress, what=what)
        self.num_queries += int(result.lengths.sum()) if who == "expert" else 0
        return result

    def baselines(self, num_episodes: int, purpose: Purpose = Purpose.EVALUATE) -> Baselines | None:
        """Return what `eval/normalised` is measured against: chance, and the best expert; None without an expert."""
        if not self.fleet.experts:
            return None
        best = max(result.mean for result in self.scores(num_episodes, purpose).values())
        return Baselines(random=self.score("random", num_episodes, purpose).mean, expert=best)

    def check_experts(self, plan: CheckPlan) -> dict[str, float]:
        """Return the mean returns of the best expert and of a random policy.

        Raises:
            RunError: an expert is no better than the random policy, or below the plan's reference.
        """
        baselines = self.baselines(plan.num_episodes, Purpose.TUNE)
        assert baselines is not None
        for name, result in self.scores(plan.num_episodes, Purpose.TUNE).items():
            means = f"expert {name}: its mean return over {plan.num_episodes} episodes of {self.spec.name} is {result.mean:.6g}"
            if not result.mean > baselines.random:
                raise RunError(
                    f"{means}, no better than a random policy's, {baselines.random:.6g}: fix the expert, choose one for this "
                    "environment, or set algorithm.check_episodes=0 to trust it"
                )
            if plan.min_return is not None and result.mean < plan.min_return:
                raise RunError(f"{means}, below algorithm.min_expert_return={plan.min_return:.6g}: lower it, or fix the expert")
        return {"expert/return_mean": baselines.expert, "expert/random_return_mean": baselines.random}

    def check_data(self, config: RunConfig) -> None:
        """Raise InputError if the run's stores are missing, or not for it; see `store` and `mixture`. Nothing is made."""
        mixture, path = config.data.mixture, config.store_path
        if mixture is not None:
            part = mixture.resolve()[0]
            part.spec.require_spaces(self.spec.observation, self.spec.action, str(part.path))
        elif Store.exists(path):
            self._check_spec(Store.open(path).spec, config)
        elif config.budget().num_demonstrations is None:
            raise InputError(f"{path}: no store there, and no expert to fill it: set data.path or expert.kind")
        elif isinstance(path, Path):
            _require_place(path)

    def store(self, config: RunConfig) -> Store:
        """Open the run's store, or make it where there is an expert to fill it.

        Raises:
            InputError: there is none, its spaces aren't the environment's, or the run would add episodes of another environment
                or without the infos that it wants.
        """
        self.check_data(config)
        if _adds(config):
            return Store.open_or_create(config.store_path, self._wanted(config))
        store = Store.open(config.store_path)
        env = config.env.model_dump(mode="json") if config.env is not None else {}
        self._name_environments([store.spec], environment(env))
        return store

    def _wanted(self, config: RunConfig) -> StoreSpec:
        """Return what the run's store must be like. Where demonstrations may be there already, the collector asks for infos."""
        env = config.env.model_dump(mode="json") if config.env is not None else {}
        certain = config.algorithm.needs.collects or not Store.exists(config.store_path)
        infos = config.rollouts.infos if certain else ()
        return StoreSpec(observation=self.spec.observation, action=self.spec.action, infos=infos, env=env)

    def _check_spec(self, spec: StoreSpec, config: RunConfig) -> None:
        if _adds(config):
            spec.require_equal(self._wanted(config), str(config.store_path))
        else:
            spec.require_spaces(self.spec.observation, self.spec.action, str(config.store_path))

    def mixture(self, mixture: MixtureConfig) -> list[Snapshot]:
        """Return the parts of a mixture; InputError if the environment has other spaces than they."""
        parts = mixture.resolve()
        parts[0].spec.require_spaces(self.spec.observation, self.spec.action, str(parts[0].path))
        self._name_environments(
            [part.spec for part in parts], environment(self._fleet.env.model_dump(mode="json") if self._fleet else {})
        )
        return parts

    def _name_dropped_infos(self, config: RunConfig) -> None:
        wanted = set(config.rollouts.infos)
        if config.env is not None and wanted and (found := sorted(wanted & reset_infos(config.env))):
            say(self.progress, f"rollouts.infos: {', '.join(found)} of a reset is not stored, only what steps return")

    def _name_environments(self, specs: Sequence[StoreSpec], own: str) -> None:
        """Say so where the data are of another environment than the run's; to learn from them may be what is wanted."""
        others = sorted({environment(spec.env) for spec in specs} - {own, ""})
        if own and others:
            say(self.progress, f"the data are of {', '.join(others)}, the run's environment is {own}")

    def collector(self, config: RunConfig, store: Store) -> Collector:
        """Return the collector of the run's demonstrations."""
        noise, progress, identity = config.data.noise, self.progress, self._identity(config)
        return Collector(self.fleet, store, seed=config.seed, noise=noise, identity=identity, progress=progress)

    def require_content(self, earlier: Mapping[str, Mapping[str, str]], where: str) -> None:
        """Compare what the expert and the environment are made of with what they were when the run at `where` began.

        Edited code is reported, not refused: the edit may be the fix that lets the run continue.

        Raises:
            InputError: a file is another one, so the run's labels would be those of two experts.
        """
        if files := changed(self.content.files, earlier["files"]):
            raise InputError(
                f"{where}: {', '.join(files)} changed since the run began: restore it, or start a new run (without --resume)"
            )
        if sources := changed(self.content.sources, earlier["sources"]):
            say(
                self.progress,
                f"{', '.join(sources)} changed since {where} began; later episodes are made with what is there now",
            )

    def _identity(self, config: RunConfig) -> dict[str, Any]:
        """Return what tells the episodes and labels of an environment and an expert from those of others, as JSON data."""
        env = config.env.model_dump(mode="json") if config.env else None
        expert = identity(config.expert) if config.expert else None
        return {"env": env, "expert": expert, "content": self.content.to_json()}

    def __enter__(self) -> Session:
        return self

    def __exit__(self, *error: object) -> None:
        if self._fleet is not None:
            self._fleet.close()


def _require_place(path: Path) -> None:
    """Raise InputError where no folder can be made."""
    absolute = path.absolute()
    there = next(folder for folder in (absolute, *absolute.parents) if os.path.lexists(folder))
    if not there.is_dir():
        raise InputError(f"{path}: {there} is a file; choose another folder with data.path")
    if not os.access(there, os.W_OK | os.X_OK):
        raise InputError(f"{path}: {there} is not writable; choose another folder with data.path")


def _adds(config: RunConfig) -> bool:
    """Return whether the run adds episodes to its store."""
    return config.budget().num_demonstrations is not None or config.algorithm.needs.collects


def _stored(config: RunConfig) -> EnvSpec:
    """Return the spaces of the demonstrations, in place of those of an environment."""
    path = config.store_path if config.data.mixture is None else location(config.data.mixture.parts[0].path)
    if not Store.exists(path):
        raise InputError(f"{path}: no store there, and no environment to collect in: set data.path, or env.id and expert.kind")
    spec = Store.open(path).spec
    return EnvSpec(
        name=str(path), observation=spec.observation, action=spec.action, max_episode_steps=None, reward_threshold=None
    )


def _content(config: RunConfig) -> Content:
    if config.env is None:
        return Content()
    return content_of(config.env) | (config.expert.content(config.env) if config.expert else Content())


def _digest(identity: Mapping[str, Any]) -> str:
    """Return the name of the folder of an expert's labels."""
    return hashlib.sha256(json.dumps(identity, sort_keys=True).encode()).hexdigest()[:16]
