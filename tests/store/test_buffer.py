from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from distil.errors import RunError
from distil.store import Store, StoreSpec
from distil.store import buffer as module
from distil.store.buffer import EpisodeBuffer


def test_rows_grow_and_memory_is_used_again(spec: StoreSpec, make_episode: Any) -> None:
    buffer = EpisodeBuffer(spec, 1)
    for number in range(3):
        buffer.add(make_episode(number, 700))
    assert (len(buffer), buffer.num_rows, buffer.num_transitions) == (3, 2103, 2100)
    assert buffer.num_bytes == 2103 * spec.row_bytes
    columns = buffer.columns()
    assert columns["obs"][700].tolist() == [700.0, -700.0]
    assert columns["episode"].tolist() == [0] * 701 + [1] * 701 + [2] * 701
    memory = columns["obs"].base
    buffer.clear()
    buffer.add(make_episode(5, 2))
    again = buffer.columns()
    assert again["obs"].base is memory
    assert again["action"].tolist() == [[50.0], [51.0], [0.0]]  # nothing is left of what was there before
    assert again["truncated"].tolist() == [0, 1, 0]
    assert again["labelled"].tolist() == [1, 1, 0]
    assert again["step"].tolist() == [0, 1, 2]


def test_a_bad_episode_changes_nothing(spec: StoreSpec, make_episode: Any) -> None:
    buffer = EpisodeBuffer(spec, 1 << 20)
    buffer.add(make_episode(1, 3))
    for bad in (make_episode(1, 4), make_episode(2, 4, expert_actions=np.zeros((4, 2), np.float32)), make_episode(2, 0)):
        with pytest.raises(RunError, match=r"test-000"):
            buffer.add(bad)
    assert (len(buffer), buffer.num_rows) == (1, 4)
    buffer.add(make_episode(2, 4))
    assert buffer.index().column("first_row").to_pylist() == [0, 4]


def test_an_episodes_digest_is_that_of_its_steps_alone(tmp_path: Path, every_type: Any) -> None:
    digests = []
    for codecs, order in (({}, [0, 1, 2]), ({"obs/image": "lz4"}, [2, 0, 1])):
        spec, episodes = every_type(codecs)
        buffer = EpisodeBuffer(spec, 1 << 20)
        for number in order:
            buffer.add(episodes[number])
        index = buffer.index().to_pydict()
        digests.append(dict(zip(index["uid"], index["digest"], strict=True)))
    assert digests[0] == digests[1]
    assert len(set(digests[0].values())) == 3


def test_many_at_once_are_the_same(every_type: Any) -> None:
    """Also of columns with a codec; a bad one among them leaves nothing behind."""
    spec, episodes = every_type({"obs/image": "lz4"})
    one, other = EpisodeBuffer(spec, 1 << 20), EpisodeBuffer(spec, 1)
    for episode in episodes:
        one.add(episode)
    for bad in ([*episodes, episodes[0]], [*episodes, replace(episodes[0], uid="new", observations={})]):
        with pytest.raises(RunError, match=r"added twice|the store"):
            other.add(*bad)
        assert (len(other), other.num_rows, other.num_bytes) == (0, 0, 0)
    other.add()
    other.add(*episodes[:1])
    other.add(*episodes[1:])
    assert one.index().drop_columns(["total_reward"]).equals(other.index().drop_columns(["total_reward"]))  # some are NaN
    assert (one.num_rows, one.num_bytes) == (other.num_rows, other.num_bytes)
    pairs = zip(one.columns().items(), other.columns().items(), strict=True)
    for (name, values), (same, found) in pairs:
        assert name == same
        np.testing.assert_array_equal(values, found)


def test_an_interrupted_addition_leaves_no_trace(every_type: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    spec, episodes = every_type({"obs/image": "lz4"})
    buffer, want = EpisodeBuffer(spec, 1 << 20), EpisodeBuffer(spec, 1 << 20)
    want.add(episodes[0], episodes[2])
    buffer.add(episodes[0])

    def interrupted(*args: Any) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(module, "_fact", interrupted)
        with pytest.raises(KeyboardInterrupt):
            buffer.add(episodes[1])
    assert (len(buffer), len(buffer.columns()["reward"])) == (1, episodes[0].length + 1)
    buffer.add(episodes[2])
    for name, values in want.columns().items():
        np.testing.assert_array_equal(values, buffer.columns()[name])


def test_success_is_kept(spec: StoreSpec, make_episode: Any, tmp_path: Path) -> None:
    store = Store.create(tmp_path / "demos", spec)
    writer = store.writer("w")
    for number, success in enumerate([None, True, False]):
        writer.add(make_episode(number, 2, success=success))
    snapshot = store.commit([entry] if (entry := writer.seal()) else [])
    assert snapshot.episodes.success.tolist() == [-1, 1, 0]
    assert [snapshot.episode(number).success for number in range(3)] == [None, True, False]
