"""RLlib's offline data (Parquet), in both of its layouts: `steps`, a row a step, and `episodes`, a row an episode (msgpack).

RLlib records pieces of episodes, several environments' in turn, and repeats them in later files; pieces are joined and what
is repeated is left out. Observations that RLlib compressed are pickled, so they are refused: nothing is unpickled here.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any, ClassVar, Literal

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from distil.errors import InputError
from distil.interchange.base import Contents, Exporter, Importer, fresh
from distil.interchange.columns import batches, parquet_files, readable, runs, schema_of, to_numpy
from distil.interchange.episodes import BadEpisodeError, Finding, Once, Report, demonstration, facts, fit, read_facts
from distil.interchange.rllib_pieces import Joined, Piece, join
from distil.interchange.rllib_state import pack_episode, unpack_piece, unpack_spaces
from distil.interchange.spaces import action_of, leaf_of
from distil.spaces import Leaf, SpaceSpec
from distil.store.schema import StoreSpec, spec_from_json
from distil.store.snapshot import Snapshot
from distil.success import SUCCESS_KEYS, success_of
from distil.types import Array, Episode

Layout = Literal["steps", "episodes"]
_SPEC, _FACTS = b"distil.spec", b"distil.facts"
_TENSOR = "ray.data.arrow_tensor_v2"
_PART_BYTES = 128 << 20
_TOLERANCE = 1e-5  # of float32, beyond the bounds of normalised actions
_STEP_COLUMNS = ("eps_id", "obs", "actions", "rewards", "new_obs", "terminateds", "truncateds")


class RLlibImport(Importer):
    """Reads what RLlib's `offline_data(output=...)` wrote, a file or a folder."""

    summary: ClassVar[str] = "RLlib's offline data: Parquet, a row a step or a row an episode"
    kind: Literal["rllib"] = "rllib"
    action: str | tuple[str, ...] = "actions"
    normalised_actions: bool | None = (
        None  # Box actions are scaled to [-1, 1], as RLlib records them by default; null: see there
    )
    action_low: tuple[float, ...] = ()  # bounds of Box actions, where the data doesn't say them (layout steps)
    action_high: tuple[float, ...] = ()

    def read(self, source: Path, report: Report) -> Contents:
        """See `Importer.read`."""
        if self.infos:
            raise InputError("infos: RLlib's infos aren't read; leave the option out")
        self.require_no_choice(source, "RLlib's data have one array of observations and one of actions")
        if not (source.is_file() or any(source.rglob("*.parquet"))) and any(source.rglob("*.json")):
            raise InputError(
                f"{source}: RLlib's older JSON format isn't read, as it may hold pickles; record Parquet with RLlib 2.40+"
            )
        files = parquet_files(source)
        schema = schema_of(files[0])
        own: dict[str, Any] = {}
        if _SPEC in (schema.metadata or {}):
            spec = spec_from_json(json.loads(schema.metadata[_SPEC]), str(files[0]))
            for file in files:
                own |= json.loads((pq.read_metadata(file).metadata or {}).get(_FACTS, b"{}"))
            spec = replace(spec, infos=spec.infos if "item" in schema.names else ())
        else:
            spec = self._item_spec(files, report) if "item" in schema.names else self._step_spec(files, schema, report)
        pieces = _item_pieces(files, spec) if "item" in schema.names else _step_pieces(files, spec)
        is_own = _SPEC in (schema.metadata or {})
        scale = None if is_own else self._scale(spec, source, report)
        load = partial(self._episode, spec, own=own if is_own else None, scale=scale)
        loaders = ((name, partial(load, name, found)) for name, found in join(pieces, str(source), report))
        return Contents(spec=spec, episodes=loaders, stem=source.stem)

    def _item_spec(self, files: list[Path], report: Report) -> StoreSpec:
        raw = next((row.as_py() for file in files for batch in batches(file, ["item"]) for row in batch.column("item")), None)
        if raw is None:
            raise InputError(f"{files[0]}: it has no rows")
        observation, action = unpack_spaces(raw, files[0])
        return StoreSpec(observation=observation, action=action)

    def _step_spec(self, files: list[Path], schema: pa.Schema, report: Report) -> StoreSpec:
        missing = [name for name in _STEP_COLUMNS if name not in schema.names]
        if missing:
            raise InputError(f"{files[0]}: not RLlib's offline data (no column {', '.join(missing)}); check the format")
        kind = schema.field("obs").type
        if pa.types.is_struct(kind) or pa.types.is_string(kind) or pa.types.is_binary(kind):
            what = (
                "nested; record"
                if pa.types.is_struct(kind)
                else "compressed with pickle; record with output_compress_columns=[], or"
            )
            raise InputError(f"{files[0]}: its observations are {what} with output_write_episodes=True")
        try:
            first = next(rows.table.slice(0, 1) for rows in runs(files, "eps_id"))
            obs = to_numpy(first["obs"], first.schema.field("obs"))
        except BadEpisodeError as bad:
            raise InputError(f"{files[0]}: {bad.what}") from None
        found = runs(files, "eps_id", ["actions"])
        action = action_of(readable(found, lambda table: to_numpy(table["actions"], table.schema.field("actions"))))
        if "agent_id" in schema.names and len({value for file in files for value in _distinct(file, "agent_id")}) > 1:
            raise InputError(f"{files[0]}: several agents' steps aren't read; record each agent's own")
        if action.leaf.kind == "box":
            action = self._bounded(action, files[0], report)
        return StoreSpec(observation=SpaceSpec(tree="obs", leaves=(leaf_of("obs", obs.shape[1:], obs.dtype),)), action=action)

    def _bounded(self, action: SpaceSpec, file: Path, report: Report) -> SpaceSpec:
        low, high = self.action_low, self.action_high
        if low or high:
            size = int(np.prod(action.leaf.shape))
            if len(low) not in (1, size) or len(high) not in (1, size):
                raise InputError(f"action_low and action_high: give one number, or {size}, to each")
            return replace(action, leaves=(replace(action.leaf, low=low, high=high),))
        if self.normalised_actions is not False:
            what = (
                "taken as they are, which in RLlib is usually [-1, 1], not the environment's; give action_low and action_high"
            )
            report(Finding(file=str(file), what=f"its actions have no bounds: {what}, or normalised_actions=false"))
        return action

    def _scale(self, spec: StoreSpec, file: Path, report: Report) -> Callable[[Array, Leaf, str], Array] | None:
        """Return what puts actions into their bounds, if they are normalised, and say so."""
        action = spec.action.leaf
        if self.normalised_actions is False or action.kind != "box" or not np.all(np.isfinite([*action.low, *action.high])):
            return None
        if not _is_unit(action):
            what = f"its actions are taken as normalised, and scaled from [-1, 1] to {action.low[0]:g} to {action.high[0]:g}"
            report(Finding(file=str(file), what=f"{what}; normalised_actions=false takes them as they are"))
        return partial(self._scaled, file=file, note=Once(report))

    def _scaled(self, actions: Array, action: Leaf, name: str, file: Path, note: Once) -> Array:
        """Return actions [T, ...] of [-1, 1] in the environment's bounds, as RLlib's own connector does it."""
        low, high = action.bounds()
        flat = actions.reshape(-1, *action.shape)
        beyond = np.any(np.abs(flat.reshape(len(flat), -1)) > 1 + _TOLERANCE, axis=1)
        if np.any(beyond):
            at = f"the action at step {int(np.argmax(beyond))} lies outside [-1, 1]"
            if self.normalised_actions is None and not _is_unit(action):
                fix = "false if they are the environment's own, true if RLlib sampled them, so that they are clipped and scaled"
                raise InputError(f"{file}: episode {name}: {at}, where normalised ones end: set normalised_actions={fix}")
            note(Finding(file=str(file), episode=name, what=f"{at}: such actions are clipped, as RLlib does"))
        scaled: Array = np.clip(low + (np.clip(flat, -1, 1) + 1) * (high - low) / 2, low, high).astype(action.dtype)
        return scaled

    def _episode(
        self, spec: StoreSpec, name: str, found: Joined, *, own: dict[str, Any] | None, scale: Callable[..., Array] | None
    ) -> Episode:
        piece = found.piece()
        num, action = len(piece.rewards), spec.action.leaf
        actions = scale(piece.actions, action, name) if scale else piece.actions
        episode = demonstration(
            observations={leaf.name: fit(piece.observations[leaf.name], leaf, num + 1) for leaf in spec.observation.leaves},
            actions=fit(actions, action, num),
            rewards=piece.rewards,
            terminated=piece.terminated,
            truncated=piece.truncated or not piece.terminated,
            labelled=self.demonstrations,
            source="rllib",
            success=success_of(piece.infos),
        )
        if own is None:
            return episode
        kept = read_facts(own[name]) if name in own else {}
        return replace(episode, **({"truncated": piece.truncated} | kept | dict(piece.own)))


