from __future__ import annotations

import errno
from pathlib import Path

import pytest

from distil.errors import RunError
from distil.store.files import dump_json, os_fault, parse_json


def test_json_round_trip_and_every_flipped_bit_is_found() -> None:
    content = dump_json({"a": [1, 2.5, "é"], "b": None})
    assert parse_json(content, "a.json") == {"a": [1, 2.5, "é"], "b": None}
    for bit in range(8 * len(content)):
        flipped = bytearray(content)
        flipped[bit // 8] ^= 1 << bit % 8
        with pytest.raises(RunError, match=r"a\.json: damaged"):
            parse_json(bytes(flipped), "a.json")


@pytest.mark.parametrize("content", [b"", b"[]", b"{}", b"[" * 100_000, b'{"crc32":0}', b"\xff\xfe"])
def test_foreign_content_is_one_line(content: bytes) -> None:
    with pytest.raises(RunError, match=r"^[^\n]*damaged[^\n]*$"):
        parse_json(content, "a.json")


@pytest.mark.parametrize(
    ("number", "text"),
    [
        (errno.ENOSPC, "no disk space left"),
        (errno.EROFS, "no permission"),
        (errno.EPERM, "hard links"),
        (errno.EIO, "check the disk"),
    ],
)
def test_what_disks_refuse_is_one_line_with_a_mend(number: int, text: str) -> None:
    message = str(os_fault(OSError(number, "x"), Path("p/q")))
    assert message.startswith("p/q: ")
    assert text in message
    assert "\n" not in message
