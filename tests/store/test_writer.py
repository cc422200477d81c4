from __future__ import annotations

import os
import resource
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from distil.errors import InputError, RunError
from distil.store import Store, StoreSpec, shard


@pytest.fixture
def store(tmp_path: Path, spec: StoreSpec) -> Store:
    return Store.create(tmp_path / "demos", spec)


@pytest.mark.parametrize("codecs", [{}, {"obs/image": "lz4", "obs/on": "lz4"}])
def test_an_episode_comes_back_as_it_was(tmp_path: Path, every_type: Any, codecs: dict[str, str]) -> None:
    """CORRECTNESS 1 and 2: both flags and the final observation are kept."""
    spec, episodes = every_type(codecs)
    store = Store.create(tmp_path / "demos", spec)
    writer = store.writer("w")
    for episode in episodes:
        writer.add(episode)
    snapshot = store.commit([entry] if (entry := writer.seal()) else [])
    for number, episode in enumerate(episodes):
        back = snapshot.episode(number)
        for leaf, values in episode.observations.items():
            np.testing.assert_array_equal(back.observations[leaf], values)
            assert back.observations[leaf].dtype == values.dtype
        for name in ("actions", "rewards", "expert_actions", "labelled", "acted_by_expert"):
            np.testing.assert_array_equal(getattr(back, name), getattr(episode, name))
        for name in ("terminated", "truncated", "policy_version", "round", "seed", "uid", "source", "infos"):
            assert getattr(back, name) == getattr(episode, name)
    flags = snapshot.columns(["terminated", "truncated", "step"])
    assert flags["step"].tolist() == [0, 1, 2, 3] * 3
    assert flags["terminated"].tolist() == [0, 0, 1, 0, 0, 0, 0, 0, 0, 0, 1, 0]
    assert flags["truncated"].tolist() == [0, 0, 0, 0, 0, 0, 1, 0, 0, 0, 1, 0]


@pytest.mark.parametrize(
    ("changes", "text"),
    [
        ({"observations": {"obs": np.zeros((4, 3))}}, r"obs is float64 \[4, 3\], the store takes float64 \[4, 2\]"),
        ({"observations": {"obs": np.zeros((3, 2))}}, r"obs is float64 \[3, 2\]"),
        ({"observations": {"obs": np.zeros((4, 2), np.float32)}}, "obs is float32"),
        ({"observations": {"image": np.zeros((4, 2))}}, r"observations \['image'\], the store \['obs'\]"),
        ({"actions": np.zeros((3, 2), np.float32)}, "action is"),
        ({"expert_actions": np.zeros((3, 1))}, "expert_action is float64"),
        ({"labelled": np.ones(2, np.uint8)}, "labelled is"),
        ({"rewards": np.zeros(0)}, "T >= 1"),
        ({"rewards": np.zeros(3, np.float32)}, "reward is float32"),
        ({"uid": ""}, "printable"),
        ({"uid": "a\nb"}, "printable"),
        ({"uid": "x" * 201}, "printable"),
        ({"source": "x" * 201}, "source"),
        ({"seed": 1 << 63}, "seed 9223372036854775808 doesn't fit 64 bits"),
        ({"seed": -(1 << 63) - 1}, "seed"),
        ({"round": 1 << 63}, "round"),
        ({"policy_version": 1 << 63}, "policy_version"),
    ],
)
def test_a_fault_names_the_episode_and_the_leaf(store: Store, make_episode: Any, changes: dict[str, Any], text: str) -> None:
    writer = store.writer("w")
    with pytest.raises(RunError, match=text) as error:
        writer.add(make_episode(1, 3, **changes))
    assert "\n" not in str(error.value)
    assert "uid" in changes or "test-0001" in str(error.value)
    assert writer.seal() is None


def test_sealing_empties_the_buffer_and_names_never_collide(store: Store, make_episode: Any) -> None:
    first, second = store.writer("w", target_bytes=100), store.writer("w")
    assert not first.is_full
    first.add(make_episode(1, 3))
    assert first.is_full
    with pytest.raises(RunError, match="added twice"):
        first.add(make_episode(1, 3))
    second.add(make_episode(2, 3))
    entries = [first.seal(), second.seal()]
    assert not first.is_full
    assert first.seal() is None
    first.add(make_episode(3, 3))
    entries.append(first.seal())
    assert len({entry.path for entry in entries if entry}) == 3
    assert len(list((store.path / "data").iterdir())) == 3
    assert store.snapshot().num_episodes == 0  # nothing is visible before the commit


def test_a_full_disk_is_one_line_and_loses_nothing(store: Store, make_episode: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    writer = store.writer("w")
    writer.add(make_episode(1, 3))
    with monkeypatch.context() as patch:
        patch.setattr(shard, "_create_locked", lambda path: open("/dev/full", "wb", buffering=0))  # noqa: SIM115
        with pytest.raises(RunError, match=r"^[^\n]*no disk space left; free some[^\n]*$"):
            writer.seal()
    assert not list((store.path / "data").iterdir())
    entry = writer.seal()  # the space is back, and so are the episodes
    assert entry is not None
    assert entry.num_episodes == 1


def test_a_file_that_ends_half_way_is_removed(store: Store, make_episode: Any) -> None:
    writer = store.writer("w")
    writer.add(make_episode(1, 3000))
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, limits[1]))
    try:
        with pytest.raises(RunError, match=r"^[^\n]*File too large; check the disk$"):
            writer.seal()
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert not os.listdir(store.path / "data")


@pytest.mark.parametrize("name", ["", "../x", ".x", "a/b", "x" * 100])
def test_bad_writer_names(store: Store, name: str) -> None:
    with pytest.raises(InputError, match="writer name"):
        store.writer(name)


def test_infos_must_come_when_the_store_keeps_them(tmp_path: Path, spec: StoreSpec, make_episode: Any) -> None:
    kept = StoreSpec(observation=spec.observation, action=spec.action, infos=("success",))
    writer = Store.create(tmp_path / "demos", kept).writer("w")
    with pytest.raises(RunError, match="infos must hold one JSON text for each of its 3 steps"):
        writer.add(make_episode(1, 3))
