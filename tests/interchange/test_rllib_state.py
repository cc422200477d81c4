from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgpack
import numpy as np
import pytest
from gymnasium import spaces

from distil.errors import InputError, RunError
from distil.interchange.episodes import BadEpisodeError
from distil.interchange.rllib_state import pack_episode, unpack_piece, unpack_spaces
from distil.store import Snapshot

FILE = Path("items.parquet")
NESTED = spaces.Dict(
    image=spaces.Box(0, 255, (8, 9, 3), np.uint8),
    state=spaces.Tuple([spaces.Box(-1, 1, (2,)), spaces.Discrete(5, start=2), spaces.MultiBinary(3)]),
)


def packed(make_store: Callable[..., Snapshot]) -> tuple[Snapshot, bytes]:
    snapshot = make_store(observation=NESTED, action=spaces.MultiDiscrete([2, 3]))
    return snapshot, pack_episode(snapshot.spec, snapshot.episode(0), snapshot.episode(0).actions)


def test_spaces_and_steps_come_back(make_store: Callable[..., Snapshot]) -> None:
    snapshot, raw = packed(make_store)
    assert unpack_spaces(raw, FILE) == (snapshot.spec.observation, snapshot.spec.action)
    name, load = unpack_piece(raw, snapshot.spec, FILE)
    episode, found = snapshot.episode(0), load()
    assert (name, found.start, found.terminated) == (episode.uid, 0, True)
    for leaf, rows in episode.observations.items():
        np.testing.assert_array_equal(found.observations[leaf], rows)
    np.testing.assert_array_equal(found.actions, episode.actions)


def test_states_of_other_kinds_are_refused(make_store: Callable[..., Snapshot]) -> None:
    snapshot, raw = packed(make_store)
    with pytest.raises(RunError, match=r"items.parquet: an item isn't an RLlib episode"):
        unpack_spaces(raw[:-5], FILE)
    state: dict[Any, Any] = msgpack.unpackb(raw)
    with pytest.raises(InputError, match="don't say their spaces"):
        unpack_spaces(msgpack.packb(state | {"_action_space": None}), FILE)
    _, load = unpack_piece(msgpack.packb(state | {"rewards": {}}), snapshot.spec, FILE)
    with pytest.raises(BadEpisodeError, match="its state isn't whole"):
        load()


@pytest.mark.parametrize("kind", [b"O", b"V"])
def test_arrays_of_objects_are_refused(make_store: Callable[..., Snapshot], kind: bytes) -> None:
    snapshot, _ = packed(make_store)
    array = {b"nd": True, b"type": "|O", b"kind": kind, b"shape": [1], b"data": b"cos"}
    with pytest.raises(RunError, match="an array of objects"):
        unpack_piece(msgpack.packb({"id_": array}), snapshot.spec, FILE)
