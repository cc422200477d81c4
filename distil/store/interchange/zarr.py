"""diffusion_policy's replay buffers (zarr; import only): arrays `data/KEY` of all episodes' steps, and `meta/episode_ends`.

They hold no rewards, no ends' kinds and no final observations. An array's metadata is read as plain JSON before zarr opens
it, and only numbers in codecs that can't run code are opened (a `pickle` codec would unpickle).
"""

from __future__ import annotations

import json
import zipfile
from collections.abc import Iterator, Mapping
from functools import partial
from pathlib import Path, PurePosixPath
from typing import Any, ClassVar, Literal

import numpy as np

from distil.errors import InputError
from distil.spaces import SpaceSpec
from distil.store.interchange.base import WithoutFinalObservation, require
from distil.store.interchange.episodes import BadEpisodeError, Finding, Report, demonstration, fit, one_line, sift
from distil.store.interchange.spaces import action_of, observation_of
from distil.store.schema import StoreSpec
from distil.types import Array, Episode

_CODECS = frozenset(
    "adler32 astype bitround blosc bytes bz2 crc32 crc32c delta fixedscaleoffset gzip lz4 lzma packbits quantize "  # noqa: SIM905
    "sharding_indexed shuffle transpose zlib zstd".split()
)
_V3_TYPES = frozenset(
    [f"{kind}{bits}" for kind in ("int", "uint") for bits in (8, 16, 32, 64)] + ["bool", "float16", "float32", "float64"]
)
_WHOLE_BYTES = 256 << 20  # smaller arrays are read at once: a slice would decode its chunks for each episode again


class ZarrImport(WithoutFinalObservation):
    """Options to read a replay buffer: a folder, or the zip of one (`.zarr.zip`)."""

    summary: ClassVar[str] = "diffusion_policy's replay buffer (zarr folder or zip)"
    kind: Literal["zarr"] = "zarr"
    action: str = "action"  # name of the actions' array
    observations: tuple[str, ...] = ()  # names of the observations' arrays; none: all but action and reward
    reward: str = ""  # name of the rewards' array; none: rewards are 0
    as_uint8: tuple[str, ...] = ()  # images kept as floats that are whole numbers 0 to 255

    def read(self, source: Path, *, skip_bad: bool, report: Report) -> tuple[StoreSpec, Iterator[Episode]]:
        """See `Importer.read`."""
        buffer = _Buffer(source)
        names = self._names(source, buffer.names)
        taken = [*names, self.action, *([self.reward] if self.reward else [])]
        arrays = {name: buffer.array(f"data/{name}") for name in taken}
        ends = np.asarray(buffer.array("meta/episode_ends")[:])
        shortest = min(array.shape[0] for array in arrays.values())
        starts = np.concatenate([[0], ends[:-1]]) if ends.ndim == 1 and ends.size else ends
        if ends.ndim != 1 or not ends.size or ends.dtype.kind not in "iu" or np.any(ends < starts) or ends[-1] > shortest:
            raise InputError(f"{source}: meta/episode_ends doesn't divide its {shortest} steps into episodes; is it whole?")
        spec = self._spec(names, arrays, ends)
        report(self.finding(str(source)))
        report(Finding(file=str(source), what="doesn't say how an episode ended: taken as truncated, not terminated"))
        if not self.reward:
            report(Finding(file=str(source), what="holds no rewards: they are 0 (reward=...)"))
        load = partial(self._episode, arrays, spec, f"zarr:{source.name}")
        bounds = zip(starts.tolist(), ends.tolist(), strict=True)
        loaders = ((str(index), partial(load, first, end)) for index, (first, end) in enumerate(bounds))
        return spec, sift(loaders, spec=spec, file=str(source), stem=source.stem, skip_bad=skip_bad, report=report)

    def _names(self, source: Path, available: list[str]) -> tuple[str, ...]:
        names = self.observations or tuple(name for name in available if name not in (self.action, self.reward))
        for name in (*names, *self.as_uint8, self.action, *([self.reward] if self.reward else [])):
            if name not in available:
                has = ", ".join(available) or "none"
                raise InputError(f"{source}: no array data/{name}; there are {has} (set action=, observations=[...])")
        return names

    def _spec(self, names: tuple[str, ...], arrays: Mapping[str, _Rows], ends: Array) -> StoreSpec:
        dtypes = {name: np.uint8 if name in self.as_uint8 else arrays[name].dtype for name in names}
        observation = observation_of({name: (arrays[name].shape[1:], dtypes[name]) for name in names})
        action: SpaceSpec = action_of([arrays[self.action][: int(ends[-1])]])
        return StoreSpec(observation=observation, action=action)

    def _episode(self, arrays: Mapping[str, _Rows], spec: StoreSpec, source: str, first: int, end: int) -> Episode:
        rows = {leaf.name: arrays[leaf.name.removeprefix("obs/")] for leaf in spec.observation.leaves}
        num = end - first
        observations = {leaf.name: fit(rows[leaf.name][first:end], leaf, num) for leaf in spec.observation.leaves}
        actions = fit(arrays[self.action][first:end], spec.action.leaf, num)
        rewards = np.asarray(arrays[self.reward][first:end], np.float64) if self.reward else np.zeros(num)
        if rewards.size != num:
            raise BadEpisodeError(f"{self.reward} isn't one number a step but {list(rewards.shape)}")
        observations, kept = self.ended(observations, num)
        return demonstration(
            observations=observations,
            actions=actions[:kept],
            rewards=rewards.reshape(-1)[:kept],
            terminated=False,
            truncated=True,
            labelled=self.demonstrations,
            source=source,
        )


