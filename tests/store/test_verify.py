from __future__ import annotations

import random
from collections.abc import Callable

import pytest

from distil.errors import InputError
from distil.store import Store
from distil.store.versions import manifest_key

Fill = Callable[..., Store]


def test_an_intact_store_has_no_faults(fill: Fill) -> None:
    assert fill([3, 4, 5], [0, 1, 1]).verify() == []


def test_every_flipped_bit_is_found_and_the_file_named(fill: Fill) -> None:
    store = fill([3, 4], [0, 1])
    rng = random.Random(0)
    files = [store.path / entry.path for entry in store.snapshot().entries] + [(store.path / manifest_key(1))]
    for path in files:
        content = path.read_bytes()
        for _ in range(100):
            flipped = bytearray(content)
            flipped[rng.randrange(len(content))] ^= 1 << rng.randrange(8)
            path.write_bytes(flipped)
            faults = store.verify()
            assert len(faults) == 1
            assert path.name in faults[0]
            assert "\n" not in faults[0]
        path.write_bytes(content)
    assert store.verify() == []


def test_all_faults_are_listed(fill: Fill, make_episode: Callable[..., object]) -> None:
    store = fill([3, 4, 5], [0, 1, 2])
    first, second, _ = (store.path / entry.path for entry in store.snapshot().entries)
    first.unlink()
    second.write_bytes(second.read_bytes()[:-8])
    faults = store.verify(1)
    assert [first.name in faults[0], second.name in faults[1], len(faults)] == [True, True, 2]


def test_a_damaged_manifest_is_named_and_the_one_below_still_checked(fill: Fill, make_episode: Callable[..., object]) -> None:
    store = fill([3, 4])
    writer = store.writer("more")
    writer.add(make_episode(9, 3))  # type: ignore[arg-type]
    entry = writer.seal()
    assert entry
    store.commit([entry])
    (store.path / manifest_key(2)).write_text("{}")
    shard = store.path / store.snapshot(1).entries[0].path
    shard.write_bytes(shard.read_bytes() + b"x")
    faults = store.verify()
    assert len(faults) == 2
    assert "v000000000002.json" in faults[0]
    assert shard.name in faults[1]


def test_a_version_that_is_not_there(fill: Fill) -> None:
    with pytest.raises(InputError, match="no version 5; there is 1 to 1"):
        fill([3]).verify(5)
