from __future__ import annotations

from pathlib import Path

import pytest

from distil.errors import RunError
from distil.store import ShardEntry
from distil.store.entry import check_size, damaged, missing

ENTRY = ShardEntry(path="data/a.arrow", num_bytes=1000, num_rows=12, num_episodes=2, num_transitions=10, digest="0" * 32)


def test_round_trip_and_the_bound_on_counts() -> None:
    assert ShardEntry.from_json(ENTRY.to_json(), 83) == ENTRY
    with pytest.raises(ValueError, match="counts that can't be true"):
        ShardEntry.from_json(ENTRY.to_json(), 84)
    assert ENTRY.to_json() is not ENTRY.__dict__


def test_the_size_is_compared(tmp_path: Path) -> None:
    (tmp_path / "data").mkdir()
    with pytest.raises(FileNotFoundError):
        check_size(tmp_path, ENTRY)
    (tmp_path / ENTRY.path).write_bytes(b"x" * 1000)
    check_size(tmp_path, ENTRY)
    (tmp_path / ENTRY.path).write_bytes(b"x" * 999)
    with pytest.raises(RunError, match=r"a\.arrow: 999 bytes, not 1000: truncated or altered"):
        check_size(tmp_path, ENTRY)


def test_messages_are_one_line_with_a_mend() -> None:
    for error in (damaged(Path("a"), ValueError("x\ny")), damaged(Path("a"), KeyError()), missing(Path("a"))):
        assert str(error).startswith("a: ")
        assert "\n" not in str(error)
        assert "run `distil store verify`" in str(error)
