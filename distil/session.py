"""Session: what the runs of one environment and expert share."""

from __future__ import annotations

from distil.envs import describe
from distil.errors import InputError, RunError
from distil.plans import CheckPlan, Who
from distil.policies.checkpoint import require_spaces
from distil.rollouts import Baselines, Collector, EvalResult, Fleet, evaluate
from distil.rollouts.session import ensure_ray
from distil.runconfig import RunConfig
from distil.seeding import Purpose, episode_seeds
from distil.store import MixtureConfig, Snapshot, Store, StoreSpec
from distil.types import PolicyRef, Progress, silent

_BOTH: tuple[Who, Who] = ("random", "expert")


class Session:
    """What the runs of one environment and expert share: the fleet of workers, and the baselines measured with it.

    Raises:
        InputError: the environment or the expert can't be made, or they don't fit each other. Nothing has started then.
    """

    def __init__(self, config: RunConfig, progress: Progress = silent) -> None:
        self.spec = describe(config.env)
        config.algorithm.build(config.budget(self.spec.max_episode_steps))  # refused before anything starts
        expert = config.expert.build(config.env, self.spec) if config.expert else None
        config.policy.resolve(self.spec.observation, self.spec.action)
        for augmentation in config.learner.augment:
            augmentation.check(self.spec.observation)
        if config.learner.num_learners:  # a session of Ray started for the workers alone would have no room for the learners
            ensure_ray(config.rollouts.address, config.rollouts.num_workers + config.learner.num_learners)
        self.fleet = Fleet(env=config.env, spec=self.spec, config=config.rollouts, expert=expert)
        self.progress = progress
        self._scores: dict[tuple[Who, int, Purpose], EvalResult] = {}

    def score(self, who: Who, num_episodes: int, purpose: Purpose = Purpose.EVALUATE) -> EvalResult:
        """Return how `who` ("expert" or "random") does on the episodes of a purpose; measured once."""
        key = (who, num_episodes, purpose)
        if key not in self._scores:
            self._scores[key] = self.evaluate(who, num_episodes, purpose=purpose)
        return self._scores[key]

    def evaluate(
        self, who: Who, num_episodes: int, policy: PolicyRef | None = None, purpose: Purpose = Purpose.EVALUATE
    ) -> EvalResult:
        """Return how `who` does on the first `num_episodes` episodes; InputError if the policy is for other spaces."""
        if policy is not None:
            require_spaces(policy, self.spec.observation, self.spec.action, self.spec.name)
        seeds = episode_seeds(purpose, num_episodes)
        return evaluate(self.fleet, who, seeds, policy=policy, progress=self.progress, what=f"evaluate {who}")

    def baselines(self, num_episodes: int, purpose: Purpose = Purpose.EVALUATE) -> Baselines | None:
        """Return what `eval/normalised` is measured against; None without an expert."""
        if self.fleet.expert is None:
            return None
        random, expert = (self.score(who, num_episodes, purpose).mean for who in _BOTH)
        return Baselines(random=random, expert=expert)

    def check_expert(self, plan: CheckPlan) -> dict[str, float]:
        """Return the mean returns of the expert and of a random policy.

        Raises:
            RunError: the expert is no better than the random policy, or below the plan's reference.
        """
        baselines = self.baselines(plan.num_episodes, Purpose.TUNE)
        assert baselines is not None
        assert self.fleet.expert is not None
        least = baselines.random if plan.min_return is None else max(baselines.random, plan.min_return)
        if not baselines.expert > baselines.random or baselines.expert < least:
            raise RunError(
                f"expert {self.fleet.expert.name}: its mean return over {plan.num_episodes} episodes of {self.spec.name} is "
                f"{baselines.expert:.6g}; a random policy's is {baselines.random:.6g}, wanted is at least {least:.6g}: mend "
                "the expert, or choose one for this environment"
            )
        return {"expert/return_mean": baselines.expert, "expert/random_return_mean": baselines.random}

    def store(self, config: RunConfig) -> Store:
        """Open the run's store, or make it where there is an expert to fill it."""
        if config.budget().num_demonstrations is None and not Store.exists(config.store_path):
            raise InputError(f"{config.store_path}: no store there, and no expert to fill it: set data.path or expert.kind")
        env = config.env.model_dump(mode="json")
        spec = StoreSpec(observation=self.spec.observation, action=self.spec.action, infos=config.rollouts.infos, env=env)
        return Store.open_or_create(config.store_path, spec)

    def mixture(self, mixture: MixtureConfig) -> list[Snapshot]:
        """Return the parts of a mixture; InputError if the environment has other spaces than they."""
        parts = mixture.resolve()
        parts[0].spec.require_spaces(self.spec.observation, self.spec.action, str(parts[0].path))
        return parts

    def collector(self, config: RunConfig, store: Store) -> Collector:
        """Return the collector of the run's demonstrations."""
        expert = config.expert.model_dump(mode="json") if config.expert else None
        noise, progress = config.data.noise, self.progress
        return Collector(self.fleet, store, seed=config.seed, noise=noise, identity=expert, progress=progress)

    def __enter__(self) -> Session:
        return self

    def __exit__(self, *error: object) -> None:
        self.fleet.close()
