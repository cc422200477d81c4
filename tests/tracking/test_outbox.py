import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from distil.errors import RunError
from distil.tracking.outbox import Cursor, Outbox, outboxes

ENDLESS = """
import sys
from pathlib import Path
from distil.tracking.outbox import Outbox
outbox, number = Outbox(Path(sys.argv[1])), 0
while True:
    outbox.append('metrics', number=number)
    number += 1
    print(number, flush=True)
"""


def numbers(outbox: Outbox, offset: int = 0) -> list[int]:
    return [record["number"] for record, _ in outbox.read(offset)]


def test_records_are_read_in_their_order_from_any_of_them(tmp_path: Path) -> None:
    outbox = Outbox(tmp_path)
    assert (outbox.first(), outbox.left(), outbox.size()) == (None, 0, 0)
    for number in range(5):
        outbox.append("metrics", number=number, text="x" * 700_000)  # longer than what is read at once
    assert numbers(outbox) == [0, 1, 2, 3, 4]
    offset = [offset for _, offset in outbox.read(0)][2]
    assert numbers(outbox, offset) == [3, 4]
    outbox.keep(Cursor(to="sqlite:///x.db", run_id="r", offset=offset))
    assert Outbox(tmp_path).cursor() == Cursor(to="sqlite:///x.db", run_id="r", offset=offset)
    assert outbox.left() == 2
    outbox.close()


def test_a_torn_last_line_is_not_read_and_the_next_writer_removes_it(tmp_path: Path) -> None:
    outbox = Outbox(tmp_path)
    outbox.append("metrics", number=0)
    outbox.close()
    whole = outbox.path.read_bytes()
    outbox.path.write_bytes(whole + b'{"kind": "metrics", "at": 5, "num')
    again = Outbox(tmp_path)
    assert (numbers(again), again.left()) == ([0], 1)
    again.append("metrics", number=1)
    assert numbers(again) == [0, 1]
    again.close()


def test_a_damaged_line_is_told_and_a_damaged_cursor_is_none(tmp_path: Path) -> None:
    outbox = Outbox(tmp_path)
    outbox.path.write_text('{"kind": "metrics", "at": 1, "number": 0}\nnonsense\n')
    with pytest.raises(RunError, match=r"outbox\.jsonl: the line at byte 42 is damaged"):
        numbers(outbox)
    (tmp_path / "outbox.sent.json").write_text('{"offset": ')
    assert outbox.cursor() == Cursor()


def test_kill_9_loses_no_record(tmp_path: Path) -> None:
    with subprocess.Popen([sys.executable, "-c", ENDLESS, str(tmp_path)], stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        told = [int(process.stdout.readline()) for _ in range(200)]
        os.kill(process.pid, signal.SIGKILL)
        told += [int(line) for line in process.stdout.read().splitlines() if line]
    found = numbers(Outbox(tmp_path))
    assert found == list(range(len(found)))
    assert len(found) >= told[-1] > 100


def test_one_sender_at_a_time(tmp_path: Path) -> None:
    outbox = Outbox(tmp_path)
    with outbox.sending() as is_free:
        assert not is_free  # nothing is recorded
    outbox.append("metrics", number=0)
    with outbox.sending() as first, Outbox(tmp_path).sending() as second:
        assert (first, second) == (True, False)
    with Outbox(tmp_path).sending() as third:
        assert third
    outbox.close()


def test_a_full_disk_is_one_line_and_the_next_record_is_whole(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    outbox = Outbox(tmp_path)
    outbox.append("metrics", number=0)

    def half(descriptor: int, content: bytes) -> None:
        os.write(descriptor, content[:10])
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patched:
        patched.setattr("distil.tracking.outbox.write_all", half)
        with pytest.raises(RunError, match="No space left on device; free some space"):
            outbox.append("metrics", number=1)
    outbox.append("metrics", number=2)
    assert numbers(outbox) == [0, 2]
    outbox.close()


def test_outer_outboxes_come_first(tmp_path: Path) -> None:
    for name in ("trials/b", "trials/a", "", "deep/er/c"):
        (tmp_path / name).mkdir(parents=True, exist_ok=True)
        (tmp_path / name / "outbox.jsonl").touch()
    names = [str(outbox.folder.relative_to(tmp_path)) for outbox in outboxes(tmp_path)]
    assert names == [".", "trials/a", "trials/b", "deep/er/c"]
    assert [outbox.folder for outbox in outboxes(tmp_path, depth=2)] == [tmp_path / name for name in names[:3]]
    assert outboxes(tmp_path / "none") == []
