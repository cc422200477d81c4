"""Rows of somebody else's Parquet files as episodes: which columns are what, and the spaces that follow from them."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa

from distil.errors import InputError
from distil.spaces import SpaceSpec
from distil.store.interchange.base import require_keys
from distil.store.interchange.columns import Rows, batches, is_number, is_text, runs, schema_of, to_numpy
from distil.store.interchange.episodes import (
    BadEpisodeError,
    Finding,
    Report,
    check_episode,
    demonstration,
    fit,
    join,
    said_of_joined,
)
from distil.store.interchange.spaces import action_of, leaf_of, observation_of
from distil.store.schema import StoreSpec
from distil.types import Array, Episode

if TYPE_CHECKING:
    from distil.store.interchange.parquet import ParquetImport

_PART = re.compile(r"(.+?)[_.](\d+)")


class TabularRows:
    """The columns of a table whose rows are steps."""

    def __init__(self, options: ParquetImport, files: Sequence[Path], report: Report) -> None:
        """Find the columns; InputError names one that isn't there."""
        self._options, self._files = options, files
        self._schema = schema_of(files[0])
        self._parts = _parts(self._schema.names)
        known = {name: _fault(self._schema, self._parts.get(name, [name])) for name in self._known()}
        default = [name for name in known if name.startswith("obs") and name != options.episode]
        chosen = options.choose(known, default, files[0], report)
        require_keys(dict.fromkeys(known, ""), (options.episode, *options.infos), files[0])
        self._leaves = {f"obs/{name}": name for name in chosen} if len(chosen) > 1 else {"obs": chosen[0]}
        self._next = {name: f"next_{name}" for name in chosen if f"next_{name}" in self._known()}

    def spec(self, report: Report) -> StoreSpec:
        """Return the spaces: the observations' from the first row, the actions' from all of them."""
        options, first = self._options, next(iter(runs(self._files[:1], self._options.episode)), None)
        if first is None:
            raise InputError(f"{self._files[0]}: it has no rows")
        try:
            arrays = {name: self._column(first.table.slice(0, 1), column) for name, column in self._leaves.items()}
            action = action_of(self._actions(pa.Table.from_batches([b]), True) for b in self._action_batches())
        except BadEpisodeError as bad:
            raise InputError(f"{self._files[0]}: {bad.what}; choose other columns, or leave the file out") from None
        if len(arrays) == 1:
            values = arrays["obs"]
            observation = SpaceSpec(tree="obs", leaves=(leaf_of("obs", values.shape[1:], values.dtype),))
        else:
            rows = {name.removeprefix("obs/"): (values.shape[1:], values.dtype) for name, values in arrays.items()}
            observation = observation_of(rows)
        if len(keys := options.action_keys) > 1:
            shapes = {key: self._column(first.table.slice(0, 1), key).shape[1:] for key in keys}
            report(Finding(file=str(self._files[0]), what=said_of_joined(shapes)))
        for name, what in ((options.reward, "rewards are 0"), (options.terminated, "")):
            if name not in self._known() and what:
                report(Finding(file=str(self._files[0]), what=f"no column {name!r}: {what}"))
        return StoreSpec(observation=observation, action=action, infos=options.infos)

    def loaders(self, spec: StoreSpec, report: Report) -> Iterator[tuple[str, Callable[[], Episode]]]:
        """Yield each episode's name and how to get it; a name that comes back later is a bad episode."""
        seen: set[str] = set()
        told = False
        for rows in runs(self._files, self._options.episode):
            name = str(rows.key)
            again = name in seen
            seen.add(name)
            if not told and self._without_final(rows):
                report(self._options.finding(str(self._files[0])))
                told = True
            yield name, self._loader(spec, rows, again)

    def _loader(self, spec: StoreSpec, rows: Rows, again: bool) -> Callable[[], Episode]:
        def load() -> Episode:
            if again:
                raise BadEpisodeError(f"its rows don't stand together; sort by {self._options.episode}", file=str(rows.file))
            try:
                episode = self._episode(spec, rows)
                check_episode(spec, episode)
                return episode
            except BadEpisodeError as bad:
                raise BadEpisodeError(bad.what, step=bad.step, file=bad.file or str(rows.file)) from None

        return load

    def _episode(self, spec: StoreSpec, rows: Rows) -> Episode:
        options, table = self._options, rows.table
        observations = {leaf: self._column(table, column) for leaf, column in self._leaves.items()}
        num = table.num_rows
        if len(self._next) == len(self._leaves):
            last = table.slice(num - 1, 1)
            for key, column in zip(observations, self._leaves.values(), strict=True):
                observations[key] = np.concatenate([observations[key], self._column(last, self._next[column])])
        elif self._has_last_row(table):
            num -= 1
        else:
            observations, num = options.ended(observations, num)
        if num < 1:
            raise BadEpisodeError("has no actions")
        taken = table.slice(0, num)
        leaves = {leaf.name: leaf for leaf in spec.observation.leaves}
        terminated, truncated = (False, True) if num < table.num_rows and not self._has_last_row(table) else self._ends(taken)
        return demonstration(
            observations={name: fit(values, leaves[name], num + 1) for name, values in observations.items()},
            actions=fit(self._actions(taken), spec.action.leaf, num),
            rewards=self._column(taken, options.reward) if options.reward in self._known() else np.zeros(num),
            terminated=terminated,
            truncated=truncated,
            labelled=options.demonstrations,
            source="parquet",
            infos=tuple(json.dumps(row) for row in taken.select(list(options.infos)).to_pylist()) if options.infos else None,
        )

    def _ends(self, table: pa.Table) -> tuple[bool, bool]:
        """Return terminated, truncated: a flag in any row but the last is a fault; without both columns, data was cut."""
        out = []
        for name in (self._options.terminated, self._options.truncated):
            flags = (
                self._column(table, name).astype(bool).reshape(-1) if name in self._known() else np.zeros(table.num_rows, bool)
            )
            if np.any(flags[:-1]):
                raise BadEpisodeError(f"{name} before its last row", step=int(np.argmax(flags)))
            out.append(bool(flags[-1]))
        known = any(name in self._known() for name in (self._options.terminated, self._options.truncated))
        return out[0], out[1] or not known

    def _has_last_row(self, table: pa.Table) -> bool:
        names = self._action_columns()
        return all(not table[name][table.num_rows - 1].is_valid for name in names)

    def _without_final(self, rows: Rows) -> bool:
        return len(self._next) < len(self._leaves) and not self._has_last_row(rows.table)

    def _action_columns(self) -> list[str]:
        return [part for key in self._options.action_keys for part in self._parts.get(key, [key])]

    def _action_batches(self) -> Iterator[pa.RecordBatch]:
        for file in self._files:
            yield from (batch for batch in batches(file, self._action_columns()) if batch.num_rows)

    def _actions(self, table: pa.Table, skip_null: bool = False) -> Array:
        return join({key: self._column(table, key, skip_null) for key in self._options.action_keys})

    def _column(self, table: pa.Table, name: str, skip_null: bool = False) -> Array:
        parts = []
        for part in self._parts.get(name, [name]):
            column = table[part].drop_null() if skip_null else table[part]
            parts.append(to_numpy(column, table.schema.field(part)))
        return parts[0] if name not in self._parts else np.stack(parts, axis=1)

    def _known(self) -> list[str]:
        split = {part for parts in self._parts.values() for part in parts}
        return [name for name in self._schema.names if name not in split] + list(self._parts)


def _fault(schema: pa.Schema, columns: Sequence[str]) -> str:
    """Return why columns can't be an observation, or nothing."""
    for name in columns:
        kind = schema.field(name).type
        while (pa.types.is_nested(kind) and not pa.types.is_struct(kind)) or isinstance(kind, pa.BaseExtensionType):
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
