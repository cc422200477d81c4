"""Alternatives to distil's store, each used as its users do: readers of the same transitions for benchmarks/store.py.

Libraries that are not installed are left out.
"""

from __future__ import annotations

import importlib.util
import os
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np

from distil.types import Array

Batches = Callable[[], Iterator[Any]]
Sample = Callable[[int, int, int, int], tuple[Array, Array]]  # rows [a, b) of observations, [c, d) of actions


def contestants(
    folder: Path, obs: Array, actions: Array, length: int, access: str, sizes: tuple[int, int], batch: int
) -> dict[str, Batches]:
    """Return name -> endless batches of one access, over data written to `folder`."""
    folder.mkdir(parents=True, exist_ok=True)
    horizon, chunk = sizes if access == "windows" else (1, 1)
    rows = _Rows(len(obs), length, horizon, chunk)
    orders = {"scan": np.arange(len(obs))}
    order = orders.get(access, np.random.default_rng(0).permutation(len(obs)))

    def by_batch(gather: Callable[[Array, Array], Any]) -> Batches:
        """Batches of a reader that takes many rows at once."""

        def batches() -> Iterator[Any]:
            while True:
                for start in range(0, len(order) - batch + 1, batch):
                    yield gather(*rows.of(order[start : start + batch]))

        return batches

    def by_sample(sample: Sample) -> Batches:
        """Batches of a reader that takes one row at a time, stacked as a collate function does."""

        def batches() -> Iterator[Any]:
            while True:
                for start in range(0, len(order) - batch + 1, batch):
                    samples = [sample(*rows.bounds(i)) for i in order[start : start + batch].tolist()]
                    yield tuple(np.stack(parts) for parts in zip(*samples, strict=True))

        return batches

    ram = _ram(obs, actions, (horizon, chunk) if access == "windows" else None)
    out = {"RAM, per-sample collate": by_sample(ram)}
    out["torch DataLoader"] = _torch_loader(ram, rows, len(obs), batch, shuffle=access != "scan")
    makers = {"h5py": _hdf5, "zarr": _zarr, "datasets": _datasets, "lance": _lance, "pyarrow": _arrow, "minari": _minari}
    for module, maker in makers.items():
        if importlib.util.find_spec(module):
            name, gather, batched = maker(folder, obs, actions, length, (horizon, chunk))
            out[name] = by_batch(gather) if batched else by_sample(gather)
    return out


def _ram(obs: Array, actions: Array, sizes: tuple[int, int] | None) -> Sample:
    if sizes is None:
        return lambda a, _b, c, _d: (obs[a], actions[c])
    return lambda a, b, c, d: (_pad(obs[a:b], sizes[0], front=True), _pad(actions[c:d], sizes[1]))


class _Rows:
    """Rows of windows, clamped to their episodes."""

    def __init__(self, num: int, length: int, horizon: int, chunk: int) -> None:
        self._num, self._length = num, length
        self._horizon, self._chunk = horizon, chunk
        self._back, self._ahead = np.arange(1 - horizon, 1), np.arange(chunk)

    def bounds(self, sample: int) -> tuple[int, int, int, int]:
        """Return where the windows of one sample begin and end, inside its episode."""
        first = sample - sample % self._length
        end = min(sample + self._chunk, first + self._length)
        return max(sample + 1 - self._horizon, first), sample + 1, sample, end

    def of(self, sample: Any) -> tuple[Array, Array]:
        first = np.asarray(sample) // self._length * self._length
        index = np.asarray(sample)[..., None]
        return (
            np.maximum(index + self._back, first[..., None]),
            np.minimum(index + self._ahead, first[..., None] + self._length - 1),
        )


def _torch_loader(sample: Sample, rows: _Rows, num: int, batch: int, *, shuffle: bool) -> Batches:
    from torch.utils.data import DataLoader, Dataset

    class Windows(Dataset):  # type: ignore[type-arg]
        def __len__(self) -> int:
            return num

        def __getitem__(self, index: int) -> tuple[Array, Array]:
            return sample(*rows.bounds(index))

    def batches() -> Iterator[Any]:
        while True:
            yield from DataLoader(Windows(), batch_size=batch, shuffle=shuffle)

    return batches


def _hdf5(folder: Path, obs: Array, actions: Array, length: int, sizes: tuple[int, int]) -> tuple[str, Any, bool]:
    import h5py

    file = h5py.File(folder / "data.hdf5", "w")
    for number, start in enumerate(range(0, len(obs), length)):
        group = file.create_group(f"data/demo_{number}")
        group["obs"], group["actions"] = obs[start : start + length], actions[start : start + length]

    def sample(a: int, b: int, c: int, d: int) -> tuple[Array, Array]:
        group, start = file[f"data/demo_{a // length}"], a - a % length
        return _pad(group["obs"][a - start : b - start], sizes[0], front=True), _pad(
            group["actions"][c - start : d - start], sizes[1]
        )

    return "HDF5, a group a demo", sample, False


def _pad(values: Array, num: int, *, front: bool = False) -> Array:
    if len(values) == num:
        return values
    parts = [values, np.repeat(values[:1] if front else values[-1:], num - len(values), 0)]
    return np.concatenate(parts[::-1] if front else parts)


def _zarr(folder: Path, obs: Array, actions: Array, length: int, sizes: tuple[int, int]) -> tuple[str, Any, bool]:
    import zarr

    root = zarr.open_group(str(folder / "data.zarr"), mode="w")
    arrays = []
    for name, values in (("obs", obs), ("action", actions)):
        array = root.create_array(name, shape=values.shape, chunks=(length, values.shape[1]), dtype=values.dtype)
        array[:] = values
        arrays.append(array)

    def sample(a: int, b: int, c: int, d: int) -> tuple[Array, Array]:
        return _pad(np.asarray(arrays[0][a:b]), sizes[0], front=True), _pad(np.asarray(arrays[1][c:d]), sizes[1])

    return "zarr, flat arrays", sample, False


