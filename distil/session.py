"""Session: what the runs of one environment and expert share: the checked setting, the fleet, and the baselines."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import partial
from pathlib import Path

from distil.cluster import asked_cluster, ensure_ray
from distil.content import Content, changed
from distil.envs import EnvSpec, reset_infos
from distil.errors import InputError, RunError
from distil.fence import Check, unfenced
from distil.nodes import Shared, check_nodes
from distil.plans import CheckPlan, Who
from distil.policies.checkpoint import require_spaces
from distil.policies.config import ActMode
from distil.policies.spec import PolicyRef
from distil.rollouts import BaselineCache, Baselines, Collector, EvalResult, Fleet, evaluate
from distil.runconfig import RunConfig
from distil.rundir import BASELINES, LABELS
from distil.seeding import Purpose, episode_seeds
from distil.setting import Setting
from distil.store import MixtureConfig, Snapshot, Store
from distil.store.location import location
from distil.store.schema import environment
from distil.types import Progress, say, silent, unheard
from distil.validation import adds_episodes, check_data, check_parts, store_spec


class Session:
    """What the runs of one environment and expert share.

    It composes three things: the `Setting` (environment and expert, checked), the fleet of workers (started when it first
    runs episodes), and the cache of baselines in `<runs>/baselines`.

    Args:
        config: a run's configuration; further runs may differ in all but `env` and `expert`. The workers are `rollouts`'.
        progress: told of episodes as they end, and shown notes.

    Raises:
        InputError: a part cannot be made, or the parts do not fit each other. Nothing has started then.
    """

    def __init__(self, config: RunConfig, progress: Progress = silent) -> None:
        self.progress = progress
        self.setting = Setting.of(config)
        check_parts(config, self.spec)
        on_cluster = config.uses_ray and asked_cluster(config.rollouts.address) is not None
        if config.learner.num_learners or on_cluster:  # a session started for workers alone would have no room for learners
            say(progress, "starting Ray")
            import torch  # noqa: F401 (in some jobs, torch's MKL ends the process if Ray's core runs before it is loaded)

            ray = ensure_ray(config.rollouts.address, config.rollouts.num_cpus + config.learner.num_learners)
            if on_cluster:
                check_nodes(ray, labels=_labels(config), note=partial(say, progress))
        self._fleet = _fleet(config, self.setting)
        self._cache = BaselineCache(Path(config.runs) / BASELINES, progress)
        self._scores: dict[tuple[Who, int, Purpose, str], EvalResult] = {}
        self.num_queries = 0  # steps of the experts' own episodes that this session has run; a cached result costs none
        self._note: Callable[[int], None] | None = None
        self._name_dropped_infos(config)

    @property
    def spec(self) -> EnvSpec:
        """The environment's spaces, or those of the stored demonstrations."""
        return self.setting.spec

    @property
    def content(self) -> Content:
        """What the environment and the experts are made of."""
        return self.setting.content

    @property
    def fleet(self) -> Fleet:
        """The workers that run episodes; InputError without an environment."""
        if self._fleet is None:
            raise InputError(f"{self.spec.name}: the configuration has no environment to run episodes in: set env.id")
        return self._fleet

    def check(self, config: RunConfig) -> None:
        """Check another run that is to share this session.

        Raises:
            InputError: it has another environment or expert, or its algorithm, policy or augmentations do not fit.
        """
        self.setting.require_same(config)
        check_parts(config, self.spec)

    def require_shared(self, config: RunConfig, *, elsewhere: bool = False) -> None:
        """Check that the nodes of a cluster see the folders that a run's processes on them read and write, as this host does.

        Args:
            config: the run's.
            elsewhere: the whole run may be on any node, as a trial of a sweep is.

        Raises:
            InputError: one does not; its host is named.
            RunError: one does not answer.
        """
        shared = _shared(config, elsewhere) if elsewhere or config.uses_ray else []
        if shared and asked_cluster(config.rollouts.address) is not None:
            ray = ensure_ray(config.rollouts.address, config.rollouts.num_cpus)
            check_nodes(ray, labels=_labels(config), shared=shared, note=unheard)

    def evaluate(
        self,
        who: Who,
        num_episodes: int,
        policy: PolicyRef | None = None,
        purpose: Purpose = Purpose.EVALUATE,
        expert: str = "",
        act: ActMode = "point",
        into: Store | None = None,
    ) -> EvalResult:
        """Run the first `num_episodes` episodes of a purpose and return the outcome.

        Args:
            who: who acts: "policy", "expert" or "random".
            num_episodes: number of episodes; their seeds are the same for all.
            policy: the policy, if one acts.
            purpose: which of the disjoint sets of seeds.
            expert: the name of one of several experts; the first unless given.
            act: the policy's default actions, or samples that depend on an episode's seed alone.
            into: a store that gets the episodes; None: they are not kept.

        Raises:
            InputError: the policy is for other spaces, or there is no environment.
            RunError: the environment, the expert or a worker failed.
        """
        if policy is not None:
            require_spaces(policy, self.spec.observation, self.spec.action, self.spec.name)
        seeds = episode_seeds(purpose, num_episodes)
        what = f"evaluate {expert or who}"
        result = evaluate(
            self.fleet, who, seeds, policy=policy, expert=expert, act=act, progress=self.progress, what=what, into=into
        )
        if who == "expert":
            num = int(result.lengths.sum())
            self.num_queries += num
            if self._note is not None:
                self._note(num)
        return result

    @contextmanager
    def counting(self, note: Callable[[int], None]) -> Iterator[None]:
        """Meanwhile, call `note` with the number of steps each time that an expert was asked, before its result is kept.

        A process that is killed between the two asks again and notes it again: no question goes uncounted.
        """
        self._note = note
        try:
            yield
        finally:
            self._note = None

    def score(self, who: Who, num_episodes: int, purpose: Purpose = Purpose.EVALUATE, expert: str = "") -> EvalResult:
        """Return how an expert or the random policy does: from the cache, or measured and put there.

        Args:
            who: "expert" or "random".
            num_episodes: number of episodes.
            purpose: which of the disjoint sets of seeds.
            expert: the name of one of several experts; the first unless given.

        Raises:
            InputError: there is no environment.
            RunError: as for `evaluate`.
        """
        known = (who, num_episodes, purpose, expert)
        if known not in self._scores:
            fleet, measure = self.fleet, partial(self.evaluate, who, num_episodes, purpose=purpose, expert=expert)
            name = expert or next(iter(fleet.experts), "") if who == "expert" else ""
            key = self.setting.baseline_key(who, name, episode_seeds(purpose, num_episodes), fleet.config.num_envs)
            title = f"{f'expert {name}' if name else who} on {num_episodes} episodes of {self.spec.name}"
            self._scores[known] = measure() if key is None else self._cache.get(key, title, measure)
        return self._scores[known]

    def scores(self, num_episodes: int, purpose: Purpose = Purpose.EVALUATE) -> dict[str, EvalResult]:
        """Return how each expert does, by name."""
        return {name: self.score("expert", num_episodes, purpose, name) for name in self.fleet.experts}

    def baselines(self, num_episodes: int, purpose: Purpose = Purpose.EVALUATE) -> Baselines | None:
        """Return the references of `eval/normalised`: the random policy and the best expert; None without an expert."""
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
        return {"expert/check_return_mean": baselines.expert, "expert/check_random_return_mean": baselines.random}

    def store(self, config: RunConfig) -> Store:
        """Open the run's store, or create it where there is an expert to fill it.

        Raises:
            InputError: see `validation.check_data`.
            RunError: the disk refuses.
        """
        check_data(config, self.spec)
        if adds_episodes(config):
            return Store.open_or_create(config.store_path, store_spec(config, self.spec))
        store = Store.open(config.store_path)
        self._name_environments([store.spec.env])
        return store

    def mixture(self, mixture: MixtureConfig) -> list[Snapshot]:
        """Return the parts of a mixture; InputError if their spaces are not the environment's."""
        parts = mixture.resolve()
        parts[0].spec.require_spaces(self.spec.observation, self.spec.action, str(parts[0].path))
        self._name_environments([part.spec.env for part in parts])
        return parts

    def collector(self, config: RunConfig, store: Store, check: Check = unfenced) -> Collector:
        """Return the collector of the run's demonstrations; `check` is called before it commits (`distil.fence`)."""
        noise, progress, identity = config.data.noise, self.progress, self.setting.identity
        return Collector(self.fleet, store, seed=config.seed, noise=noise, identity=identity, progress=progress, check=check)

    def require_content(self, earlier: Mapping[str, Mapping[str, str]], where: str) -> None:
        """Compare what the expert and the environment are made of with what they were when the run at `where` began.

        Edited code is reported, not refused: the edit may be the fix that lets the run continue.

        Raises:
            InputError: a file has changed, so the run's labels would be those of two experts.
        """
        if files := changed(self.content.files, earlier["files"]):
            raise InputError(
                f"{where}: {', '.join(files)} changed since the run began: restore it, or start a new run (without --resume)"
            )
        if sources := changed(self.content.sources, earlier["sources"]):
            say(self.progress, f"{', '.join(sources)} changed since {where} began; later episodes use the current code")

    def _name_dropped_infos(self, config: RunConfig) -> None:
        wanted = set(config.rollouts.infos)
        if config.env is not None and wanted and (found := sorted(wanted & reset_infos(config.env))):
            say(self.progress, f"rollouts.infos: {', '.join(found)} of a reset is not stored, only what steps return")

    def _name_environments(self, envs: Sequence[Mapping[str, object]]) -> None:
        """Note where the data are of another environment than the run's: to learn from them may be intended."""
        own = environment(self.setting.env.model_dump(mode="json")) if self.setting.env is not None else ""
        others = sorted({environment(env) for env in envs} - {own, ""})
        if own and others:
            say(self.progress, f"the data are of {', '.join(others)}, the run's environment is {own}")

    def __enter__(self) -> Session:
        return self

    def __exit__(self, *error: object) -> None:
        if self._fleet is not None:
            self._fleet.close()


