"""The collector: a plan into episodes in the store, committed once."""

from __future__ import annotations

import hashlib
import itertools
import json
import time
from collections.abc import Iterator, Sequence

import numpy as np

from distil.errors import RunError
from distil.plans import CollectPlan, CollectReport
from distil.rollouts.actors import ActorSpec
from distil.rollouts.config import NoiseConfig
from distil.rollouts.fleet import Fleet, Outcome
from distil.rollouts.loop import Item, Record
from distil.rollouts.worker import Job, Target
from distil.seeding import Purpose, episode_seeds, generator
from distil.store.store import Store
from distil.types import PolicyRef, Progress, silent


def episode_uids(stream: str, round_index: int, num: int) -> list[str]:
    """Return the uids of the first `num` episodes of a round."""
    return [f"{stream}-{round_index:04d}-{i:08d}" for i in range(num)]


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

        Args:
            plan: which episodes, and who acts and labels.
            policy: who acts, if a policy does.

        Raises:
            RunError: see `Fleet.run`; the store couldn't be written; or the expert left too many steps unlabelled.
            InputError: the actor doesn't fit the environment.
        """
        started = time.perf_counter()
        snapshot = self._store.snapshot()
        present = set(np.asarray(snapshot.episodes.uid).tolist())
        items = self.items(plan, policy)
        outcome = Outcome()
        try:
            for job, part in self._jobs(plan, policy, [item for item in items if item.uid not in present]):
                self._fleet.run(job, part, policy, outcome=outcome, progress=self._progress, what="collect")
        except BaseException:
            self._commit(outcome, plan)
            raise
        version = self._commit(outcome, plan) if outcome.sealed else snapshot.version
        self._check_labels(plan, version, items)
        stats = list(outcome.stats.values())
        metrics = {"time/collect_s": time.perf_counter() - started}
        if stats:
            metrics["collect/return_mean"] = float(np.mean([s.total_reward for s in stats]))
        return CollectReport(
            snapshot=version,
            num_episodes=len(stats),
            env_steps=sum(s.length for s in stats),
            expert_labels=sum(s.num_labels for s in stats),
            stream=self.stream(plan, policy),
            metrics=metrics,
        )

    def items(self, plan: CollectPlan, policy: PolicyRef | None = None) -> list[Item]:
        """Return all items of a plan, those that the store has included. The first k of n are the same for every n."""
        seeds = episode_seeds(Purpose.COLLECT, plan.num_episodes, root=self._seed, names=(plan.round,))
        uids = episode_uids(self.stream(plan, policy), plan.round, plan.num_episodes)
        return [Item(index=i, uid=uid, seed=seed) for i, (uid, seed) in enumerate(zip(uids, seeds, strict=True))]

    def stream(self, plan: CollectPlan, policy: PolicyRef | None = None) -> str:
        """Return the name of the episodes that a plan leads to: equal for all that decides their content, seeds included."""
        parts = {
            "env": self._fleet.env.model_dump(mode="json"),
            "actor": plan.actor,
            "noise": self._noise.model_dump(mode="json") if self._noise.kind != "none" else None,
            "seed": self._seed,
            "identity": self._identity,
        }
        if plan.actor == "policy" and policy is not None:
            mixing = {"beta": plan.beta, "beta_unit": plan.beta_unit, "label": plan.label}
            parts |= {"noise": None, "policy": _digest(policy), "mixing": mixing}
        return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()[:8]

    def _jobs(self, plan: CollectPlan, policy: PolicyRef | None, items: Sequence[Item]) -> Iterator[tuple[Job, list[Item]]]:
        """Yield the items by who acts in them. A coin for a whole episode comes from its seed, so a retry is the same."""
        if plan.actor != "policy":
            noise = self._noise if plan.actor == "expert" else NoiseConfig()
            yield self._job(plan, ActorSpec(who=plan.actor, noise=noise)), list(items)
            return
        per_step = plan.beta_unit == "step" and 0 < plan.beta < 1
        by_expert = [not per_step and _coin(item.seed) < plan.beta for item in items]
        yield self._job(plan, ActorSpec(who="expert")), list(itertools.compress(items, by_expert))
        expert = self._fleet.expert
        inline = per_step or (plan.label and expert is not None and (expert.needs_env or expert.stateful))
        learner = ActorSpec(who="policy", beta=(plan.beta if per_step else 0.0) if inline else None)
        assert policy is not None
        rest = [item for item, expert_acts in zip(items, by_expert, strict=True) if not expert_acts]
        yield self._job(plan, learner, version=policy.version, label=plan.label and not inline), rest

    def _job(self, plan: CollectPlan, actor: ActorSpec, *, version: int = -1, label: bool = False) -> Job:
        name = f"expert:{self._fleet.expert.name}" if self._fleet.expert is not None else ""
        asked = label or actor.beta is not None
        source = name if actor.who == "expert" and name else f"{actor.who}+{name}" if asked else actor.who
        return Job(
            actor=actor,
            label=label,
            record=Record(source=source, policy_version=version, round=plan.round, infos=self._store.spec.infos),
            target=Target(
                path=str(self._store.path.resolve()), spec=self._store.spec, shard_bytes=self._fleet.config.shard_bytes
            ),
        )

    def _check_labels(self, plan: CollectPlan, version: int, items: Sequence[Item]) -> None:
        if not plan.label:
            return
        episodes = self._store.snapshot(version).episodes
        ours = np.isin(episodes.uid, [item.uid for item in items])
        steps, labels = int(episodes.length[ours].sum()), int(episodes.num_labelled[ours].sum())
        if steps - labels > plan.max_unlabelled * steps:
            name = self._fleet.expert.name if self._fleet.expert else "the expert"
            raise RunError(
                f"expert {name}: left {steps - labels} of {steps} steps of round {plan.round} without a usable label (NaN, "
                f"out of bounds, or none), the limit is {plan.max_unlabelled:.0%}: mend the expert, or raise "
                "algorithm.max_unlabelled"
            )

    def _commit(self, outcome: Outcome, plan: CollectPlan) -> int:
        if not outcome.sealed:
            return 0
        entries = [sealed.entry for sealed in outcome.sealed.values()]
        return self._store.commit(entries, message=f"round {plan.round}: {len(outcome.stats)} episodes by {plan.actor}").version


def _coin(seed: int) -> float:
    """Return a number in [0, 1) that belongs to an episode: below beta, the expert acts in all of it."""
    return float(generator(seed, "beta", "episode").random())


def _digest(policy: PolicyRef) -> str:
    """Return the identity of a policy's behaviour: configuration, spaces, weights and statistics."""
    digest = hashlib.sha256(json.dumps(policy.spec, sort_keys=True).encode())
    for name in sorted(policy.arrays):
        digest.update(name.encode())
        digest.update(np.ascontiguousarray(policy.arrays[name]).tobytes())
    return digest.hexdigest()
