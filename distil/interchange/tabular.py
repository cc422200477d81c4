"""Rows of tables that others wrote, as episodes: which columns are what, and the spaces that follow from them."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Literal

import numpy as np
import pyarrow as pa

from distil.config import nearest
from distil.errors import InputError
from distil.interchange.base import WithoutFinalObservation, require_keys
from distil.interchange.columns import (
    Rows,
    TableFile,
    batches,
    flat,
    is_number,
    is_text,
    json_rows,
    path_of,
    readable,
    runs,
    schema_of,
    to_numpy,
)
from distil.interchange.episodes import (
    BadEpisodeError,
    Finding,
    Report,
    check_episode,
    demonstration,
    fit,
    join,
    last_flag,
    said_of_joined,
    success_in,
)
from distil.interchange.spaces import action_of, leaf_of, observation_of
from distil.interchange.step_order import STEP_NAMES, StepOrder, goes_back, scattered
from distil.spaces import SpaceSpec
from distil.store.schema import StoreSpec
from distil.types import Array, Episode

_PART = re.compile(r"(.+?)[_.](\d+)")
_NAMES = {  # the usual names of a column, where the option doesn't say one
    "reward": ("reward", "rewards", "next.reward"),
    "terminated": ("terminated", "terminateds", "terminal", "terminals", "is_terminal", "next.terminated"),
    "truncated": ("truncated", "truncateds", "truncation", "truncations", "timeout", "timeouts", "next.truncated"),
    "success": ("is_success", "success", "next.is_success", "next.success"),
    "step": STEP_NAMES,
}
_DONE = ("done", "dones", "is_done", "next.done")


class TableImport(WithoutFinalObservation):
    """Options to read rows that are steps; the columns are named here.

    A column that isn't there as such is made of `NAME_0`, `NAME_1`, ... (or `NAME.0`, ...) when those are; columns of a group
    are `GROUP.NAME`. Without rewards they are 0. The observation after the last action is in `next_NAME` columns, or in a last
    row without an action, or there is none (see `final_observation`).
    """

    episode: str | None = "episode"  # the column that names a row's episode, whose rows are together; null: a file is one
    # Of the next ones, null is the usual names of such a column, in small letters or not, and "" none at all.
    step: str | None = None  # orders an episode's rows
    reward: str | None = None
    terminated: str | None = None
    truncated: str | None = None
    done: Literal["terminated", "truncated"] = "terminated"  # what a column "done" means where it is the only one of the ends
    success: str | None = None  # any step that says so


class TabularRows:
    """The columns of a table whose rows are steps."""

    def __init__(self, options: TableImport, files: Sequence[Path | TableFile], report: Report) -> None:
        """Find the columns; InputError names one that isn't there."""
        self._options, self._files, self._report = options, files, report
        self._schema = flat(pa.Table.from_batches([], schema_of(files[0]))).schema
        names = self._schema.names
        if twice := {name for name in names if names.count(name) > 1}:
            raise InputError(f"{files[0]}: two columns are named {min(twice)}; rename one of them")
        self._parts = _parts(names)
        known = {name: _fault(self._schema, self._parts.get(name, [name])) for name in self._known()}
        default = [name for name in known if name.startswith("obs") and name != options.episode]
        chosen = options.choose(known, default, files[0], report)
        require_keys(dict.fromkeys(known, ""), options.infos, files[0])
        if options.episode is not None and options.episode not in known:
            raise InputError(
                f"{files[0]}: no column {options.episode!r} that names a row's episode{nearest(options.episode, list(known))}: "
                f"set episode=COLUMN, or episode=null where each file is one; there are {', '.join(list(known)[:30])}"
            )
        if options.episode is not None and pa.types.is_nested(self._schema.field(options.episode).type):
            raise InputError(f"{files[0]}: {options.episode} is a list in each row, and can't name an episode (episode=...)")
        self._named = {option: self._find(option, known) for option in _NAMES}
        self._done = _usual(_DONE, known)
        self._clocks = [name for name in known if name.lower() in _NAMES["step"] and name != options.episode]
        self._leaves = {f"obs/{name}": name for name in chosen} if len(chosen) > 1 else {"obs": chosen[0]}
        self._next = {name: f"next_{name}" for name in chosen if f"next_{name}" in known}
        self._told: set[str] = set()

    def spec(self) -> StoreSpec:
        """Return the spaces: the observations' from the first row, the actions' from all of them. Reports what is guessed."""
        options, first = self._options, next(self._runs(self._files[:1]), None)
        if first is None:
            raise InputError(f"{self._files[0]}: it has no rows")
        try:
            arrays = {leaf: self._column(first.table.slice(0, 1), column) for leaf, column in self._leaves.items()}
            of_episodes = self._runs(self._files, self._action_columns())
            action = action_of(readable(of_episodes, lambda table: self._actions(table, skip_null=True)))
            if len(keys := options.action_keys) > 1:
                shapes = {key: self._column(first.table.slice(0, 1), key).shape[1:] for key in keys}
                self._say(said_of_joined(shapes))
        except BadEpisodeError as bad:
            raise InputError(f"{self._files[0]}: {bad.what}; choose other columns, or leave the file out") from None
        if len(arrays) == 1:
            values = arrays["obs"]
            observation = SpaceSpec(tree="obs", leaves=(leaf_of("obs", values.shape[1:], values.dtype),))
        else:
            rows = {leaf.removeprefix("obs/"): (values.shape[1:], values.dtype) for leaf, values in arrays.items()}
            observation = observation_of(rows)
        if self._named["reward"] is None:
            self._say("no column 'reward': rewards are 0 (reward=...)")
        self._say(self._said_of_ends())
        if self._named["step"] is None and options.step is None and len(self._next) < len(self._leaves):
            self._say("no column counts an episode's steps: its rows are read in file order (step=...)")
        return StoreSpec(observation=observation, action=action, infos=options.infos)

    def loaders(self, spec: StoreSpec) -> Iterator[tuple[str, Callable[[], Episode]]]:
        """Yield each episode's name and how to get it."""
        key = self._options.episode
        in_pieces, spans = scattered(self._files, key) if key is not None else (set(), None)
        again = "if each file starts its numbers again, make the numbers unique, or set episode=null for an episode a file"
        if spans is not None and self._named["step"] is None:
            self._say(f"episode {spans} is at the end of a file and the beginning of the next: taken as one; {again}")
        order = StepOrder(self._named["step"])
        for rows in self._runs(self._files):
            if rows.key in in_pieces:
                yield str(rows.key), partial(_refuse, f"its rows aren't together; sort by {key}; {again}", rows.file)
                continue
            try:
                table, was_sorted = order.arrange(rows.table)
            except BadEpisodeError as bad:
                yield str(rows.key), partial(_refuse, bad.what, rows.file, bad.step)
                continue
            if was_sorted:
                self._say(f"rows out of the order of {self._named['step']!r} are sorted by it (step='' leaves them)")
            for other in (name for name in self._clocks if name != self._named["step"] and goes_back(table, name)):
                how = f"{self._named['step']!r} orders its rows" if self._named["step"] else "its rows are read in file order"
                self._say(f"{other!r} goes back within an episode: {how} (step=...)")
            if len(self._next) < len(self._leaves) and not self._has_last_row(table):
                self._say(self._options.finding("").what)
            yield str(rows.key), partial(self._load, spec, replace(rows, table=table))

    def _runs(self, files: Sequence[Path | TableFile], columns: Sequence[str] | None = None) -> Iterator[Rows]:
        if self._options.episode is not None:
            for rows in runs(files, self._options.episode, columns):
                yield replace(rows, table=flat(rows.table))
            return
        for file in files:
            if found := [batch for batch in batches(file, columns) if batch.num_rows]:
                yield Rows(key=path_of(file).stem, file=path_of(file), table=flat(pa.Table.from_batches(found)))

    def _load(self, spec: StoreSpec, rows: Rows) -> Episode:
        try:
            episode = self._episode(spec, rows.table)
            check_episode(spec, episode)
            return episode
        except BadEpisodeError as bad:
            raise BadEpisodeError(bad.what, step=bad.step, file=bad.file or str(rows.file)) from None

    def _episode(self, spec: StoreSpec, table: pa.Table) -> Episode:
        options, num = self._options, table.num_rows
        observations = {leaf: self._column(table, column) for leaf, column in self._leaves.items()}
        has_last, cut = self._has_last_row(table), False
        if len(self._next) == len(self._leaves):
            for leaf, column in self._leaves.items():
                following = self._column(table, self._next[column])
                _require_following(observations[leaf], following, column)
                observations[leaf] = np.concatenate([observations[leaf], following[-1:]])
        elif has_last:
            num -= 1
        else:
            observations, num = options.ended(observations, num)
            cut = num < table.num_rows
        if num < 1:
            raise BadEpisodeError("has no actions")
        taken = table.slice(0, num)
        leaves = {leaf.name: leaf for leaf in spec.observation.leaves}
        terminated, truncated = (False, True) if cut else self._ends(table)
        reward, success = self._named["reward"], self._named["success"]
        if has_last and reward is not None and np.any(np.nan_to_num(self._column(table.slice(num), reward, skip_null=True))):
            self._say(f"{reward!r} of a last row without an action is left out of the returns")
        return demonstration(
            observations={name: fit(values, leaves[name], num + 1) for name, values in observations.items()},
            actions=fit(self._actions(taken), spec.action.leaf, num),
            rewards=_scalars(self._column(taken, reward), reward) if reward is not None else np.zeros(num),
            terminated=terminated,
            truncated=truncated,
            labelled=options.demonstrations,
            source=options.kind,
            success=None if success is None else success_in(self._column(table, success, skip_null=True), success),
            infos=json_rows(taken.select(list(options.infos))) if options.infos else None,
        )

    def _ends(self, table: pa.Table) -> tuple[bool, bool]:
        """Return terminated, truncated: a flag in any row but the last is a fault; without any flags, data was cut."""
        terminated, truncated, done = (self._flag(table, name) for name in (*self._end_columns(), self._done))
        if terminated is None and truncated is None:
            over = done is not None and done
            return over and self._options.done == "terminated", not over or self._options.done == "truncated"
        if terminated is None:
            return bool(done and not truncated), bool(truncated)
        return terminated, bool(done and not terminated) if truncated is None else truncated

    def _said_of_ends(self) -> str:
        terminated, truncated = self._end_columns()
        if terminated is not None or truncated is not None:
            return ""
        if self._done is not None:
            return f"{self._done!r} doesn't say whether terminated or truncated: taken as {self._options.done} (done=...)"
        return "doesn't say how its episodes end: taken as truncated (terminated=..., truncated=...)"

    def _end_columns(self) -> tuple[str | None, str | None]:
        return self._named["terminated"], self._named["truncated"]

    def _flag(self, table: pa.Table, name: str | None) -> bool | None:
        if name is None:
            return None
        values = self._column(table, name, skip_null=True)  # a last row without an action may have none
        if len(values) < table.num_rows - self._has_last_row(table):
            raise BadEpisodeError(f"{name} has no value in some rows")
        return last_flag(values, name)

    def _has_last_row(self, table: pa.Table) -> bool:
        """Whether the last row holds only an observation: no action, or NaN alone."""
        last = table.slice(table.num_rows - 1)
        for name in self._action_columns():
            values = self._column(last, name, skip_null=True)
            if values.size and not (values.dtype.kind == "f" and np.all(np.isnan(values))):
                return False
        return True

    def _action_columns(self) -> list[str]:
        return [part for key in self._options.action_keys for part in self._parts.get(key, [key])]

    def _actions(self, table: pa.Table, skip_null: bool = False) -> Array:
        return join({key: self._column(table, key, skip_null) for key in self._options.action_keys})

    def _column(self, table: pa.Table, name: str, skip_null: bool = False) -> Array:
        parts = []
        for part in self._parts.get(name, [name]):
            if part not in table.column_names:
                raise BadEpisodeError(f"has no column {part!r}, which other files have")
            column = table[part].drop_null() if skip_null else table[part]
            parts.append(to_numpy(column, table.schema.field(part)) if len(column) else np.zeros(0))
        return parts[0] if name not in self._parts else np.stack(parts, axis=1)

    def _known(self) -> list[str]:
        split = {part for parts in self._parts.values() for part in parts}
        return [name for name in self._schema.names if name not in split] + list(self._parts)

    def _find(self, option: str, known: dict[str, str]) -> str | None:
        """Return the column that an option names, which must be there, or else the first of the usual names that is."""
        name = getattr(self._options, option)
        if name is not None:
            require_keys(dict.fromkeys(known, ""), [name] if name else [], self._files[0])
            return name or None
        return _usual(_NAMES[option], [column for column in known if column != self._options.episode])

    def _say(self, what: str) -> None:
        """Report once."""
        if what and what not in self._told:
            self._report(Finding(file=str(self._files[0]), what=what))
        self._told.add(what)


