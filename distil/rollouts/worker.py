"""A worker: its environments, its agent, its shards. A plain class that runs in this process or in a Ray actor."""

from __future__ import annotations

import secrets
from collections.abc import Callable, Sequence
from contextlib import suppress

import numpy as np

from distil.envs import Slots, slots
from distil.errors import InputError, RunError
from distil.experts.base import Expert
from distil.interrupts import delayed_interrupts
from distil.policies.spec import PolicyRef
from distil.rollouts.agents import Agent
from distil.rollouts.labelling import Labeller
from distil.rollouts.loop import EpisodeItem, EpisodeLoop, Finished
from distil.rollouts.work import Assignment, EpisodeStats, Sealed, Setup, WorkReport
from distil.store.footer import Footer
from distil.store.location import location
from distil.store.writer import ShardWriter


class Worker:
    """Runs items in its environments, which it makes once, and writes the episodes to its own shards."""

    def __init__(self, setup: Setup) -> None:
        self._setup = setup
        self._slots: dict[bool, Slots] = {}
        self._assignment = ""
        self._agent: Agent | None = None
        self._labeller: Labeller | None = None
        self._writer: ShardWriter | None = None
        self._unsealed: list[EpisodeStats] = []
        self._sealed: list[Sealed] = []  # of the assignment, without the first `_num_known`
        self._num_known = 0

    def run(
        self,
        assignment: Assignment,
        items: Sequence[EpisodeItem],
        policy: PolicyRef | None,
        *,
        known: int = 0,
        stop: Callable[[], bool] = lambda: False,
        tell: Callable[[EpisodeStats], None] = lambda stats: None,
    ) -> WorkReport:
        """Run the items to their ends. An InputError or RunError is returned in the report; complete episodes are kept.

        Args:
            assignment: what the items have in common.
            items: the episodes.
            policy: the acting policy, if a policy acts.
            known: number of the assignment's shards that the caller has from earlier reports; they are not reported again.
            stop: called at every step; when true, unfinished episodes are dropped.
            tell: called after each episode.
        """
        done: list[EpisodeStats] = []
        try:
            agent = self._prepare(assignment, policy)
            record = assignment.record if assignment.target else None
            places = self._places(assignment)
            loop = EpisodeLoop(places, agent, items, spec=self._setup.spec, record=record)
            try:
                for _ in loop.steps(stop):
                    self._take(loop, done, tell)
            finally:
                self._take(loop, done, tell)  # what is complete, after an error or interrupt too
            for one in self._labeller.flush(wait=not stop()) if self._labeller else []:
                self._keep([one].copy, done, tell)
            if self._writer and self._writer.is_full:
                self._seal()
        except (InputError, RunError) as error:
            self._keep_labelled(done)
            self.close()  # an environment that failed may be unusable; the next call makes new ones
            return WorkReport(
                stats=tuple(done), sealed=self._after(known), error=str(error), is_input_error=isinstance(error, InputError)
            )
        return WorkReport(stats=tuple(done), sealed=self._after(known))

    def seal(self, known: int = 0) -> WorkReport:
        """Write the buffered episodes as a shard; report the assignment's shards after the first `known`."""
        try:
            self._seal()
        except RunError as error:
            return WorkReport(sealed=self._after(known), error=str(error))
        return WorkReport(sealed=self._after(known))

    def close(self) -> None:
        """Close the environments."""
        for places in self._slots.values():
            places.close()
        self._slots = {}

    def _prepare(self, assignment: Assignment, policy: PolicyRef | None) -> Agent:
        if assignment.key != self._assignment or self._agent is None:
            self._agent, self._writer, self._unsealed, self._sealed, self._num_known = None, None, [], [], 0
            if assignment.target:
                name = f"w{secrets.token_hex(4)}"
                self._writer = ShardWriter(
                    location(assignment.target.path), assignment.target.spec, name, assignment.target.shard_bytes
                )
            setup = self._setup
            expert = self._expert(assignment)
            self._agent = assignment.agent.build(setup.spec, setup.num_envs, expert, policy)
            self._labeller = self._label_with(expert) if assignment.label else None
            self._assignment = assignment.key
        return self._agent

    def _places(self, assignment: Assignment) -> Slots:
        expert, agent = self._expert(assignment), assignment.agent
        asked = agent.who == "expert" or agent.gate is not None
        look_inside = asked and expert is not None and expert.needs_env
        if look_inside not in self._slots:
            setup = self._setup
            self._slots[look_inside] = slots(setup.env, setup.num_envs, native=not look_inside, spec=setup.spec)
        if look_inside and self._slots[look_inside].envs is None:
            name = getattr(expert, "name", "the expert")
            raise InputError(
                f"expert {name} reads the simulator, but the vectorised {self._setup.spec.name} gives no access to it"
            )
        return self._slots[look_inside]

    def _expert(self, assignment: Assignment) -> Expert | None:
        team = self._setup.team
        return None if team is None else team.members[assignment.expert or next(iter(team.members))]

    def _label_with(self, expert: Expert | None) -> Labeller:
        if expert is None:
            raise InputError("labels are required, but no expert is configured: set expert.kind")
        return Labeller(expert, self._setup.spec.name)

    def _take(self, loop: EpisodeLoop, done: list[EpisodeStats], tell: Callable[[EpisodeStats], None]) -> None:
        """Keep the episodes that have ended; those without labels, once they have them."""
        if self._labeller is None:
            self._keep(loop.take, done, tell)
            return
        for finished in loop.take():
            for one in self._labeller.put(finished):
                self._keep([one].copy, done, tell)

    def _keep_labelled(self, done: list[EpisodeStats]) -> None:
        """After an error, keep the episodes whose labels are there."""
        with suppress(InputError, RunError):
            for one in self._labeller.flush(wait=False) if self._labeller else ():
                self._keep([one].copy, done)

    def _keep(
        self,
        take: Callable[[], list[Finished]],
        done: list[EpisodeStats],
        tell: Callable[[EpisodeStats], None] = lambda stats: None,
    ) -> None:
        """Write the complete episodes that `take` returns to the shard, and add their stats to `done`."""
        if self._writer is None:
            stats = [_stats(finished) for finished in take()]
        else:
            with delayed_interrupts():  # what is taken is also written
                ended = take()
                stats = [_stats(finished) for finished in ended]
                self._writer.add(*(finished.episode for finished in ended if finished.episode))
                self._unsealed += stats
        for one in stats:
            done.append(one)
            tell(one)

    def _seal(self) -> None:
        if self._writer is None:
            return
        entry = self._writer.seal()
        stats, self._unsealed = tuple(self._unsealed), []
        if entry is not None:
            footer = Footer.read(self._writer.root, entry)  # from the file: what is published is seen to be there
            self._sealed.append(Sealed(entry=entry, footer=footer, stats=stats))

    def _after(self, known: int) -> tuple[Sealed, ...]:
        """Forget the assignment's first `known` shards, and return the others."""
        if known > self._num_known:
            del self._sealed[: known - self._num_known]
            self._num_known = known
        return tuple(self._sealed)


def _stats(finished: Finished) -> EpisodeStats:
    item, episode = finished.item, finished.episode
    return EpisodeStats(
        index=item.index,
        uid=item.uid,
        seed=item.seed,
        total_reward=finished.total_reward,
        length=finished.length,
        terminated=finished.terminated,
        truncated=finished.truncated,
        success=finished.success,
        num_labels=int(np.count_nonzero(episode.labelled)) if episode else 0,
    )
