"""The episode loop, without Ray: N slots act together, and each runs its own queue of seeded episodes to their ends.

The item of index i runs in slot i mod N of any worker. Seed and slot determine every bit of the episode (see
`distil.rollouts.agents`), so the set of episodes does not depend on the number of workers. All items run to their end, so
short episodes are not favoured. Legend: N slots, T steps.
"""

from __future__ import annotations

import json
import math
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np

from distil.envs import EnvSpec, SlotError, Slots, StepResult
from distil.errors import InputError, RunError
from distil.rollouts.agents import Acted, Agent
from distil.rollouts.recorder import Recorder
from distil.success import Success
from distil.types import Array, Episode

ENDLESS = 200_000  # steps after which an episode without a time limit is considered endless


@dataclass(frozen=True, kw_only=True)
class EpisodeItem:
    """One episode to run. A retry runs the same item."""

    index: int  # the slot is index mod N
    uid: str
    seed: int


class Finished(NamedTuple):
    """An episode that has ended."""

    item: EpisodeItem
    total_reward: float
    length: int
    terminated: bool
    truncated: bool
    success: bool | None  # None: the environment does not report it
    episode: Episode | None  # None: it was not recorded


@dataclass(frozen=True, kw_only=True)
class Record:
    """What to write into recorded episodes in addition to their steps."""

    source: str = ""
    policy_version: int = -1
    round: int = 0
    infos: tuple[str, ...] = ()  # keys of the environment's infos to keep


class _Ended(NamedTuple):
    item: EpisodeItem
    total_reward: float
    length: int
    terminated: bool
    truncated: bool
    success: bool | None
    infos: tuple[str, ...]


