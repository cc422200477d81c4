from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from distil.errors import InputError, RunError
from distil.store import Store, history, pins
from distil.store.files import dump_json
from distil.store.gc import collect_garbage
from distil.store.history import drop, droppable
from distil.store.pins import list_pins

Fill = Callable[..., Store]


def grow(store: Store, make_episode: Any, *numbers: int) -> None:
    for number in numbers:
        writer = store.writer("w")
        writer.add(make_episode(number, 3))
        store.commit([entry for entry in (writer.seal(),) if entry])


@pytest.fixture
def store(fill: Fill, make_episode: Any) -> Store:
    """A store of four versions."""
    store = fill([3])
    grow(store, make_episode, 1, 2, 3)
    return store


@pytest.fixture
def run(tmp_path: Path) -> str:
    (tmp_path / "runs" / "a-001").mkdir(parents=True)
    return str(tmp_path / "runs" / "a-001")


def test_what_is_pinned_cannot_be_dropped_until_it_is_released(store: Store, run: str) -> None:
    for version in (1, 3, 3, 0):
        store.pin(version, run)
    store.pin(3, "another")
    assert [(pin.version, pin.name) for pin in list_pins(store.path)] == [(1, run), (3, run), (3, "another")]
    assert droppable(store, 1) == [2]
    with pytest.raises(InputError, match=rf"^[^\n]*version 3 is needed by the unfinished run {run} on [^\n]* --release {run}$"):
        drop(store, [2, 3])
    assert store.versions() == [1, 2, 3, 4]
    assert store.unpin(run) == (1, 3)
    assert (store.unpin(run), droppable(store, 1)) == ((), [1, 2])
    with pytest.raises(InputError, match="needed by the unfinished run another"):
        drop(store, [3])
    drop(store, [1, 2])
    assert Store.open(store.path).versions() == [3, 4]


def test_a_version_that_is_not_there_cannot_be_pinned(store: Store, run: str) -> None:
    drop(store, [2])
    for version in (2, 9):
        with pytest.raises(InputError, match=rf"version {version} has been dropped, or never was"):
            store.pin(version, run)
    assert list_pins(store.path) == []


def test_a_pin_ends_with_its_folder_on_its_own_machine_only(store: Store, run: str, monkeypatch: pytest.MonkeyPatch) -> None:
    store.pin(2, run)
    with monkeypatch.context() as context:
        context.setattr(pins.socket, "gethostname", lambda: "elsewhere")
        store.pin(1, run)
    Path(run).rmdir()
    assert [(pin.version, pin.host) for pin in list_pins(store.path)] == [(1, "elsewhere")]
    assert droppable(store, 1) == [2, 3]
    collect_garbage(store)
    assert len(list((store.path / "pins").iterdir())) == 1
    store.unpin(run)
    assert list_pins(store.path) == []


def test_a_pin_that_comes_at_the_same_time_wins_or_fails(store: Store, run: str, monkeypatch: pytest.MonkeyPatch) -> None:
    real = history.drop_manifest

    def late(root: Any, version: int) -> None:
        store.pin(version, run)
        real(root, version)

    monkeypatch.setattr(history, "drop_manifest", late)
    with pytest.raises(InputError, match="needed by the unfinished run"):
        drop(store, [2])
    assert (store.versions(), store.snapshot(2).num_episodes) == ([1, 2, 3, 4], 2)


def test_a_damaged_pin_stops_a_drop(store: Store, run: str) -> None:
    store.pin(2, run)
    (file,) = (store.path / "pins").iterdir()
    for content in (b"{}", dump_json({"name": 5})):
        file.write_bytes(content)
        with pytest.raises(RunError, match=rf"^[^\n]*{file.name}: [^\n]*$"):
            drop(store, [3])


def test_an_object_store(s3: str, spec: Any, make_episode: Any, run: str) -> None:
    store = Store.create(f"{s3}/demos", spec)
    grow(store, make_episode, 1, 2, 3)
    store.pin(1, run)
    assert droppable(Store.open(f"{s3}/demos"), 1) == [2]
    assert store.unpin(run) == (1,)
