"""Labelling one stored shard: the expert is asked about its episodes, and the shard is rewritten with the answers.

Legend: T steps of an episode, R of them that the expert is asked about.
"""

from __future__ import annotations

import secrets
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from distil.errors import RunError
from distil.experts.base import Checked, Expert, Stateless, label
from distil.spaces import SpaceSpec
from distil.store.footer import Footer
from distil.store.location import location
from distil.store.relabel import EpisodeLabels, find_rewritten, labelled_source, require_intact, rewrite_shard
from distil.store.schema import StoreSpec
from distil.store.shard import Shard, ShardEntry, open_shard, read_index
from distil.store.storage import StoredFile
from distil.types import Array, Labels, Observations

Tell = Callable[[int], None]  # called after an episode with the number of its new labels


@dataclass(frozen=True, kw_only=True)
class LabelSetup:
    """What a worker needs, once."""

    path: str  # of the store
    spec: StoreSpec
    expert: Expert


@dataclass(frozen=True, kw_only=True)
class ShardTask:
    """A shard, and the questions about it."""

    entry: ShardEntry
    uids: frozenset[str]  # episodes to ask about
    again: bool  # ask about all their steps, not only those without a label
    key: str  # equal for equal questions to the same expert
    items: tuple[StoredFile, ...] = ()  # files that an earlier process made for this task, complete or not


@dataclass(frozen=True, kw_only=True)
class ShardReport:
    """The result of a task."""

    entry: ShardEntry  # the rewritten shard; the task's own when no label has changed
    footer: Footer | None = None  # of the rewritten shard's file
    error: str = ""  # of the expert; its earlier answers are in the shard
    is_stopped: bool = False  # by an interrupt, before all questions were asked; what was answered is in the shard

    def raise_error(self) -> None:
        """Raise RunError if the expert failed, KeyboardInterrupt if labelling was interrupted."""
        if self.error:
            raise RunError(self.error)
        if self.is_stopped:
            raise KeyboardInterrupt


def label_shard(
    setup: LabelSetup,
    task: ShardTask,
    *,
    stop: Callable[[], bool] = lambda: False,
    tell: Tell = lambda num_labels: None,
) -> ShardReport:
    """Ask the expert about a shard's episodes, with one call per episode, and rewrite the shard.

    Args:
        setup: the store and the expert.
        task: the shard.
        stop: called before each episode; when true, the rest is skipped. Ctrl-C does the same.
        tell: called after each episode.

    Raises:
        RunError: the shard is damaged, or the disk can't be written.
    """
    root, labels, error, is_stopped = location(setup.path), dict[str, EpisodeLabels](), "", False
    if (found := find_rewritten(root, task.entry, task.items)) is not None:
        return ShardReport(entry=found, footer=Footer.read(root, found))
    require_intact(root, task.entry)
    asking, index = _Asking(setup, task), read_index(root, task.entry).to_pylist()
    with open_shard(root, task.entry, setup.spec) as shard:
        try:
            for episode in (row for row in index if row["uid"] in task.uids):
                if is_stopped := stop():
                    break
                new, num_labels = asking.episode(shard, episode)
                if new is not None:
                    labels[episode["uid"]] = new
                tell(num_labels)
        except _ExpertError as fault:
            error = str(fault)
        except KeyboardInterrupt:
            is_stopped = True
    if not labels:
        return ShardReport(entry=task.entry, error=error, is_stopped=is_stopped)
    unfinished = (
        f" unfinished {secrets.token_hex(8)}" if error or is_stopped else ""
    )  # no later process may take it for complete
    entry = rewrite_shard(root, setup.spec, task.entry, f"{task.key}{unfinished}", labels)
    return ShardReport(entry=entry, footer=Footer.read(root, entry), error=error, is_stopped=is_stopped)


class _ExpertError(RunError):
    """The expert raised."""


