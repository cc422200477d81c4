from __future__ import annotations

import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from distil.errors import RunError
from distil.store import ShardEntry, Store
from distil.store.compact import compact
from distil.store.folder import FolderBackend
from distil.store.recover import recover

Fill = Callable[..., Store]


@pytest.fixture
def store(fill: Fill) -> Store:
    return fill([3, 4])


def sealed(store: Store, *episodes: Any) -> ShardEntry:
    writer = store.writer("w")
    for episode in episodes:
        writer.add(episode)
    entry = writer.seal()
    assert entry is not None
    return entry


def opened(store: Store, entry: ShardEntry) -> str:
    """Give a sealed shard back the name it had before."""
    path = store.path / entry.path
    name = f".{path.stem}.open"
    path.rename(path.parent / name)
    return name


def test_an_intact_store_needs_nothing(store: Store) -> None:
    before = sorted(store.path.rglob("*"))
    report = recover(store)
    assert (report.version, report.num_episodes, report.committed, report.discarded) == (1, 0, (), ())
    assert sorted(store.path.rglob("*")) == before


def test_sealed_shards_of_killed_writers_are_committed(store: Store, make_episode: Any) -> None:
    entry = sealed(store, make_episode(7, 3), make_episode(8, 3))
    assert recover(store, dry_run=True).committed == (entry.path,)
    assert store.versions() == [1]
    assert recover(store, discard=True).committed == ()
    report = recover(store)
    assert (report.committed, report.num_episodes, report.version) == ((entry.path,), 2, 2)
    assert store.commit([entry]).version == 2  # should the writer live after all
    assert store.verify() == []


