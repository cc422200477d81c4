from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from gymnasium import spaces

from distil.errors import RunError
from distil.spaces import action_spec, observation_spec
from distil.store import Sampler, Store, StoreSpec
from distil.store.damage import find_damage
from distil.store.reading import ReadConfig, Reader
from distil.store.rows import RowReader
from distil.store.shard import open_shard
from distil.store.stream import StreamSampler

LENGTH, SIZE = 30, 64
LINE = r"^[^\n]*{}: damaged \(a compressed row is damaged: obs of episode test-0002, step 7\)[^\n]*$"


@pytest.fixture
def store(tmp_path: Path, make_episode: Any) -> Store:
    """Three episodes of compressed images; row 7 of the last one can't be decoded."""
    image = observation_spec(spaces.Box(0, 255, (SIZE,), np.uint8))
    store = Store.create(
        tmp_path / "demos",
        StoreSpec(observation=image, action=action_spec(spaces.Box(-1e9, 1e9, (1,), np.float32)), codecs={"obs": "lz4"}),
    )
    writer = store.writer("w")
    for number in range(3):
        frames = np.full((LENGTH + 1, SIZE), number, np.uint8)
        writer.add(make_episode(number, LENGTH, observations={"obs": frames}))
    entry = writer.seal()
    assert entry is not None
    store.commit([entry])
    with open_shard(store.path, entry, store.spec) as shard:
        offsets, data = shard.frames("obs")
        row = 2 * (LENGTH + 1) + 7
        block = bytes(data[offsets[row] : offsets[row + 1]])
        start = data[offsets[row] :].ctypes.data - data.ctypes.data
    content = bytearray((store.path / entry.path).read_bytes())
    first = content.find(bytes(_blocks(store)))
    content[first + start : first + start + len(block)] = b"\xff" * len(block)
    (store.path / entry.path).write_bytes(content)
    return Store.open(store.path)


def _blocks(store: Store) -> bytes:
    with open_shard(store.path, store.manifest().entries[0], store.spec) as shard:
        return shard.frames("obs")[1].tobytes()


def _held(store: Store) -> Any:
    return Reader(ReadConfig(memory_budget="1GB", share=False)).sampler(store.snapshot(), obs_horizon=2)


def _streamed(store: Store) -> Any:
    return StreamSampler(store.snapshot(), memory_budget=4 << 20)


@pytest.mark.parametrize("source", [lambda store: Sampler(store.snapshot()), _held, _streamed])
def test_training_names_file_episode_and_step(store: Store, source: Callable[[Store], Any]) -> None:
    (name,) = [entry.path for entry in store.manifest().entries]
    with pytest.raises(RunError, match=LINE.format(name)):
        for _ in source(store).scan(16):
            pass


def test_reading_an_episode_names_it_too(store: Store) -> None:
    snapshot = store.snapshot()
    assert snapshot.episode(1).observations["obs"].max() == 1
    with pytest.raises(RunError, match=LINE.format(snapshot.entries[0].path)):
        snapshot.episode(2)


def test_intact_files_are_not_blamed(fill: Callable[..., Store]) -> None:
    snapshot = fill([3]).snapshot()
    origin = RowReader(snapshot.path, snapshot.entries, snapshot.spec).origin
    assert "damaged in memory, the files are intact" in str(find_damage(origin))
