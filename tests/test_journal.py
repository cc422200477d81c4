import json
import os
from pathlib import Path

import pytest

from distil.errors import RunError
from distil.journal import Journal


def test_a_torn_line_is_neither_read_nor_kept(tmp_path: Path) -> None:
    path = tmp_path / "journal.jsonl"
    journal = Journal(path)
    journal.append("collected", round=0, snapshot=3)
    with path.open("a") as file:
        file.write('{"kind": "reported", "rep')  # the process was killed here
    for reader in (journal, Journal(path)):
        assert reader.find("reported", 0) is None
        assert len(reader.entries()) == 1
    Journal(path).append("reported", round=0)
    assert [json.loads(line)["kind"] for line in path.read_text().splitlines()] == ["collected", "reported"]


def test_the_last_line_of_a_kind_and_round_is_found(tmp_path: Path) -> None:
    journal = Journal(tmp_path / "journal.jsonl")
    assert (journal.entries(), journal.find("a", 0)) == ([], None)
    for number in range(3):
        journal.append("a", round=number % 2, number=number)
    journal.append("b", number=3)
    assert [journal.find("a", 0), journal.find("a", 1)] == [
        {"kind": "a", "round": 0, "number": 2},
        {"kind": "a", "round": 1, "number": 1},
    ]
    assert [entry["number"] for entry in journal.entries("a")] == [0, 1, 2]
    assert [entry["number"] for entry in journal.entries()] == [0, 1, 2, 3]
    assert journal.entries("c") == []


@pytest.mark.skipif(not os.path.exists("/proc/self/io"), reason="the kernel does not count what a process reads")
def test_appending_and_finding_reads_no_line_twice(tmp_path: Path) -> None:
    """Issue 8, number 17: each append read the whole journal, so a run's time grew with the square of its rounds."""
    journal = Journal(tmp_path / "journal.jsonl")
    before = _bytes_read()
    for number in range(300):
        journal.append("reported", round=number, text="x" * 1000)
        assert journal.find("reported", number) is not None
        assert len(journal.entries("reported")) == number + 1
    assert _bytes_read() - before < (tmp_path / "journal.jsonl").stat().st_size


def _bytes_read() -> int:
    """Return how many bytes this process has read from files so far."""
    return int(Path("/proc/self/io").read_text().split()[1])


@pytest.mark.parametrize("line", [b"garbage", b"[1]", b"{}", b"\xff\xfe", b'{"kind": []}', b"[" * 100_000])
def test_a_damaged_line_is_named(tmp_path: Path, line: bytes) -> None:
    (tmp_path / "journal.jsonl").write_bytes(b'{"kind": "a", "round": 0}\n' + line + b"\n")
    with pytest.raises(RunError, match=r"^[^\n]*journal\.jsonl line 2: damaged; restore it from a copy[^\n]*$"):
        Journal(tmp_path / "journal.jsonl").entries()
