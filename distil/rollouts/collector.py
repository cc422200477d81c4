"""The collector: a plan into episodes in the store, committed once."""

from __future__ import annotations

import hashlib
import json
import time

import numpy as np

from distil.plans import CollectPlan, CollectReport
from distil.rollouts.actors import ActorSpec
from distil.rollouts.config import NoiseConfig
from distil.rollouts.fleet import Fleet, Outcome
from distil.rollouts.loop import Item, Record
from distil.rollouts.worker import Job, Target
from distil.seeding import Purpose, episode_seeds
from distil.store.store import Store
from distil.types import PolicyRef, Progress, silent


class Collector:
    """Collects episodes with a fleet into a store.

    Args:
        fleet: who runs them.
        store: where they go.
        seed: root seed of the episodes' seeds.
        noise: on the expert's actions.
        identity: what else tells this stream of episodes from others, such as the expert's configuration, as JSON data.
        progress: told of episodes as they end.
    """

    def __init__(
        self,
        fleet: Fleet,
        store: Store,
        *,
        seed: int,
        noise: NoiseConfig | None = None,
        identity: object = None,
        progress: Progress = silent,
    ) -> None:
        self._fleet, self._store, self._seed = fleet, store, seed
        self._noise, self._identity, self._progress = noise or NoiseConfig(), identity, progress

    def collect(self, plan: CollectPlan, policy: PolicyRef | None = None) -> CollectReport:
        """Run the plan's episodes that the store doesn't have yet, and commit them in one version.

        On an error or interrupt the complete episodes are committed, then it is raised.

        Raises:
            RunError: see `Fleet.run`; or the store couldn't be written.
            InputError: the actor doesn't fit the environment.
        """
        started = time.perf_counter()
        snapshot = self._store.snapshot()
        present = set(np.asarray(snapshot.episodes.uid).tolist())
        items = [item for item in self.items(plan) if item.uid not in present]
        outcome = Outcome()
        try:
            self._fleet.run(self._job(plan, policy), items, policy, outcome=outcome, progress=self._progress, what="collect")
        except BaseException:
            self._commit(outcome, plan)
            raise
        version = self._commit(outcome, plan) if outcome.sealed else snapshot.version
        stats = list(outcome.stats.values())
        metrics = {"time/collect_s": time.perf_counter() - started}
        if stats:
            metrics["collect/return_mean"] = float(np.mean([s.total_reward for s in stats]))
        return CollectReport(
            snapshot=version,
            num_episodes=len(stats),
            env_steps=sum(s.length for s in stats),
            expert_labels=sum(s.num_labels for s in stats),
            metrics=metrics,
        )

    def items(self, plan: CollectPlan) -> list[Item]:
        """Return all items of a plan, those that the store has included. The first k of n are the same for every n."""
        seeds = episode_seeds(Purpose.COLLECT, plan.num_episodes, root=self._seed, names=(plan.round,))
        stream = self._stream(plan)
        return [Item(index=i, uid=f"{stream}-{plan.round:04d}-{i:08d}", seed=seed) for i, seed in enumerate(seeds)]

    def _stream(self, plan: CollectPlan) -> str:
        parts = {
            "env": self._fleet.env.model_dump(mode="json"),
            "actor": plan.actor,
            "noise": self._noise.model_dump(mode="json") if self._noise.kind != "none" else None,
            "seed": self._seed,
            "identity": self._identity,
        }
        return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()[:8]

    def _job(self, plan: CollectPlan, policy: PolicyRef | None) -> Job:
        expert = self._fleet.expert
        source = f"expert:{expert.name}" if plan.actor == "expert" and expert is not None else plan.actor
        return Job(
            actor=ActorSpec(who=plan.actor, noise=self._noise),
            record=Record(
                source=source,
                policy_version=policy.version if plan.actor == "policy" and policy is not None else -1,
                round=plan.round,
                infos=self._store.spec.infos,
            ),
            target=Target(
                path=str(self._store.path.resolve()), spec=self._store.spec, shard_bytes=self._fleet.config.shard_bytes
            ),
        )

    def _commit(self, outcome: Outcome, plan: CollectPlan) -> int:
        if not outcome.sealed:
            return 0
        entries = [sealed.entry for sealed in outcome.sealed.values()]
        return self._store.commit(entries, message=f"round {plan.round}: {len(outcome.stats)} episodes by {plan.actor}").version