def _labels(config: RunConfig) -> list[Mapping[str, str]]:
    """Return the labels of the nodes that a run's actors may be on, for each group of them."""
    service, learner = config.rollouts.service, config.learner
    others = ([service.labels] if service is not None else []) + ([learner.labels] if learner.num_learners else [])
    return [config.rollouts.labels, *others]


def _shared(config: RunConfig, elsewhere: bool) -> list[Shared]:
    """Return the folders that other processes than this one read or write, on any node."""
    found, has_ranks = list[Shared](), config.learner.num_learners > 0 or elsewhere
    parts = config.data.mixture.parts if config.data.mixture is not None else ()
    stores = [("data.mixture", location(part.path)) for part in parts] if has_ranks else []
    if config.data.mixture is None and (has_ranks or adds_episodes(config)):
        stores.append(("data.path", config.store_path))
    for key, path in stores:
        if isinstance(path, Path):
            mark = "store.json" if (path / "store.json").is_file() else None
            found.append(Shared(key, path, mark))
    if has_ranks or config.algorithm.needs.acts:
        found.append(Shared("runs", Path(config.runs)))
    return found


def _fleet(config: RunConfig, setting: Setting) -> Fleet | None:
    """Return the workers; they start when they are first needed. The labels of a served expert are kept in `<runs>/labels`."""
    if setting.env is None:
        return None
    digest = hashlib.sha256(json.dumps(setting.identity, sort_keys=True).encode()).hexdigest()[:16]
    ledger = Path(config.runs).resolve() / LABELS / digest
    return Fleet(
        env=setting.env,
        spec=setting.spec,
        config=config.workers,
        team=setting.team,
        ledger=ledger,
        alongside=config.overlap > 0 or config.learner.num_learners > 0,
        reserved=config.learner.num_learners,
    )