class EpisodeLoop:
    """Runs every item to its end. `steps` runs the environments, `take` returns the episodes that have ended.

    After an error or interrupt in `steps`, `take` returns what was complete before it.

    Args:
        slots: the environments.
        agent: chooses the actions.
        items: the episodes.
        spec: the environment's spec.
        record: keep the steps, with these attributes; None: only returns and lengths.
    """

    def __init__(
        self, slots: Slots, agent: Agent, items: Iterable[EpisodeItem], *, spec: EnvSpec, record: Record | None = None
    ) -> None:
        num = slots.num_slots
        self._slots, self._agent, self._spec, self._record = slots, agent, spec, record
        self._queues: list[deque[EpisodeItem]] = [deque() for _ in range(num)]
        for item in items:
            self._queues[item.index % num].append(item)
        slots.prepare([item.seed for queue in self._queues for item in queue])
        self._items: list[EpisodeItem | None] = [None] * num
        self._active, self._num_active = np.zeros(num, np.bool_), 0
        self._lengths = np.zeros(num, np.int64)
        self._totals = np.zeros(num, np.float64)
        self._success = [Success() for _ in range(num)]
        self._infos: list[list[str]] = [[] for _ in range(num)]
        self._ended: list[_Ended] = []  # and not taken
        self._recorder = Recorder(spec, num) if record else None
        self._obs = {leaf.name: np.zeros((num, *leaf.shape), leaf.dtype) for leaf in spec.observation.leaves}
        self._floats = [leaf.name for leaf in spec.observation.leaves if np.dtype(leaf.dtype).kind == "f"]
        self._shape = (num, *spec.action.leaf.shape)

    def steps(self, stop: Callable[[], bool] = lambda: False) -> Iterator[None]:
        """Step until all episodes have ended; yield where `take` should be called, for recorded ones rarely, which is cheaper.

        Args:
            stop: called at every step; when true, unfinished episodes are dropped.

        Raises:
            RunError: an environment or the agent raised, or returned NaN or a wrong shape; the message names seed and step.
            InputError: the agent doesn't fit the environment.
        """
        self._refill(range(self._slots.num_slots))
        while self._num_active and not stop():
            acted = self._act()
            result = self._step(acted)
            if self._recorder:
                self._recorder.add(self._obs, acted, result.rewards)
            self._obs = result.observations
            self._lengths += self._active
            self._totals += result.rewards
            if result.infos is not None:
                self._read_infos(result.infos)
            elif self._record and self._record.infos:
                self._read_infos([{}] * len(self._items))
            ended = ((result.terminated | result.truncated) & self._active).nonzero()[0]
            if len(ended):
                self._end(ended, result)
                self._refill(ended.tolist())
            if self._recorder.is_full if self._recorder else len(ended):
                yield
            if self._spec.max_episode_steps is None and self._lengths.max() >= ENDLESS:
                self._raise_endless()

    def take(self) -> list[Finished]:
        """Return the episodes that have ended since the last call, in the order in which they ended."""
        ended, self._ended = self._ended, []
        episodes = self._recorder.take() if self._recorder else [None] * len(ended)
        return list(map(self._finished, ended, episodes))

    def _refill(self, free: Sequence[int]) -> None:
        """Start the next item of each free slot."""
        if self._slots.resets_together:
            if self._num_active:
                return
            free = range(self._slots.num_slots)
        starting = [slot for slot in free if self._queues[slot]]
        if not starting:
            return
        for slot in starting:
            item = self._items[slot] = self._queues[slot].popleft()
            self._success[slot], self._infos[slot] = Success(), []
            self._agent.begin(slot, item.seed)
        if self._recorder:
            self._recorder.start(starting)
        rows = np.array(starting)
        self._lengths[rows], self._totals[rows], self._active[rows] = 0, 0.0, True
        self._num_active += len(starting)
        try:
            first = self._slots.reset(starting, [self._item(slot).seed for slot in starting])
        except SlotError as error:
            raise self._env_fault(error, "reset") from error
        for name, column in self._obs.items():
            column[rows] = first[name]
        self._check_finite(first, starting)

    def _act(self) -> Acted:
        try:
            acted = self._agent.act(self._obs, self._slots.envs, self._active)
        except InputError:
            raise
        except (Exception, SystemExit) as error:  # the user's expert: any kind
            text = str(error) if isinstance(error, RunError) else f"the agent raised {type(error).__name__}: {error}"
            row = getattr(error, "row", None)
            raise RunError(f"{' '.join(text.split())} (environment {self._spec.name}, at {self._where(row)})") from error
        if acted.actions.shape != self._shape:
            text = f"the agent returned actions of shape {acted.actions.shape}, expected {self._shape}"
            raise RunError(f"{text} (environment {self._spec.name}, at {self._where(None)})")
        if acted.actions.dtype.kind == "f" and not _is_finite(acted.actions):
            self._raise_nonfinite(acted.actions, "the agent", "its action", range(len(self._items)))
        if acted.answered is not None and not acted.answered[self._active].all():
            slot = int(np.flatnonzero(~acted.answered & self._active)[0])
            raise RunError(
                f"the expert gave no action at {self._where(slot)}: an acting expert must return an action at every step"
            )
        return acted

    def _step(self, acted: Acted) -> StepResult:
        try:
            result = self._slots.step(acted.actions, self._active)
        except SlotError as error:
            raise self._env_fault(error, "step") from error
        self._check_finite(result.observations, range(len(self._items)))
        if not _is_finite(result.rewards):
            self._raise_nonfinite(result.rewards, f"environment {self._spec.name}", "reward", range(len(self._items)))
        return result

    def _check_finite(self, observations: Mapping[str, Array], rows: Sequence[int]) -> None:
        for name in self._floats:
            if not _is_finite(observations[name]):
                self._raise_nonfinite(observations[name], f"environment {self._spec.name}", name, rows)

    def _raise_nonfinite(self, values: Array, who: str, what: str, rows: Sequence[int]) -> None:
        for row, slot in zip(values, rows, strict=True):
            if self._active[slot] and not np.isfinite(row).all():
                kind = "NaN" if np.isnan(row).any() else "an infinite number"
                raise RunError(f"{who} returned {kind} in {what} at {self._where(slot)}")

    def _env_fault(self, error: SlotError, during: str) -> RunError:
        return RunError(f"environment {self._spec.name} {error} (in {during} at {self._where(error.slot)})")

    def _where(self, slot: int | None) -> str:
        slots = np.flatnonzero(self._active).tolist() if slot is None else [slot]
        places = ", ".join(f"seed {self._item(i).seed} step {self._lengths[i]}" for i in slots)
        return places if len(slots) == 1 else f"one of {places}"

    def _raise_endless(self) -> None:
        slot = int(self._lengths.argmax())
        where = f"environment {self._spec.name} has not ended its episode at {self._where(slot)}"
        raise RunError(f"{where}: it has no time limit, set env.max_episode_steps")

    def _item(self, slot: int) -> EpisodeItem:
        item = self._items[slot]
        assert item is not None
        return item

    def _read_infos(self, infos: Sequence[Mapping[str, Any]]) -> None:
        names = self._record.infos if self._record else ()
        for slot in np.flatnonzero(self._active).tolist():
            info = infos[slot]
            self._success[slot].add(info)
            if names:
                kept = {name: info[name] for name in names if name in info}
                self._infos[slot].append(self._to_json(kept, slot))

    def _to_json(self, kept: Mapping[str, Any], slot: int) -> str:
        try:
            return json.dumps(kept, default=_plain)
        except (TypeError, ValueError, RecursionError) as error:
            where = f"environment {self._spec.name} at {self._where(slot)}"
            text = f"{where}: info {', '.join(kept)} can't be written as JSON: {error}; remove it from rollouts.infos"
            raise RunError(text) from None

    def _end(self, ended: Array, result: StepResult) -> None:
        """Keep the facts of the episodes that have ended in these slots."""
        self._active[ended] = False
        self._num_active -= len(ended)
        columns = (self._totals, self._lengths, result.terminated, result.truncated)
        slots, facts = ended.tolist(), zip(*(column[ended].tolist() for column in columns), strict=True)
        for slot, (total, length, terminated, truncated) in zip(slots, facts, strict=True):
            success, infos = self._success[slot].reached, tuple(self._infos[slot])
            self._ended.append(_Ended(self._item(slot), total, length, bool(terminated), bool(truncated), success, infos))
        if self._recorder:
            self._recorder.finish(slots, result.observations)

    def _finished(self, ended: _Ended, columns: dict[str, Array] | None) -> Finished:
        item, record, episode = ended.item, self._record, None
        if columns is not None and record:
            episode = Episode(
                observations={leaf.name: columns[leaf.name] for leaf in self._spec.observation.leaves},
                actions=columns["action"],
                rewards=columns["reward"],
                terminated=ended.terminated,
                truncated=ended.truncated,
                expert_actions=columns["expert_action"],
                labelled=columns["labelled"],
                acted_by_expert=columns["acted_by_expert"],
                policy_version=record.policy_version,
                round=record.round,
                seed=item.seed,
                uid=item.uid,
                source=record.source,
                success=ended.success,
                infos=ended.infos if record.infos else None,
            )
        return Finished(
            item=item,
            total_reward=ended.total_reward,
            length=ended.length,
            terminated=ended.terminated,
            truncated=ended.truncated,
            success=ended.success,
            episode=episode,
        )


def _is_finite(values: Array) -> bool:
    """Return whether all values are: if their squares' sum is, they are; and it is cheaper to compute."""
    return math.isfinite(np.vdot(values, values)) or bool(np.isfinite(values).all())


def _plain(value: Any) -> Any:
    return value.tolist() if isinstance(value, np.ndarray | np.generic) else str(value)
