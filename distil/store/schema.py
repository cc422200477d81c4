"""What a store holds: its spaces, the Arrow columns made from them, and the index of episodes.

The format, version 1. A shard is an Arrow IPC file with one uncompressed record batch, so that every column is one block
of memory at a known offset: it maps without a copy, and a range of rows is a range of bytes. An episode of T actions takes
T + 1 rows; the last one has only an observation. A column with a codec holds one compressed block a row instead (see
`distil.store.codec`). The index of a shard's episodes is in the file's footer (`INDEX_KEY`): an
Arrow IPC stream in base64, since the footer may hold only text, and its xxh3-64. Readers ignore index columns that they
don't know, and refuse another format version.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pyarrow as pa

from distil.errors import InputError
from distil.spaces import Leaf, SpaceSpec, difference, space_from_json
from distil.store import codec
from distil.types import Array

FORMAT = 1
FORMAT_KEY, INDEX_KEY, INDEX_HASH_KEY = b"distil.format", b"distil.episodes", b"distil.episodes.xxh3"
MAX_ROW_BYTES = 1 << 30
MAX_UID_LENGTH = 200  # characters; also of `source`
_OFFSET_BYTES = 8  # per row of Arrow's large_binary, without the block itself

_STEP_COLUMNS: dict[str, np.dtype[Any]] = {
    "reward": np.dtype(np.float64),
    "labelled": np.dtype(np.uint8),
    "acted_by_expert": np.dtype(np.uint8),
    "terminated": np.dtype(np.uint8),
    "truncated": np.dtype(np.uint8),
    "episode": np.dtype(np.int32),
    "step": np.dtype(np.int32),
}

INDEX_SCHEMA = pa.schema(
    [
        ("uid", pa.string()),
        ("first_row", pa.int64()),
        ("length", pa.int64()),
        ("seed", pa.int64()),
        ("round", pa.int64()),
        ("total_reward", pa.float64()),
        ("terminated", pa.uint8()),
        ("truncated", pa.uint8()),
        ("policy_version", pa.int64()),
        ("num_labelled", pa.int64()),
        ("num_acted_by_expert", pa.int64()),
        ("source", pa.string()),
        ("digest", pa.binary(16)),  # xxh3-128 of the episode's steps, wherever they lie
        ("success", pa.int8()),  # -1: the environment doesn't say. Older shards have no such column
    ]
)
UNKNOWN_SUCCESS = -1
_FAULTS = (KeyError, TypeError, ValueError, AssertionError, AttributeError, OverflowError, RecursionError, MemoryError)


def check_format(version: object, where: object) -> None:
    """Raise InputError, with the command that fixes it, unless `version` is the format that this code reads."""
    if version == FORMAT and type(version) is int:
        return
    what = f"{where}: format version {version!r}, this distil reads {FORMAT}"
    if type(version) is int and version < FORMAT:
        raise InputError(
            f"{what}; with the distil that wrote it: `distil store export parquet STORE FOLDER`, "
            "then here: `distil store import parquet FOLDER NEW_STORE`"
        )
    raise InputError(f"{what}; upgrade distil: pip install --upgrade distil")


@dataclass(frozen=True)
class Column:
    """A fixed-width column: `dtype` and `shape` of one row, which a codec other than "raw" packs into one block a row."""

    name: str
    dtype: np.dtype[Any]
    shape: tuple[int, ...] = ()
    codec: str = codec.RAW

    @property
    def row_bytes(self) -> int:
        """Bytes of one row, decoded."""
        return self.dtype.itemsize * math.prod(self.shape)

    @property
    def min_row_bytes(self) -> int:
        """The least that one row takes in a file."""
        return self.row_bytes if self.codec == codec.RAW else _OFFSET_BYTES + codec.min_block_bytes(self.row_bytes)

    def arrow_type(self) -> pa.DataType:
        """Return the Arrow type: a fixed-shape tensor, a plain number, or the codec's."""
        if self.codec != codec.RAW:
            return codec.encoded_type()
        value = pa.from_numpy_dtype(self.dtype)
        return pa.fixed_shape_tensor(value, self.shape) if self.shape else value

    def to_arrow(self, values: Array) -> pa.Array:
        """Return `values` [rows, *shape] as an Arrow array, without a copy unless there is a codec."""
        if self.codec != codec.RAW:
            return codec.encode(values)
        flat = pa.array(values.reshape(-1))
        if not self.shape:
            return flat
        storage = pa.FixedSizeListArray.from_arrays(flat, int(np.prod(self.shape)))
        return pa.ExtensionArray.from_storage(self.arrow_type(), storage)

    def to_numpy(self, array: pa.Array) -> Array:
        """Return [rows, *shape] over the memory of an Arrow array, or decoded; ValueError if that is too short or damaged."""
        if self.codec != codec.RAW:
            offsets, data = codec.blocks(array)
            out = np.empty((len(array), *self.shape), self.dtype)
            codec.decode(offsets, data, out)
            return out
        values = array.storage.values if self.shape else array
        size = len(array) * int(np.prod(self.shape))
        return np.frombuffer(values.buffers()[1], self.dtype, count=size).reshape(len(array), *self.shape)