def _datasets(folder: Path, obs: Array, actions: Array, length: int, sizes: tuple[int, int]) -> tuple[str, Any, bool]:
    import datasets

    datasets.disable_progress_bars()
    part = slice(0, min(len(obs), 50_000))  # the whole would take minutes to write
    whole = datasets.Dataset.from_dict({"obs": list(obs[part]), "action": list(actions[part])})
    whole.save_to_disk(folder / "hf")
    loaded = datasets.load_from_disk(str(folder / "hf")).with_format("numpy")
    num = len(loaded)

    def gather(back: Array, ahead: Array) -> Any:
        seen, done = loaded[(back % num).ravel()]["obs"], loaded[(ahead % num).ravel()]["action"]
        return seen.reshape(*back.shape, -1), done.reshape(*ahead.shape, -1)

    return "HF datasets", gather, True


def _arrow(folder: Path, obs: Array, actions: Array, length: int, sizes: tuple[int, int]) -> tuple[str, Any, bool]:
    import pyarrow as pa

    def column(values: Array) -> pa.Array:
        return pa.FixedSizeListArray.from_arrays(pa.array(values.ravel()), values.shape[1])

    table = pa.table({"obs": column(obs), "action": column(actions)})

    def gather(back: Array, ahead: Array) -> Any:
        seen = table.select(["obs"]).take(pa.array(back.ravel()))["obs"].combine_chunks().flatten().to_numpy()
        done = table.select(["action"]).take(pa.array(ahead.ravel()))["action"].combine_chunks().flatten().to_numpy()
        return seen.reshape(*back.shape, -1), done.reshape(*ahead.shape, -1)

    return "Arrow Table.take", gather, True


def _lance(folder: Path, obs: Array, actions: Array, length: int, sizes: tuple[int, int]) -> tuple[str, Any, bool]:
    import lance
    import pyarrow as pa

    def column(values: Array) -> pa.Array:
        return pa.FixedSizeListArray.from_arrays(pa.array(values.ravel()), values.shape[1])

    data = lance.write_dataset(pa.table({"obs": column(obs), "action": column(actions)}), folder / "data.lance")

    def gather(back: Array, ahead: Array) -> Any:
        seen = data.take(back.ravel(), columns=["obs"])["obs"].combine_chunks().flatten().to_numpy()
        done = data.take(ahead.ravel(), columns=["action"])["action"].combine_chunks().flatten().to_numpy()
        return seen.reshape(*back.shape, -1), done.reshape(*ahead.shape, -1)

    return "Lance", gather, True


def _minari(folder: Path, obs: Array, actions: Array, length: int, sizes: tuple[int, int]) -> tuple[str, Any, bool]:
    os.environ["MINARI_DATASETS_PATH"] = str(folder / "minari")
    import warnings

    import gymnasium as gym
    import minari
    from minari.data_collector import EpisodeBuffer

    buffers = []
    for number, start in enumerate(range(0, len(obs), length)):
        end = min(start + length, len(obs))
        zeros = np.zeros(end - start)
        buffers.append(
            EpisodeBuffer(
                id=number,
                observations=np.concatenate([obs[start:end], obs[end - 1 : end]]),
                actions=actions[start:end],
                rewards=zeros.tolist(),
                terminations=(zeros > 0).tolist(),
                truncations=[False] * (end - start - 1) + [True],
            )
        )
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        data = minari.create_dataset_from_buffers(
            "benchmark/store-v0",
            buffers,
            observation_space=gym.spaces.Box(-np.inf, np.inf, obs.shape[1:], np.float32),
            action_space=gym.spaces.Box(-1, 1, actions.shape[1:], np.float32),
            data_format="hdf5",
        )

    def sample(a: int, b: int, c: int, d: int) -> tuple[Array, Array]:
        episode, start = data[a // length], a - a % length
        seen, done = episode.observations[a - start : b - start], episode.actions[c - start : d - start]
        return _pad(seen, sizes[0], front=True), _pad(done, sizes[1])

    return "Minari, hdf5", sample, False


def ray_data(folder: Path, obs: Array, actions: Array, batch: int) -> float:
    """Return the shuffled transitions per CPU second (all processes) of Ray Data with a local shuffle buffer."""
    import logging

    import psutil
    import pyarrow as pa
    import pyarrow.parquet as pq
    import ray

    folder.mkdir(parents=True)
    columns = {"obs": obs, "action": actions}
    table = {n: pa.FixedSizeListArray.from_arrays(pa.array(v.ravel()), v.shape[1]) for n, v in columns.items()}
    pq.write_table(pa.table(table), folder / "data.parquet")
    ray.init(num_cpus=2, logging_level=logging.ERROR, log_to_driver=False)
    ray.data.DataContext.get_current().enable_progress_bars = False

    def spent_s() -> float:
        processes = [psutil.Process(), *psutil.Process().children(recursive=True)]
        return sum(sum(process.cpu_times()[:2]) for process in processes if process.is_running())

    def epoch() -> int:
        data = ray.data.read_parquet(str(folder))
        return sum(len(b["obs"]) for b in data.iter_batches(batch_size=batch, local_shuffle_buffer_size=20_000))

    try:
        epoch()
        before_s = spent_s()
        start_s, count = time.perf_counter(), 0
        while time.perf_counter() - start_s < 5:
            count += epoch()
        return count / (spent_s() - before_s)
    finally:
        ray.shutdown()