def _is_unit(action: Leaf) -> bool:
    """Whether the bounds are [-1, 1], so that scaling changes nothing."""
    return {*action.low} == {-1.0} and {*action.high} == {1.0}


def _distinct(file: Path, name: str) -> Iterator[Any]:
    for batch in batches(file, [name]):
        yield from batch.column(name).unique().to_pylist()


def _step_pieces(files: list[Path], spec: StoreSpec) -> Iterator[tuple[str, Path, Callable[[], Piece]]]:
    for file in files:  # each by itself: a later file may begin with the end of an earlier one
        for rows in runs([file], "eps_id"):
            yield str(rows.key), file, partial(_step_piece, rows.table)


def _step_piece(table: pa.Table) -> Piece:
    columns = {name: to_numpy(table[name], table.schema.field(name)) for name in _STEP_COLUMNS if name != "eps_id"}
    same = columns["new_obs"][:-1] == columns["obs"][1:]
    following = np.all(same, axis=tuple(range(1, same.ndim)))
    if not np.all(following):
        step = int(np.argmin(following))
        raise BadEpisodeError("new_obs isn't the next row's obs", step=step)
    ends = {name: columns[name].astype(bool) for name in ("terminateds", "truncateds")}
    for name, flags in ends.items():
        if np.any(flags[:-1]):
            raise BadEpisodeError(f"{name} before its last row", step=int(np.argmax(flags)))
    return Piece(
        observations={"obs": np.concatenate([columns["obs"], columns["new_obs"][-1:]])},
        actions=columns["actions"],
        rewards=columns["rewards"].astype(np.float64),
        terminated=bool(ends["terminateds"][-1]),
        truncated=bool(ends["truncateds"][-1]),
        infos=_success_infos(table),
    )


