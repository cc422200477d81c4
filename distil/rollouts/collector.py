"""The collector: runs the episodes of a plan and commits them to the store, once."""

from __future__ import annotations

import itertools
import time
from collections.abc import Iterator, Sequence
from dataclasses import replace

import numpy as np

from distil.errors import RunError
from distil.experts.gates.base import GatePlan
from distil.fence import Check, unfenced
from distil.plans import CollectPlan, CollectReport
from distil.policies.spec import PolicyRef
from distil.rollouts.agents import AgentSpec
from distil.rollouts.config import NoiseConfig
from distil.rollouts.fleet import Fleet
from distil.rollouts.gating import expert_acts, gate_of
from distil.rollouts.loop import EpisodeItem, Record
from distil.rollouts.relabel import label_store
from distil.rollouts.stream import episode_uids, stream_name
from distil.rollouts.work import Assignment, Outcome, Target
from distil.seeding import Purpose, episode_seeds, integer
from distil.store import Snapshot
from distil.store.store import Store
from distil.types import Progress, silent


class Collector:
    """Collects episodes with a fleet into a store.

    Args:
        fleet: runs the episodes.
        store: receives them.
        seed: root seed of the episodes' seeds.
        noise: on the expert's actions.
        identity: anything else that the episodes' content depends on, such as the expert's configuration and the content of its
            files; JSON data.
        progress: called as episodes end.
        check: called before episodes are committed; see `distil.fence`.
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
        check: Check = unfenced,
    ) -> None:
        self._fleet, self._store, self._seed, self._check = fleet, store, seed, check
        self._noise, self._identity, self._progress = noise or NoiseConfig(), identity, progress

    def collect(self, plan: CollectPlan, policy: PolicyRef | None = None, data: Snapshot | None = None) -> CollectReport:
        """Run the plan's episodes that the store doesn't have yet, and commit them as one version.

        On an error or interrupt, the complete episodes are committed before it is raised.

        Args:
            plan: which episodes, and who acts and labels.
            policy: the acting policy, if a policy acts.
            data: what the run has collected so far, to fit a gate to.

        Raises:
            RunError: see `Fleet.run`; the store can't be written; or the expert left too many steps unlabelled.
            InputError: the agent doesn't fit the environment, or the store doesn't keep the requested infos.
        """
        started = time.perf_counter()
        snapshot = self._store.snapshot()
        index = snapshot.episodes
        facts = zip(index.length.tolist(), index.total_reward.tolist(), strict=True)
        known = dict(zip(index.uid.tolist(), facts, strict=True))
        items, outcome = self.items(plan, policy), Outcome()
        gate = gate_of(plan, policy, data, integer(self._seed, "gate", plan.round), self._fleet.experts.values())
        try:
            self._run(items, known, plan, policy, gate, outcome)
            while num := _missing(plan, [known[item.uid][0] for item in items]):
                plan = replace(plan, num_episodes=plan.num_episodes + num)
                items = self.items(plan, policy)
                self._run(items, known, plan, policy, gate, outcome)
            version = self._commit(outcome, plan) if outcome.sealed else snapshot.version
        except (Exception, KeyboardInterrupt, SystemExit):
            self._commit(outcome, plan)  # again, if the interrupt came during the commit
            raise
        if plan.label and (gate is None or gate.labels_all):
            version = self._complete(plan, version, items, self.stream(plan, policy))
            self._check_labels(plan, version, items)
        stats = list(outcome.stats.values())
        metrics = {"time/collect_s": time.perf_counter() - started} | self._fleet.account()
        if items:  # of all of them, also those that an earlier attempt collected
            metrics["collect/return_mean"] = float(np.mean([known[item.uid][1] for item in items]))
        return CollectReport(
            snapshot=version,
            num_episodes=len(stats),
            num_planned=len(items),
            env_steps=sum(s.length for s in stats),
            expert_labels=sum(s.num_labels for s in stats),
            stream=self.stream(plan, policy),
            metrics=metrics,
        )

    def _run(
        self,
        items: Sequence[EpisodeItem],
        known: dict[str, tuple[int, float]],
        plan: CollectPlan,
        policy: PolicyRef | None,
        gate: GatePlan | None,
        outcome: Outcome,
    ) -> None:
        """Run the items whose episodes are in neither the store nor `outcome`; add their lengths and returns by uid."""
        new = [item for item in items if item.uid not in known]
        if new:
            self._store.spec.require_infos(self._fleet.config.infos, str(self._store.path))
        for assignment, part in self._assignments(plan, policy, gate, new):
            self._fleet.run(assignment, part, policy, outcome=outcome, progress=self._progress, what="collect")
        known |= {stats.uid: (stats.length, float(stats.total_reward)) for stats in outcome.stats.values()}

    def stop(self) -> None:
        """End a `collect` in another thread; it commits its complete episodes."""
        self._fleet.stop()

    def items(self, plan: CollectPlan, policy: PolicyRef | None = None) -> list[EpisodeItem]:
        """Return all items of a plan, including those in the store. The first k of n items are the same for every n."""
        seeds = episode_seeds(Purpose.COLLECT, plan.num_episodes, root=self._seed, names=(plan.round,))
        uids = episode_uids(self.stream(plan, policy), plan.round, plan.num_episodes)
        return [EpisodeItem(index=i, uid=uid, seed=seed) for i, (uid, seed) in enumerate(zip(uids, seeds, strict=True))]

    def stream(self, plan: CollectPlan, policy: PolicyRef | None = None) -> str:
        """Return the name of a plan's episodes; see `stream_name`."""
        fixed = {
            "env": self._fleet.env.model_dump(mode="json"),
            "noise": self._noise.model_dump(mode="json") if self._noise.kind != "none" else None,
            "seed": self._seed,
            "identity": self._identity,
        }
        return stream_name(plan, policy, fixed)

    def _assignments(
        self, plan: CollectPlan, policy: PolicyRef | None, gate: GatePlan | None, items: Sequence[EpisodeItem]
    ) -> Iterator[tuple[Assignment, list[EpisodeItem]]]:
        """Yield the items by expert and by agent. All draws come from an item's seed, so a retry is the same."""
        names = list(self._fleet.experts)
        team = self._fleet.team
        for name in names or [""]:
            mine = [item for item in items if team is None or team.pick(plan.round + item.index, item.seed) == name]
            if plan.agent != "policy":
                noise = self._noise if plan.agent == "expert" else NoiseConfig()
                yield self._assignment(plan, AgentSpec(who=plan.agent, noise=noise), name), mine
                continue
            assert policy is not None
            by_expert = [expert_acts(plan, item.seed) for item in mine]
            yield self._assignment(plan, AgentSpec(who="expert"), name), list(itertools.compress(mine, by_expert))
            policy_agent, label = AgentSpec(who="policy", gate=gate, act=plan.act), plan.label and gate is None
            rest = [item for item, is_experts in zip(mine, by_expert, strict=True) if not is_experts]
            yield self._assignment(plan, policy_agent, name, version=policy.version, label=label), rest

    def _assignment(
        self, plan: CollectPlan, agent: AgentSpec, name: str, *, version: int = -1, label: bool = False
    ) -> Assignment:
        return Assignment(
            agent=agent,
            label=label,
            expert=name,
            record=Record(
                source=_source(agent, name, label), policy_version=version, round=plan.round, infos=self._store.spec.infos
            ),
            target=Target(
                path=str(self._store.path.resolve()), spec=self._store.spec, shard_bytes=self._fleet.config.shard_bytes
            ),
        )

    def _complete(self, plan: CollectPlan, version: int, items: Sequence[EpisodeItem], stream: str) -> int:
        """Ask served experts again for missing labels; return the version with the answers."""
        index = self._store.snapshot(version).episodes
        unlabelled = np.isin(index.uid, [item.uid for item in items]) & (index.num_labelled < index.length)
        if self._fleet.config.service is None or not unlabelled.any():
            return version
        team = self._fleet.asked
        assert team is not None
        uids = set(index.uid[unlabelled].tolist())
        for name, expert in team.members.items():
            ours = [item for item in items if item.uid in uids]
            mine = {item.uid for item in ours if team.pick(plan.round + item.index, item.seed) == name}
            if mine:
                version = label_store(self._store, expert, key=f"{stream} {name}", uids=mine).version
        return version

    def _check_labels(self, plan: CollectPlan, version: int, items: Sequence[EpisodeItem]) -> None:
        episodes = self._store.snapshot(version).episodes
        ours = np.isin(episodes.uid, [item.uid for item in items])
        steps, labels = int(episodes.length[ours].sum()), int(episodes.num_labelled[ours].sum())
        if steps - labels > plan.max_unlabelled * steps:
            names, fault = ", ".join(self._fleet.experts), self._fleet.expert_fault()
            raise RunError(
                f"expert {names}: left {steps - labels} of {steps} steps of round {plan.round} without a usable label (NaN, "
                f"out of bounds, or none); the limit is {plan.max_unlabelled:.0%}: fix the expert, or raise "
                f"algorithm.max_unlabelled{f'; its last failure: {fault}' if fault else ''}"
            )

    def _commit(self, outcome: Outcome, plan: CollectPlan) -> int:
        if not outcome.sealed:
            return 0
        self._check()
        for sealed in outcome.sealed.values():
            self._store.shards.tell(sealed.entry, sealed.footer)
        entries = [sealed.entry for sealed in outcome.sealed.values()]
        return self._store.commit(entries, message=f"round {plan.round}: {len(outcome.stats)} episodes by {plan.agent}").version


def _missing(plan: CollectPlan, lengths: Sequence[int]) -> int:
    """Return how many episodes to add to those of these lengths, which depends on nothing else.

    So few that none is superfluous unless one is longer than all before it, and at most as many as there are: lengths that grow
    during a run are noticed early.
    """
    missing = 0 if plan.min_steps is None else plan.min_steps - sum(lengths)
    if missing <= 0:
        return 0
    return max(1, min(missing // max(lengths, default=1), len(lengths)))


def _source(agent: AgentSpec, name: str, label: bool) -> str:
    """Return an episode's source: who acted, and who labelled."""
    if agent.who == "expert" and name:
        return f"expert:{name}"
    if agent.gate is not None and not agent.gate.needs_expert:
        return f"{agent.who}+human"
    return f"{agent.who}+expert:{name}" if label or agent.gate is not None else agent.who