@dataclass(frozen=True, kw_only=True)
class StoreSpec:
    """What every episode of a store looks like.

    A store's episodes are of one environment; an empty `env` doesn't say which. `codecs` are a matter of how, not of what.
    """

    observation: SpaceSpec
    action: SpaceSpec
    infos: tuple[str, ...] = ()  # keys of the environment's info dict that are kept, as JSON
    env: Mapping[str, Any] = field(default_factory=dict)  # JSON: how the environment was made
    codecs: Mapping[str, str] = field(default_factory=dict)  # observation leaf -> how it is stored, unless raw

    def columns(self) -> tuple[Column, ...]:
        """Return the fixed-width columns, in the files' order."""
        action = _column(self.action.leaf)
        leaves = [_column(leaf, self.codecs.get(leaf.name, codec.RAW)) for leaf in self.observation.leaves]
        steps = [Column(name, dtype) for name, dtype in _STEP_COLUMNS.items()]
        return (*leaves, action, Column("expert_action", action.dtype, action.shape), *steps)

    def schema(self) -> pa.Schema:
        """Return the shards' Arrow schema."""
        fields = [pa.field(column.name, column.arrow_type(), nullable=False) for column in self.columns()]
        if self.infos:
            fields.append(pa.field("infos", pa.large_string(), nullable=False))
        return pa.schema(fields, metadata={FORMAT_KEY: str(FORMAT).encode()})

    @property
    def row_bytes(self) -> int:
        """Bytes of one row's fixed-width columns, decoded."""
        return sum(column.row_bytes for column in self.columns())

    @property
    def min_row_bytes(self) -> int:
        """The least that one row takes in a shard: it bounds the counts that can be true."""
        return sum(column.min_row_bytes for column in self.columns())

    def check(self) -> None:
        """Raise InputError for spaces that no store can hold."""
        names = [column.name for column in self.columns()]
        leaves = {leaf.name for leaf in self.observation.leaves}
        for name, chosen in self.codecs.items():
            if name not in leaves or chosen not in codec.CODECS:
                raise InputError(
                    f"codec {chosen!r} of {name!r}: give one of {', '.join(codec.CODECS)} to one of {', '.join(sorted(leaves))}"
                )
        for column in self.columns():
            if not 0 < column.row_bytes <= MAX_ROW_BYTES or min(column.shape, default=1) < 1:
                raise InputError(
                    f"{column.name}: shape {column.shape} can't be stored; give it between 1 byte and 1 GiB a step"
                )
        if len(set(names)) != len(names):
            raise InputError(f"two columns have the same name ({', '.join(names)}); rename the keys of the observation space")

    def require_equal(self, other: StoreSpec, where: str) -> None:
        """Raise InputError unless episodes of `other` can be added to the store at `where`, which has this spec.

        Spaces and environment must be equal; the store may keep more infos than `other`.
        """
        self.require_spaces(other.observation, other.action, where)
        self.require_environment(other.env, where)
        self.require_infos(other.infos, where)

    def require_infos(self, names: Sequence[str], where: str) -> None:
        """Raise InputError unless the store at `where`, which has this spec, keeps the infos of these names."""
        if missing := [name for name in names if name not in self.infos]:
            raise InputError(
                f"{where}: the store keeps infos {list(self.infos)}, without {missing}; set rollouts.infos to some of them, "
                "or data.path to another folder"
            )

    def require_spaces(self, observation: SpaceSpec, action: SpaceSpec, where: str, whose: str = "environment") -> None:
        """Raise InputError, naming the difference and the fix, unless the store at `where`, which has this spec, is of these.

        Args:
            observation: the space to compare the store's with.
            action: the other one.
            where: the store's path.
            whose: the spaces are.
        """
        for what, ours, theirs in (("observations", self.observation, observation), ("actions", self.action, action)):
            if differs := difference(ours, theirs, ("the store", f"the {whose}")):
                raise InputError(
                    f"{where}: the store has {what} {ours.describe()}, the {whose} {theirs.describe()}: {differs}; import the "
                    "data again with the spaces of the environment (--recipe RECIPE or --env ID), or set data.path to another "
                    "folder"
                )

    def require_environment(self, env: Mapping[str, Any], where: str) -> None:
        """Raise InputError if the store at `where`, which has this spec, says that its episodes are of another environment."""
        ours, theirs = environment(self.env), environment(env)
        if ours and theirs and ours != theirs:
            raise InputError(
                f"{where}: the store has episodes of {ours}, this run's environment is {theirs}; set data.path to another "
                "folder"
            )

    def to_json(self) -> dict[str, Any]:
        """Return a JSON object; `spec_from_json` reads it back."""
        return {
            "observation": self.observation.to_json(),
            "action": self.action.to_json(),
            "infos": list(self.infos),
            "env": json.loads(json.dumps(dict(self.env))),
            "columns": [
                {"name": c.name, "dtype": c.dtype.name, "shape": list(c.shape), "codec": c.codec} for c in self.columns()
            ],
        }