def _success_infos(table: pa.Table) -> tuple[dict[str, Any], ...]:
    """Return what the rows say of success: in columns of its usual names, or in `infos` (a group, or JSON)."""
    if names := [name for name in SUCCESS_KEYS if name in table.column_names]:
        return tuple(table.select(names).to_pylist())
    rows = table["infos"].to_pylist() if "infos" in table.column_names else []
    return tuple(row if isinstance(row, dict) else _json_object(row) for row in rows)


def _json_object(text: Any) -> dict[str, Any]:
    try:
        data = json.loads(text)
    except (TypeError, ValueError, RecursionError):
        return {}
    return data if isinstance(data, dict) else {}


def _item_pieces(files: list[Path], spec: StoreSpec) -> Iterator[tuple[str, Path, Callable[[], Piece]]]:
    for file in files:
        for batch in batches(file, ["item"]):
            for row in batch.column("item"):
                name, piece = unpack_piece(row.as_py(), spec, file)
                yield name, file, piece


class RLlibExport(Exporter):
    """Writes a folder for RLlib's `offline_data(input_=[folder])`; layout episodes also wants `input_read_episodes=True`."""

    summary: ClassVar[str] = "RLlib's offline data: Parquet, a row a step or a row an episode"
    kind: Literal["rllib"] = "rllib"
    layout: Layout = "steps"

    def write(self, snapshot: Snapshot, target: Path, *, report: Report) -> None:
        """See `Exporter.write`."""
        spec = snapshot.spec
        if self.layout == "steps" and len(spec.observation.leaves) > 1:
            raise InputError(f"observations {spec.observation.describe()}: RLlib's rows hold one array; use layout=episodes")
        if spec.action.leaf.kind == "box":
            what = "actions are the environment's own: train with config.environment(normalize_actions=False)"
            report(Finding(file=str(target), what=what))
        if self.layout == "steps":
            report(
                Finding(file=str(target), what="labels and who acted have no place in a row a step; layout=episodes keeps them")
            )
        schema = _step_schema(spec) if self.layout == "steps" else pa.schema([pa.field("item", pa.binary())])
        schema = schema.with_metadata({_SPEC: json.dumps(spec.to_json()).encode()})
        with fresh(target) as folder:
            folder.mkdir()
            writer, num_bytes, part, kept = None, 0, 0, {}
            for index in range(snapshot.num_episodes):
                episode = snapshot.episode(index)
                actions = self.chosen_actions(episode)
                if writer is None:
                    writer = pq.ParquetWriter(folder / f"part-{part:05d}.parquet", schema)
                if self.layout == "steps":
                    table = _step_table(spec, episode, actions, schema)
                else:
                    table = pa.table([pa.array([pack_episode(spec, episode, actions)], pa.binary())], schema=schema)
                writer.write_table(table)
                kept[episode.uid] = facts(episode)
                num_bytes += table.nbytes
                if num_bytes >= _PART_BYTES or index == snapshot.num_episodes - 1:
                    writer.add_key_value_metadata({_FACTS: json.dumps(kept).encode()})
                    writer.close()
                    writer, num_bytes, part, kept = None, 0, part + 1, {}


