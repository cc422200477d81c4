"""Session: what the runs of one environment and expert share."""

from __future__ import annotations

from distil.envs import describe
from distil.errors import InputError
from distil.plans import Who
from distil.policies.checkpoint import require_spaces
from distil.rollouts import Baselines, Collector, EvalResult, Fleet, evaluate
from distil.rollouts.session import ensure_ray
from distil.runconfig import RunConfig
from distil.seeding import Purpose, episode_seeds
from distil.store import Store, StoreSpec
from distil.types import PolicyRef, Progress, silent


class Session:
    """What the runs of one environment and expert share: the fleet of workers, and the baselines measured with it.

    Raises:
        InputError: the environment or the expert can't be made, or they don't fit each other. Nothing has started then.
    """

    def __init__(self, config: RunConfig, progress: Progress = silent) -> None:
        self.spec = describe(config.env)
        expert = config.expert.build(config.env, self.spec) if config.expert else None
        config.policy.resolve(self.spec.observation, self.spec.action)
        if config.learner.num_learners:  # a session of Ray started for the workers alone would have no room for the learners
            ensure_ray(config.rollouts.address, config.rollouts.num_workers + config.learner.num_learners)
        self.fleet = Fleet(env=config.env, spec=self.spec, config=config.rollouts, expert=expert)
        self.progress = progress
        self._scores: dict[tuple[Who, int], EvalResult] = {}

    def score(self, who: Who, num_episodes: int) -> EvalResult:
        """Return how `who` ("expert" or "random") does on the held-out episodes; measured once."""
        key = (who, num_episodes)
        if key not in self._scores:
            self._scores[key] = self.evaluate(who, num_episodes)
        return self._scores[key]

    def evaluate(self, who: Who, num_episodes: int, policy: PolicyRef | None = None) -> EvalResult:
        """Return how `who` does on the first `num_episodes` held-out episodes; InputError if the policy is for other spaces."""
        if policy is not None:
            require_spaces(policy, self.spec.observation, self.spec.action, self.spec.name)
        seeds = episode_seeds(Purpose.EVALUATE, num_episodes)
        return evaluate(self.fleet, who, seeds, policy=policy, progress=self.progress, what=f"evaluate {who}")

    def baselines(self, num_episodes: int) -> Baselines | None:
        """Return what `eval/normalised` is measured against; None without an expert."""
        if self.fleet.expert is None:
            return None
        return Baselines(random=self.score("random", num_episodes).mean, expert=self.score("expert", num_episodes).mean)

    def store(self, config: RunConfig) -> Store:
        """Open the run's store, or make it where there is an expert to fill it."""
        if config.budget().num_demonstrations is None and not (config.store_path / "store.json").exists():
            raise InputError(f"{config.store_path}: no store there, and no expert to fill it: set data.path or expert.kind")
        env = config.env.model_dump(mode="json")
        spec = StoreSpec(observation=self.spec.observation, action=self.spec.action, infos=config.rollouts.infos, env=env)
        return Store.open_or_create(config.store_path, spec)

    def collector(self, config: RunConfig, store: Store) -> Collector:
        """Return the collector of the run's demonstrations."""
        expert = config.expert.model_dump(mode="json") if config.expert else None
        noise, progress = config.data.noise, self.progress
        return Collector(self.fleet, store, seed=config.seed, noise=noise, identity=expert, progress=progress)

    def __enter__(self) -> Session:
        return self

    def __exit__(self, *error: object) -> None:
        self.fleet.close()