class _Asking:
    """Asks one expert about episodes of one shard."""

    def __init__(self, setup: LabelSetup, task: ShardTask) -> None:
        self._setup, self._again, self._expert = setup, task.again, setup.expert
        self._check = _Check(setup.expert, setup.spec.action)

    def episode(self, shard: Shard, facts: Mapping[str, Any]) -> tuple[EpisodeLabels | None, int]:
        """Return the episode's labels, None if they have not changed, and the number of labels that the expert gave."""
        first, num = facts["first_row"], facts["length"]
        actions, labelled = (shard.rows(name, first, num).copy() for name in ("expert_action", "labelled"))
        rows = np.arange(num) if self._again else np.flatnonzero(labelled == 0)
        if not len(rows):
            return None, 0
        leaves = self._setup.spec.observation.leaves
        visited = {leaf.name: shard.rows(leaf.name, first, num).astype(leaf.dtype) for leaf in leaves}  # copies
        try:
            answer = self._in_order(visited, rows, facts["seed"]) if self._expert.stateful else self._at_once(visited, rows)
        except Exception as error:  # the user's expert: any kind
            raised = str(error) if isinstance(error, RunError) else f"raised {type(error).__name__}: {error}"
            text = " ".join(raised.removeprefix(f"expert {self._expert.name}: ").split())
            where = f"episode {facts['uid']} of {self._setup.path}"
            raise _ExpertError(f"expert {self._expert.name}: {text} (labelling {where}); what was labelled is kept") from error
        had, was = actions.copy(), labelled.copy()
        actions[rows], labelled[rows] = answer.actions, answer.mask
        actions[labelled == 0] = 0
        num_labels = int(np.count_nonzero(answer.mask))
        source = labelled_source(facts["source"], self._expert.name) if num_labels else facts["source"]
        if source == facts["source"] and np.array_equal(labelled, was) and actions.tobytes() == had.tobytes():
            return None, num_labels
        return EpisodeLabels(actions=actions, labelled=labelled, source=source), num_labels

    def _at_once(self, visited: Observations, rows: NDArray[np.int64]) -> Labels:
        """Return the answers at the R `rows` of T, from one call."""
        if len(rows) == len(next(iter(visited.values()))):
            return self._check(visited)
        return self._check({name: values[rows] for name, values in visited.items()})

    def _in_order(self, visited: Observations, rows: NDArray[np.int64], seed: int) -> Labels:
        """Return the answers at the R `rows`, from one call per step in one slot, in order from the first step."""
        wanted, answers = frozenset(rows.tolist()), []
        self._expert.begin(0, seed)
        for step in range(max(wanted) + 1):
            answer = self._check({name: values[step : step + 1] for name, values in visited.items()})
            if step in wanted:
                answers.append(answer)
        joined: Sequence[Array] = [np.concatenate([getattr(a, name) for a in answers]) for name in ("actions", "mask")]
        return Labels(actions=joined[0], mask=joined[1])


class _Check(Stateless):
    """The expert's labels; an answer that is not an action of the space does not count."""

    def __init__(self, expert: Expert, action: SpaceSpec) -> None:
        self.name, self._expert = expert.name, expert
        self._dtype = np.uint8 if action.leaf.dtype == "bool" else np.dtype(action.leaf.dtype)
        self._given = Labels(actions=np.empty(0), mask=np.empty(0, np.bool_))
        self._checked = Checked(self, action)

    def act(self, observations: Observations, *, envs: Sequence[Any] | None = None) -> Labels:
        """Return the expert's last answer, so that `Checked` checks it."""
        return self._given

    def __call__(self, observations: Observations) -> Labels:
        """Return labels of the rows of `observations`."""
        self._given = label(self._expert, observations)
        checked = self._given if isinstance(self._expert, Checked) else self._checked.label(observations)
        return Labels(actions=checked.actions.astype(self._dtype, copy=False), mask=checked.mask)
