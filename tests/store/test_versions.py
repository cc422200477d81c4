from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from distil.errors import InputError, RunError
from distil.store import Store
from distil.store.history import drop
from distil.store.versions import dropped_key, has_version, list_versions, manifest_key, newest_version

Fill = Callable[..., Store]


@pytest.fixture
def store(fill: Fill, make_episode: Any) -> Store:
    store = fill([2])
    for number in range(1, 40):
        writer = store.writer("w")
        writer.add(make_episode(number, 2))
        store.commit([entry for entry in (writer.seal(),) if entry])
    return store


@pytest.mark.parametrize("known", [0, 1, 5, 20, 39, 40, 41, 1000])
def test_the_newest_is_found_from_any_number(store: Store, known: int) -> None:
    assert newest_version(store.path, known) == 40


def test_what_was_known_is_never_trusted_alone(store: Store) -> None:
    (store.path / manifest_key(40)).unlink()
    assert store.manifest().version == newest_version(store.path, 40) == 39
    drop(store, [3, 7])
    assert [newest_version(store.path, known) for known in (3, 7, 8)] == [39] * 3
    assert [has_version(store.path, version) for version in (3, 4, 39, 40)] == [False, True, True, False]
    assert len(list_versions(store.path)) == 37
    with pytest.raises(InputError, match="no version 3; there is 1 to 39"):
        store.manifest(3)


def test_an_unusable_number_ends_a_commit_with_its_reason(store: Store, make_episode: Any) -> None:
    """No endless loop where somebody has deleted the newest manifests, or a mark, by hand."""
    writer = store.writer("w")
    writer.add(make_episode(90, 2))
    entry = writer.seal()
    assert entry is not None
    drop(store, [39])
    (store.path / manifest_key(40)).unlink()
    with pytest.raises(RunError, match=rf"{manifest_key(39)}: in the way"):
        Store.open(store.path).commit([entry])
    (store.path / dropped_key(39)).unlink()
    with pytest.raises(RunError, match=rf"{manifest_key(39)}: incomplete"):
        Store.open(store.path).manifest()