def _step_schema(spec: StoreSpec) -> pa.Schema:
    def field(name: str, shape: tuple[int, ...], dtype: str) -> pa.Field:
        kind = pa.from_numpy_dtype(np.dtype(dtype))
        if not shape:
            return pa.field(name, kind)
        about = {"ARROW:extension:name": _TENSOR, "ARROW:extension:metadata": json.dumps(list(shape))}
        return pa.field(name, pa.large_list(kind), metadata=about)

    obs, action = spec.observation.leaf, spec.action.leaf
    return pa.schema(
        [
            pa.field("eps_id", pa.string()),
            field("obs", obs.shape, obs.dtype),
            field("actions", action.shape, action.dtype),
            pa.field("rewards", pa.float64()),
            field("new_obs", obs.shape, obs.dtype),
            pa.field("terminateds", pa.bool_()),
            pa.field("truncateds", pa.bool_()),
        ]
    )


def _step_table(spec: StoreSpec, episode: Episode, actions: Array, schema: pa.Schema) -> pa.Table:
    num = episode.length
    obs, last = episode.observations[spec.observation.leaf.name], np.arange(num) == num - 1
    columns = [
        pa.array([episode.uid] * num),
        _tensor(obs[:-1]),
        _tensor(actions),
        pa.array(episode.rewards),
        _tensor(obs[1:]),
        pa.array(last & episode.terminated),
        pa.array(last & episode.truncated),
    ]
    return pa.table(columns, schema=schema)


def _tensor(values: Array) -> pa.Array:
    flat = pa.array(np.ascontiguousarray(values).reshape(-1))
    if values.ndim == 1:
        return flat
    size = int(np.prod(values.shape[1:]))
    return pa.LargeListArray.from_arrays(pa.array(np.arange(0, len(flat) + 1, size, dtype=np.int64)), flat)