def _usual(names: Sequence[str], known: Iterable[str]) -> str | None:
    """Return the first of the usual names that is there, in small letters or not."""
    by_lower = {name.lower(): name for name in reversed(list(known))}
    return next((by_lower[name] for name in names if name in by_lower), None)


def _refuse(what: str, file: Path, step: int | None = None) -> Episode:
    raise BadEpisodeError(what, step=step, file=str(file))


def _scalars(values: Array, name: str) -> Array:
    if values.size != len(values):
        raise BadEpisodeError(f"{name} isn't one number a step but {list(values.shape[1:])}")
    return values.reshape(-1)


def _require_following(rows: Array, following: Array, name: str) -> None:
    """Raise BadEpisodeError unless each row's next observation is the next row's observation."""
    if rows.shape != following.shape:
        raise BadEpisodeError(f"next_{name} is {list(following.shape[1:])} a step, {name} {list(rows.shape[1:])}")
    same = np.isclose(following[:-1], rows[1:], rtol=1e-5, atol=1e-6, equal_nan=True).reshape(len(rows) - 1, rows[0].size)
    if not np.all(same):
        raise BadEpisodeError(f"next_{name} isn't the {name} of the next row", step=int(np.argmin(np.all(same, axis=1))))


def _fault(schema: pa.Schema, columns: Sequence[str]) -> str:
    """Return why columns can't be an observation, or nothing."""
    for name in columns:
        kind = schema.field(name).type
        while (pa.types.is_nested(kind) and not pa.types.is_struct(kind)) or isinstance(kind, pa.BaseExtensionType):
            if pa.types.is_map(kind) or pa.types.is_union(kind):
                return str(kind)
            kind = kind.storage_type if isinstance(kind, pa.BaseExtensionType) else kind.value_type
        if pa.types.is_struct(kind) and kind.get_field_index("data") < 0:
            return "a group"
        if not is_number(kind) and not pa.types.is_struct(kind):
            return "text" if is_text(kind) else str(kind)
    return ""


def _parts(names: Sequence[str]) -> dict[str, list[str]]:
    """Return the names whose columns NAME_0 to NAME_n are all there, n > 0, unless NAME itself is."""
    found: dict[str, dict[int, str]] = {}
    for name in names:
        if match := _PART.fullmatch(name):
            found.setdefault(match[1], {})[int(match[2])] = name
    return {
        name: [numbered[i] for i in range(len(numbered))]
        for name, numbered in found.items()
        if name not in names and len(numbered) > 1 and set(numbered) == set(range(len(numbered)))
    }
