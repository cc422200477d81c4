from __future__ import annotations

from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from gymnasium import spaces

from distil.errors import RunError
from distil.spaces import action_spec, observation_spec
from distil.store import Sampler, Snapshot, Store, StoreSpec
from distil.store.codec import blocks, check_offsets, decode, encode, min_block_bytes
from distil.store.order import SampleSource
from distil.store.stream import StreamSampler
from distil.types import Array, Episode


def frames(num: int, seed: int = 0) -> Array:
    """Flat renders, and one of noise, which doesn't shrink."""
    rng = np.random.default_rng(seed)
    out = np.zeros((num, 24, 24, 3), np.uint8)
    out[:, 4:9, :, 0] = rng.integers(0, 255, (num, 1, 1))
    out[num // 2] = rng.integers(0, 255, out.shape[1:])
    return out


@pytest.mark.parametrize("values", [frames(9), np.zeros((0, 3), np.uint8), np.arange(12.0).reshape(4, 3)])
def test_encoding_is_lossless(values: Array) -> None:
    array = encode(values)
    array.validate(full=True)
    assert array.type == pa.large_binary()
    for part in (slice(None), slice(1, None), slice(1, 2)):
        rows = np.empty_like(values[part])
        decode(*blocks(array[part]), rows)
        np.testing.assert_array_equal(rows, values[part])


def test_flat_frames_shrink() -> None:
    offsets, data = blocks(encode(frames(100)))
    assert len(data) < 0.06 * 100 * 24 * 24 * 3
    assert offsets[-1] == len(data)


def test_damage_is_an_error() -> None:
    values = frames(5)
    offsets, data = blocks(encode(values))
    for bad in (data[::-1].copy(), np.full_like(data, 255)):
        with pytest.raises(ValueError, match="damaged"):
            decode(offsets, bad, np.empty_like(values))
    for wrong in (offsets - 1, offsets[::-1], offsets + 1):
        with pytest.raises(ValueError, match="don't lie in the file"):
            check_offsets(wrong, len(data))


def image_snapshot(folder: Path, codecs: dict[str, str]) -> tuple[Snapshot, list[Array]]:
    space = spaces.Dict(image=spaces.Box(0, 255, (24, 24, 3), np.uint8), state=spaces.Box(-1e9, 1e9, (2,), np.float32))
    spec = StoreSpec(observation=observation_spec(space), action=action_spec(spaces.Discrete(4)), codecs=codecs)
    store = Store.create(folder, spec)
    images = []
    for number, length in enumerate([40, 3, 90, 33]):
        images.append(frames(length + 1, number))
        writer = store.writer(f"w{number}")
        state = np.stack([np.full(length + 1, number), np.arange(length + 1)], axis=1).astype(np.float32)
        actions = np.arange(length) % 4
        writer.add(
            Episode(
                observations={"obs/image": images[-1], "obs/state": state},
                actions=actions,
                rewards=np.zeros(length),
                terminated=True,
                truncated=False,
                expert_actions=actions,
                labelled=np.ones(length, np.uint8),
                acted_by_expert=np.ones(length, np.uint8),
                uid=f"e{number}",
            )
        )
        entry = writer.seal()
        assert entry
        store.commit([entry])
    return store.snapshot(), images


@pytest.mark.parametrize("windows", [{}, {"obs_horizon": 3, "chunk": 2, "goal": "end"}])
def test_compressed_images_are_decoded_when_a_batch_is_made(tmp_path: Path, windows: dict[str, int]) -> None:
    """CORRECTNESS 10: the same frames raw, compressed in memory, and compressed and streamed."""
    snapshot, images = image_snapshot(tmp_path / "lz4", {"obs/image": "lz4"})
    raw, _ = image_snapshot(tmp_path / "raw", {})
    horizon = windows.get("obs_horizon", 1)
    sources: list[SampleSource] = [Sampler(raw, **windows), Sampler(snapshot, **windows)]
    sources += [StreamSampler(part, memory_budget=(1 << 20) + 3_000_000, **windows) for part in (raw, snapshot)]
    for source in sources:
        for batch in source.batches(batch_size=32, seed=0, num_batches=8):
            for row in range(32):
                number, step = batch.observations["obs/state"][row, -1].astype(int)
                seen = [max(0, step - back) for back in reversed(range(horizon))]
                np.testing.assert_array_equal(batch.observations["obs/image"][row], images[number][seen])
                if "goal" in windows:
                    np.testing.assert_array_equal(batch.observations["goal/obs/image"][row, 0], images[number][-1])
    assert sum(e.num_bytes for e in snapshot.entries) < 0.3 * sum(e.num_bytes for e in raw.entries)
    for index, want in enumerate(images):
        np.testing.assert_array_equal(snapshot.episode(index).observations["obs/image"], want)


def test_a_damaged_frame_ends_with_the_files_name(tmp_path: Path) -> None:
    snapshot, _ = image_snapshot(tmp_path / "store", {"obs/image": "lz4"})
    path = Path(str(snapshot.path)) / snapshot.entries[2].path
    raw = bytearray(path.read_bytes())
    with pa.memory_map(str(path)) as file:
        base = file.read_buffer(1).address
        data = pa.ipc.open_file(file).get_batch(0).column("obs/image").buffers()[2]
        begin = data.address - base
    raw[begin : begin + 4000] = b"\xff" * 4000
    path.write_bytes(raw)
    with pytest.raises(RunError, match=r"w2.*damaged"):
        snapshot.episode(2)


@pytest.mark.parametrize("size", [1, 63, 64, 65, 319, 320, 1000, 1 << 20])
def test_no_block_is_smaller_than_the_least(size: int) -> None:
    offsets, _ = blocks(encode(np.zeros((2, size), np.uint8)))
    assert np.diff(offsets).min() >= min_block_bytes(size)
    assert 256 * (8 + min_block_bytes(size)) > size


def test_a_block_that_promises_more_than_it_can_hold_is_damaged() -> None:
    with pytest.raises(ValueError, match="a compressed row is damaged"):
        decode(np.array([0, 100]), np.zeros(100, np.uint8), np.empty((1, 1 << 20), np.uint8))