def test_unsealed_files_are_salvaged_when_whole_and_removed_when_not(store: Store, make_episode: Any) -> None:
    whole, half = sealed(store, make_episode(7, 3)), sealed(store, make_episode(8, 3000))
    names = [opened(store, entry) for entry in (whole, half)]
    path = store.path / "data" / names[1]
    path.write_bytes(path.read_bytes()[: half.num_bytes // 2])
    (store.path / "data" / ".empty-000000.open").touch()
    dry = recover(store, dry_run=True)
    assert all((store.path / "data" / name).exists() for name in names)
    report = recover(store)
    assert dry.salvaged == report.salvaged == (whole.path,)
    assert [names[1] in line for line in report.discarded] == [False, True]
    assert (report.committed, report.num_episodes) == ((whole.path,), 1)
    assert not [path for path in (store.path / "data").iterdir() if path.name.startswith(".")]
    assert store.verify() == []


def test_a_flipped_bit_is_never_salvaged(store: Store, make_episode: Any) -> None:
    """The digest in the manifest would then vouch for damaged steps, so each episode's own digest is checked."""
    entry = sealed(store, make_episode(7, 300))
    path = store.path / entry.path
    content = bytearray(path.read_bytes())
    content[3000] ^= 1
    path.write_bytes(content)
    report = recover(store)
    assert report.committed == ()
    assert path.name in report.refused[0]


def test_discard_removes_and_commits_nothing(store: Store, make_episode: Any) -> None:
    name, entry = opened(store, sealed(store, make_episode(7, 3))), sealed(store, make_episode(8, 3))
    report = recover(store, discard=True)
    assert (report.discarded, report.committed, report.version) == ((f"{name}: as asked",), (), 1)
    assert (store.path / entry.path).exists()


def test_what_the_store_has_is_not_committed_again(store: Store, make_episode: Any) -> None:
    store.commit([sealed(store, make_episode(7, 3))])
    compact(store)
    other, twin = sealed(store, make_episode(7, 9)), sealed(store, make_episode(7, 3))
    report = recover(store)
    assert report.committed == ()
    assert [other.path in line and "another episode test-0007" in line for line in report.refused] == [True]
    assert twin.path not in str(report.refused)


def test_a_file_that_is_being_written_is_left_alone(store: Store) -> None:
    code = (
        "import sys, time\nfrom pathlib import Path\nfrom distil.store.shard import _create_locked\n"
        "with _create_locked(Path(sys.argv[1])) as file:\n    file.write(b'half')\n    print(flush=True)\n    time.sleep(60)\n"
    )
    path = store.path / "data" / ".busy-000000.open"
    with subprocess.Popen([sys.executable, "-c", code, str(path)], stdout=subprocess.PIPE) as writer:
        assert writer.stdout
        writer.stdout.readline()
        assert recover(store).writing == (path.name,)
        assert path.exists()
        writer.send_signal(signal.SIGKILL)
    deadline = time.monotonic() + 5
    while not (report := recover(store)).discarded:
        assert time.monotonic() < deadline
    assert "no footer" in report.discarded[0]
    assert not path.exists()


def test_a_whole_file_is_left_to_its_live_writer(store: Store, make_episode: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """A recovery between the last byte of a file and its final name would take the file from its writer."""
    found, publish = list[tuple[str, ...]](), FolderBackend.publish

    def late(self: FolderBackend, file: Path, key: str) -> None:
        report = recover(Store.open(store.path))
        found.append((*report.writing, *report.salvaged))
        publish(self, file, key)

    monkeypatch.setattr(FolderBackend, "publish", late)
    entry = sealed(store, make_episode(7, 3))
    assert found == [(f".{Path(entry.path).stem}.open",)]
    assert (store.path / entry.path).exists()


def test_a_missing_shard_is_no_work_for_recover(store: Store) -> None:
    (store.path / store.snapshot().entries[0].path).unlink()
    with pytest.raises(RunError, match="the shard is missing"):
        recover(Store.open(store.path))


_WRITER = """
import sys
import numpy as np
from distil.store import Store
from distil.types import Episode
store = Store.open(sys.argv[1])
writer = store.writer(sys.argv[2])
for number in range(40):
    for i in (2 * number, 2 * number + 1):
        actions = np.full((3, 1), i, np.float32)
        writer.add(Episode(observations={"obs": np.full((4, 2), float(i))}, actions=actions, expert_actions=actions,
            rewards=np.zeros(3), labelled=np.ones(3, np.uint8), acted_by_expert=np.ones(3, np.uint8),
            terminated=True, truncated=False, uid=f"live-{i:04d}"))
    entry = writer.seal()
    print(flush=True)
    store.commit([entry])
"""


def test_recover_and_live_writers_of_the_same_episodes_meet(store: Store) -> None:
    """Whichever process commits a shard first, none fails and every episode is there once."""
    command = [sys.executable, "-c", _WRITER, str(store.path)]
    writers = [subprocess.Popen([*command, name], stdout=subprocess.PIPE) for name in ("a", "b")]
    while any(writer.poll() is None for writer in writers):
        assert recover(Store.open(store.path)).refused == ()
    for writer in writers:
        writer.communicate()
    assert [writer.returncode for writer in writers] == [0, 0]
    assert recover(store).committed == ()
    assert store.snapshot().episodes.uid.tolist() == [f"live-{i:04d}" for i in range(80)] + ["test-0000", "test-0001"]
    assert store.verify() == []


def test_a_clash_that_comes_meanwhile_costs_only_its_shard(
    store: Store, make_episode: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    lone, late = sealed(store, make_episode(7, 3)), sealed(store, make_episode(8, 3))
    commit = Store.commit

    def race(self: Store, entries: Any, message: str = "") -> Any:
        monkeypatch.setattr(Store, "commit", commit)
        commit(Store.open(store.path), [sealed(store, make_episode(8, 9))])
        return commit(self, entries, message)

    monkeypatch.setattr(Store, "commit", race)
    report = recover(store)
    assert (report.committed, report.num_episodes) == ((lone.path,), 1)
    assert ["another episode test-0008" in line and late.path in line for line in report.refused] == [True]
