from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from distil.errors import InputError, RunError
from distil.store import Store
from distil.store.history import drop
from distil.store.tags import delete_tag, list_tags, read_tag

Fill = Callable[..., Store]


@pytest.fixture
def store(fill: Fill, make_episode: Any) -> Store:
    store = fill([3, 4])
    writer = store.writer("w")
    writer.add(make_episode(7, 5))
    entry = writer.seal()
    store.commit([entry] if entry else [])
    return store


def test_a_tag_is_a_name_for_a_version(store: Store) -> None:
    assert list_tags(store.path) == []
    store.tag("best", 1)
    store.tag("now")
    store.tag("same", "best")
    assert {tag.name: tag.version for tag in list_tags(store.path)} == {"best": 1, "now": 2, "same": 1}
    assert store.snapshot("best").num_episodes == 2
    assert store.verify("best") == []
    with pytest.raises(InputError, match="tag 'best' is at version 1"):
        store.tag("best", 2)
    assert store.tag("best", 2, move=True).version == read_tag(store.path, "best").version == 2
    delete_tag(store.path, "best")
    with pytest.raises(InputError, match="no tag 'best'; there is now, same"):
        store.snapshot("best")
    with pytest.raises(InputError, match="no version 9"):
        store.tag("x", 9)


@pytest.mark.parametrize("name", ["", "12", "../x", ".x", "a/b", "x" * 100, "a b"])
def test_bad_names(store: Store, name: str) -> None:
    for call in (Store.tag, lambda s, n: delete_tag(s.path, n)):
        with pytest.raises(InputError, match="not only digits"):
            call(store, name)


def test_a_version_that_is_dropped_meanwhile_gets_no_tag(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    real = Store.manifest

    def late(self: Store, version: int | None = None) -> Any:
        manifest = real(self, version)
        if version == 1:
            drop(Store.open(store.path), [1])
        return manifest

    monkeypatch.setattr(Store, "manifest", late)
    with pytest.raises(InputError, match="version 1 has just been dropped"):
        store.tag("old", 1)
    assert list_tags(store.path) == []


def test_damaged_tags_are_named(store: Store) -> None:
    from distil.store.files import dump_json

    store.tag("best")
    path = store.path / "tags" / "best.json"
    path.write_bytes(dump_json({"version": "two", "created_s": 0}))
    with pytest.raises(RunError, match=r"best\.json: invalid"):
        read_tag(store.path, "best")
    path.write_bytes(b"{")
    with pytest.raises(RunError, match=r"best\.json: damaged"):
        store.snapshot("best")
