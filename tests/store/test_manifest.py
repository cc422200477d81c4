from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from distil.errors import RunError
from distil.store.files import dump_json
from distil.store.manifest import Manifest, read_manifest, write_manifest
from distil.store.shard import ShardEntry
from distil.store.versions import list_versions, manifest_key

ENTRY = ShardEntry(path="data/a.arrow", num_bytes=1000, num_rows=12, num_episodes=2, num_transitions=10, digest="0" * 32)


@pytest.fixture
def root(tmp_path: Path) -> Path:
    (tmp_path / "manifests").mkdir()
    return tmp_path


def put(root: Path, **changes: Any) -> None:
    data = Manifest(version=1, store="s", tail=(ENTRY,)).to_json() | changes
    (root / manifest_key(1)).write_bytes(dump_json(data))


def test_round_trip_and_exclusive_versions(root: Path) -> None:
    written = write_manifest(root, Manifest(version=7, store="s", tail=(ENTRY,), message="hello"))
    assert written.created_s > 0
    assert read_manifest(root, 7, store="s", row_bytes=8) == written
    with pytest.raises(FileExistsError):
        write_manifest(root, Manifest(version=7, store="s"))
    (root / "manifests" / "notes.txt").write_text("not a version")
    assert list_versions(root) == [7]


@pytest.mark.parametrize(
    "path",
    [
        "../a.arrow",
        "data/../../a.arrow",
        "/etc/passwd",
        "data/b/a.arrow",
        "data/.hidden.arrow",
        "data\\a.arrow",
        "data/a",
        "",
        3,
        None,
    ],
)
def test_paths_that_leave_the_folder_are_refused(root: Path, path: object) -> None:
    put(root, shards=[ENTRY.to_json() | {"path": path}])
    with pytest.raises(RunError, match=r"v000000000001\.json: refused: shard path"):
        read_manifest(root, 1, store="s", row_bytes=8)


@pytest.mark.parametrize(
    "change",
    [
        {"num_rows": 1 << 70},
        {"num_rows": -1},
        {"num_rows": 12.0},
        {"num_rows": True},
        {"num_rows": 13},
        {"num_rows": 10**9 + 2, "num_transitions": 10**9},
        {"num_episodes": 0},
        {"num_bytes": 0},
        {"num_bytes": "many"},
        {"digest": "z" * 32},
        {"digest": 5},
    ],
)
def test_absurd_counts_are_refused(root: Path, change: dict[str, Any]) -> None:
    put(root, shards=[ENTRY.to_json() | change])
    with pytest.raises(RunError, match=r"v000000000001\.json: refused: data/a\.arrow"):
        read_manifest(root, 1, store="s", row_bytes=8)


@pytest.mark.parametrize(
    ("change", "text"),
    [
        ({"format": 2}, "format version 2"),
        ({"version": 2}, "another version or another store"),
        ({"store": "t"}, "another version or another store"),
        ({"shards": [ENTRY.to_json()] * 2}, "lists a shard twice"),
        ({"shards": 5}, "refused"),
        ({"created_s": "now"}, "wrong type"),
    ],
)
def test_what_makes_no_sense_is_refused(root: Path, change: dict[str, Any], text: str) -> None:
    put(root, **change)
    with pytest.raises(RunError, match=text):
        read_manifest(root, 1, store="s", row_bytes=8)


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=8), lambda v: st.lists(v, max_size=3), max_leaves=5
)


@given(key=st.sampled_from(sorted(ENTRY.to_json())), value=json_values)
def test_any_entry_is_read_or_refused(key: str, value: object) -> None:
    data = ENTRY.to_json() | {key: value}
    try:
        entry = ShardEntry.from_json(data, 8)
    except ValueError:
        return
    assert entry.num_rows * 8 <= entry.num_bytes
    assert entry.path.startswith("data/")
    assert entry.path.count("/") == 1
