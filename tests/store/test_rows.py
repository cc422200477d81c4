from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from distil.errors import RunError
from distil.store import Snapshot, Store
from distil.store import rows as module
from distil.store.rows import RowReader, Runs, ranges


@pytest.fixture
def snapshot(fill: Callable[..., Store]) -> Snapshot:
    return fill([300, 2000, 50], [0, 1, 0]).snapshot()


@settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    wanted=st.lists(st.tuples(st.integers(0, 1), st.integers(0, 340), st.integers(0, 12)), max_size=30),
    shuffle=st.booleans(),
    scratch=st.sampled_from([1 << 20, 64]),
)
def test_any_runs_are_copied(snapshot: Snapshot, wanted: list[tuple[int, int, int]], shuffle: bool, scratch: int) -> None:
    """Near and far, overlapping, empty, in any order, and larger than what is read at once."""
    shard, source, count = np.array(wanted or np.empty((0, 3)), np.int64).reshape(-1, 3).T
    target = np.cumsum(count) - count
    order = np.random.default_rng(0).permutation(len(count)) if shuffle else np.arange(len(count))
    runs = Runs(shard=shard[order], source=source[order], target=target[order], count=count[order])
    out = {"obs": np.zeros((int(count.sum()), 2), np.float32), "step": np.zeros(int(count.sum()), np.int64)}
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(module, "_SCRATCH_BYTES", scratch)
        RowReader(snapshot.path, snapshot.entries, snapshot.spec).copy(runs, out)
    whole = [snapshot.select([i]).columns(["obs", "step"]) for i in range(3)]
    parts = {"obs": [], "step": []}  # type: ignore[var-annotated]
    names = [entry.path for entry in snapshot.entries]
    for number, first, num in wanted:
        episodes = [2, 0] if "w0-" in names[number] else [1]  # as the writer got them
        for name, found in parts.items():
            found.append(np.concatenate([whole[i][name] for i in episodes])[first : first + num])
    for name, found in parts.items():
        want = np.concatenate([*found, np.zeros((0, *out[name].shape[1:]))])
        np.testing.assert_array_equal(out[name], want)


def test_wide_rows_are_read_to_where_they_stay(fill: Callable[..., Store], monkeypatch: pytest.MonkeyPatch) -> None:
    """No copy in between, and no bytes of the rows between those that are wanted."""
    monkeypatch.setattr(module, "_WIDE_BYTES", 8)
    snapshot = fill([30, 20], [0, 0], name="wide").snapshot()
    reader, places = RowReader(snapshot.path, snapshot.entries, snapshot.spec), []
    monkeypatch.setattr(module, "_place", lambda rows, span, out: places.append(out.dtype))
    source = np.array([2, 8, 33])
    runs = Runs(shard=np.zeros(3, np.int64), source=source, target=np.array([4, 0, 7]), count=np.array([3, 4, 5]))
    out = np.zeros((12, *snapshot.columns(["obs"])["obs"].shape[1:]), snapshot.columns(["obs"])["obs"].dtype)
    reader.copy(runs, {"obs": out})
    assert (places, reader.num_bytes) == ([], 12 * out[0].nbytes)
    with monkeypatch.context() as patch:
        patch.undo()
        want = np.zeros_like(out)
        RowReader(snapshot.path, snapshot.entries, snapshot.spec).copy(runs, {"obs": want})
        np.testing.assert_array_equal(out, want)
    reader.copy(runs, {"obs": out.astype(np.float16)})
    assert set(places) == {np.dtype(np.float16)}  # other types are converted


@pytest.mark.parametrize("most", [1, 20, 1 << 20])
def test_rows_are_scattered(snapshot: Snapshot, monkeypatch: pytest.MonkeyPatch, most: int) -> None:
    """Also if the system reads fewer bytes than it was asked for; neighbours are read by one call."""
    calls, preadv = list[int](), os.preadv

    def short(descriptor: int, views: list[memoryview], offset: int) -> int:
        calls.append(len(views))
        return preadv(descriptor, [views[0][:most]] if most < len(views[0]) else views, offset)

    shard, source = np.array([1, 1, 1, 0, 1]), np.array([7, 8, 9, 340, 2])
    order = np.array([3, 0, 4, 1, 2])
    reader, size = RowReader(snapshot.path, snapshot.entries, snapshot.spec), {"obs": 16, "step": 4}
    want = {"obs": np.empty((5, 2)), "step": np.empty(5, np.int32)}
    reader.copy(Runs(shard=shard, source=source, target=order, count=np.ones(5, np.int64)), want)
    out = {name: np.zeros_like(values) for name, values in want.items()}
    data = {name: values.data.cast("B") for name, values in out.items()}
    views = {name: [view[i * size[name] : (i + 1) * size[name]] for i in order.tolist()] for name, view in data.items()}
    monkeypatch.setattr(os, "preadv", short)
    reader.scatter(shard, source, views)
    for name, values in want.items():
        np.testing.assert_array_equal(out[name], values)
    if most == 1 << 20:
        assert calls == [3, 1, 1] * 2


def test_long_runs_are_read_by_themselves(snapshot: Snapshot, monkeypatch: pytest.MonkeyPatch) -> None:
    """Short runs are read at once, with the rows between them; both give the same rows, in any order."""
    runs = Runs(
        shard=np.zeros(3, np.int64), source=np.array([30, 0, 11]), target=np.array([8, 0, 20]), count=np.array([12, 8, 6])
    )
    found = []
    for hole, num_rows in ((1 << 15, 42), (100, 26)):
        monkeypatch.setattr(module, "_HOLE_BYTES", hole)
        reader, out = RowReader(snapshot.path, snapshot.entries, snapshot.spec), np.zeros((26, 2), np.float32)
        reader.copy(runs, {"obs": out})
        assert reader.num_bytes == num_rows * 2 * 8
        found.append(out)
    np.testing.assert_array_equal(*found)
    assert found[0].any()


def test_ranges() -> None:
    assert ranges(np.array([5, 9, 1]), np.array([2, 0, 3])).tolist() == [5, 6, 1, 2, 3]
    assert ranges(np.array([], np.int64), np.array([], np.int64)).tolist() == []


def test_few_files_stay_open(snapshot: Snapshot, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_MAX_OPEN", 1)
    reader = RowReader(snapshot.path, snapshot.entries, snapshot.spec)
    zeros = np.zeros(1, np.int64)
    for number in (0, 1, 0):
        runs = Runs(shard=zeros + number, source=zeros, target=zeros, count=zeros + 1)
        reader.copy(runs, {"step": np.empty(1, np.int32)})
        assert len(reader._open) == 1
    assert reader.num_bytes == 3 * 4
    reader.close()
    assert not reader._open


def test_a_missing_and_a_shorter_shard_are_named(snapshot: Snapshot) -> None:
    reader = RowReader(snapshot.path, snapshot.entries, snapshot.spec)
    zeros = np.zeros(1, np.int64)
    runs = Runs(shard=zeros, source=zeros, target=zeros, count=zeros + 9)
    reader.copy(runs, {"obs": np.empty((9, 2))})
    path = Path(str(snapshot.path)) / snapshot.entries[0].path
    path.write_bytes(b"")
    with pytest.raises(RunError, match=rf"{path.name}: it was truncated"):
        reader.copy(runs, {"obs": np.empty((9, 2))})
    path.unlink()
    reader.close()
    with pytest.raises(RunError, match=rf"{path.name}: the shard is missing"):
        reader.copy(runs, {"obs": np.empty((9, 2))})