class _Rows:
    """An array of which slices are read; kept whole when it is small."""

    def __init__(self, array: Any, name: str) -> None:
        self._array, self._name = array, name
        self.shape, self.dtype = tuple(array.shape), np.dtype(array.dtype)
        self._whole: Array | None = None

    def __getitem__(self, rows: slice) -> Array:
        """Return the rows; BadEpisodeError when a chunk is damaged."""
        try:
            if self._whole is None and int(np.prod(self.shape)) * self.dtype.itemsize <= _WHOLE_BYTES:
                self._whole = np.asarray(self._array[:])
            source = self._array if self._whole is None else self._whole
            return np.asarray(source[rows])
        except (OSError, ValueError, RuntimeError, KeyError, TypeError) as error:
            raise BadEpisodeError(f"data/{self._name} can't be read: {one_line(error)}") from None


class _Buffer:
    """An opened replay buffer."""

    def __init__(self, source: Path) -> None:
        """Look into a folder or zip; InputError if it isn't a replay buffer."""
        zarr = require("zarr", "zarr")
        self._source, self._zip = source, None
        if source.is_file():
            try:
                self._zip = zipfile.ZipFile(source)
            except (OSError, zipfile.BadZipFile) as error:
                raise InputError(f"{source}: neither a zarr folder nor a zip of one: {error}") from None
        files = self._zip.namelist() if self._zip else [p.relative_to(source).as_posix() for p in _metadata_files(source)]
        self.names = sorted({p.parent.name for p in map(PurePosixPath, files) if self._is_array(p) and p.parts[0] == "data"})
        if not any(self._is_array(path) and path.parts[:2] == ("meta", "episode_ends") for path in map(PurePosixPath, files)):
            raise InputError(f"{source}: no replay buffer there (no array meta/episode_ends)")
        store = zarr.storage.ZipStore(source, mode="r") if self._zip else str(source)
        try:
            self._root = zarr.open_group(store, mode="r", use_consolidated=False)
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise InputError(f"{source}: zarr can't read it: {one_line(error)}") from None

    def _is_array(self, path: PurePosixPath) -> bool:
        if len(path.parts) != 3 or path.name not in (".zarray", "zarr.json"):
            return False
        return path.name == ".zarray" or self._json(path.as_posix()).get("node_type") == "array"

    def _json(self, name: str) -> dict[str, Any]:
        try:
            raw = self._zip.read(name) if self._zip else (self._source / name).read_bytes()
            data = json.loads(raw)
        except (OSError, ValueError, KeyError, zipfile.BadZipFile) as error:
            raise InputError(f"{self._source}/{name}: can't be read: {error}") from None
        return data if isinstance(data, dict) else {}

    def array(self, name: str) -> _Rows:
        """Return an array of numbers; InputError for others, unopened."""
        for file in (".zarray", "zarr.json"):
            has = f"{name}/{file}" in self._zip.namelist() if self._zip else (self._source / name / file).exists()
            if has:
                self._require_harmless(name, self._json(f"{name}/{file}"))
        try:
            array = self._root[name]
            rows = _Rows(array, name.removeprefix("data/"))
        except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
            raise InputError(f"{self._source}/{name}: zarr can't read it: {one_line(error)}") from None
        if not rows.shape:
            raise InputError(f"{self._source}/{name}: a single number where rows are wanted")
        return rows

    def _require_harmless(self, name: str, data: Mapping[str, Any]) -> None:
        dtype = data.get("dtype", data.get("data_type"))
        v2 = isinstance(dtype, str) and len(dtype) > 2 and dtype[0] in "<>|" and dtype[1] in "biuf"
        if not v2 and dtype not in _V3_TYPES:
            raise InputError(
                f"{self._source}/{name}: its elements are {dtype!r}, not numbers; leave it out: observations=[...]"
            )
        codecs = [data.get("compressor"), *(data.get("filters") or ()), *(data.get("codecs") or ())]
        for codec in _flat(codecs):
            if codec.removeprefix("numcodecs.") not in _CODECS:
                raise InputError(f"{self._source}/{name}: codec {codec!r} isn't read; leave it out: observations=[...]")


def _flat(codecs: list[Any]) -> Iterator[str]:
    for codec in codecs:
        if codec is None:
            continue
        data = codec if isinstance(codec, dict) else {}
        yield str(data.get("id", data.get("name", codec)))
        inner = data.get("configuration")
        if isinstance(inner, dict):
            yield from _flat([*(inner.get("codecs") or ()), *(inner.get("index_codecs") or ())])


def _metadata_files(source: Path) -> Iterator[Path]:
    for name in (".zarray", "zarr.json"):
        yield from source.glob(f"*/*/{name}")