def environment(env: Mapping[str, Any]) -> str:
    """Return which environment a configuration names, such as `Hopper-v5 {"gravity": -5}`; empty if it doesn't say.

    Equal texts mean equal environments, wherever an episode is cut off and however it is shown.
    """
    name = str(env.get("target") or str(env.get("id") or "").rpartition(":")[2])
    kwargs, wrappers = env.get("kwargs"), env.get("wrappers")
    kwargs = {key: value for key, value in kwargs.items() if key != "render_mode"} if isinstance(kwargs, Mapping) else None
    parts = [json.dumps(part, sort_keys=True, default=str) for part in (kwargs, wrappers) if part]
    return " ".join([name, *parts]) if name else ""


def spec_from_json(data: Mapping[str, Any], where: str) -> StoreSpec:
    """Return the spec that `StoreSpec.to_json` wrote; InputError names `where` if it is invalid."""
    try:
        spec = StoreSpec(
            observation=space_from_json(data["observation"]),
            action=space_from_json(data["action"]),
            infos=tuple(str(name) for name in data["infos"]),
            env=dict(data["env"]),
            codecs={item["name"]: item["codec"] for item in data["columns"] if item.get("codec", codec.RAW) != codec.RAW},
        )
        spec.check()
        spec.schema()
    except InputError as error:
        raise InputError(f"{where}: {error}") from None
    except (*_FAULTS, pa.ArrowException) as error:
        detail = str(error).split("\n", 1)[0][:200]
        raise InputError(f"{where}: its spaces can't be read ({detail}); restore the file from a copy") from None
    return spec


def _column(leaf: Leaf, how: str = codec.RAW) -> Column:
    dtype = np.dtype(leaf.dtype)
    return Column(leaf.name, np.dtype(np.uint8) if dtype == np.bool_ else dtype, leaf.shape, how)
