from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from storebed import starts, transitions

from distil.errors import RunError
from distil.store import Sampler, Store
from distil.store.cache import HeldTable, SharedFolder, shared_name, sweep
from distil.store.windows import Layout, Windows

Fill = Callable[..., Store]
LENGTHS = [3, 9, 1, 7, 5, 4]


@pytest.mark.parametrize("sizes", [{}, {"obs_horizon": 3, "chunk": 4}])
def test_only_new_episodes_are_read(fill: Fill, sizes: dict[str, int]) -> None:
    """A DAgger round reads its own shards only, wherever its episodes' names sort, and the order is as if read at once."""
    store = fill(LENGTHS, [1, 0, 2, 2, 0, 1])
    snapshot = store.snapshot()
    held = HeldTable(Layout(store.spec, Windows(**sizes)))  # type: ignore[arg-type]
    early = snapshot.select([0, 5])
    first = held.sampler(early)
    read = held.bytes_read
    assert [s for b in first.scan(4) for s in starts(b)] == [0, 1, 2, *(5000.0 + t for t in range(4))]
    for entry in snapshot.entries:
        if "w1-" in entry.path:
            (Path(str(store.path)) / entry.path).unlink()  # it isn't needed again
    whole = held.sampler(snapshot)
    assert read < held.bytes_read
    assert [s for b in whole.scan(4) for s in starts(b)] == transitions(LENGTHS)
    assert [s for b in first.scan(4) for s in starts(b)] == [0, 1, 2, *(5000.0 + t for t in range(4))]
    read = held.bytes_read
    part = held.sampler(snapshot.select([4, 1]))
    assert held.bytes_read == read
    assert [s for b in part.scan(99) for s in starts(b)] == [*(4000.0 + t for t in range(5)), *(1000.0 + t for t in range(9))]


def test_the_order_is_that_of_a_sampler(fill: Fill) -> None:
    """CORRECTNESS 11: it doesn't matter what was held before."""
    snapshot = fill(LENGTHS).snapshot()
    held = HeldTable(Layout(snapshot.spec, Windows(chunk=2)))
    held.sampler(snapshot.select([5, 3]))
    one, other = (
        [starts(b) for b in source.batches(batch_size=5, seed=1, num_batches=20)]
        for source in (held.sampler(snapshot), Sampler(snapshot, chunk=2))
    )
    assert one == other


def test_what_processes_share_is_read_once(fill: Fill, tmp_path: Path) -> None:
    store = fill(LENGTHS)
    snapshot, layout = store.snapshot(), Layout(store.spec, Windows(chunk=3))
    folder = SharedFolder(tmp_path / "shm", shared_name(snapshot, layout))
    one, other = HeldTable(layout, folder.path), HeldTable(layout, folder.path)
    early = one.sampler(snapshot.select([1, 2]))
    found = other.sampler(snapshot)
    assert other.bytes_read > 0
    again = one.sampler(snapshot)
    assert one.bytes_read < other.bytes_read
    for source in (again, found):
        assert [s for b in source.scan(99) for s in starts(b)] == transitions(LENGTHS)
    third = HeldTable(layout, folder.path)
    assert [s for b in third.sampler(snapshot).scan(99) for s in starts(b)] == transitions(LENGTHS)
    assert third.bytes_read == 0
    folder.close()
    assert list((tmp_path / "shm").iterdir()) == []
    assert [s for b in early.scan(99) for s in starts(b)] == [*(1000.0 + t for t in range(9)), 2000.0]  # still mapped


def test_the_last_user_removes_the_files(tmp_path: Path) -> None:
    one, other = SharedFolder(tmp_path / "shm", "a"), SharedFolder(tmp_path / "shm", "a")
    assert one.path == other.path
    one.close()
    one.close()
    assert other.path.exists()
    sweep(tmp_path / "shm")
    assert other.path.exists()
    del other  # forgotten, not closed
    assert list((tmp_path / "shm").iterdir()) == []


_USER = """
import sys, time
from pathlib import Path
from distil.store.cache import SharedFolder
folder = SharedFolder(Path(sys.argv[1]), "a")
print("ready", flush=True)
time.sleep(60)
"""


def test_what_a_killed_process_leaves_is_swept(tmp_path: Path) -> None:
    root = tmp_path / "shm"
    with subprocess.Popen([sys.executable, "-c", _USER, str(root)], stdout=subprocess.PIPE) as process:
        assert process.stdout
        process.stdout.readline()
        SharedFolder(root, "b").close()
        assert sorted(path.name for path in root.iterdir()) == ["a"], "a living process keeps its folder"
        process.send_signal(signal.SIGKILL)
        process.wait()
    assert (root / "a").exists()
    folder = SharedFolder(root, "b")
    assert sorted(path.name for path in root.iterdir()) == ["b"]
    folder.close()


def test_a_folder_that_others_could_write_is_refused(tmp_path: Path) -> None:
    root = tmp_path / "shm"
    root.mkdir()
    root.chmod(0o777)
    with pytest.raises(RunError, match="belongs to another user, or others may write there; remove it"):
        SharedFolder(root, "a")
    os.rmdir(root)
    root.symlink_to(tmp_path)
    with pytest.raises(RunError, match="remove it"):
        SharedFolder(root, "a")
