from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import xxhash

from distil.errors import RunError
from distil.store.filecache import FileCache, cache_folder

CONTENT = b"0123456789" * 100
DIGEST = xxhash.xxh3_128_hexdigest(CONTENT)


def test_a_file_is_fetched_once(tmp_path: Path) -> None:
    calls = list[int]()

    def blocks() -> Iterator[bytes]:
        calls.append(1)
        yield CONTENT[:300]
        yield CONTENT[300:]

    cache = FileCache(tmp_path / "cache")
    for _ in range(2):
        assert cache.path("a", len(CONTENT), DIGEST, blocks, "s3://b/a").read_bytes() == CONTENT
    assert calls == [1]
    assert os.listdir(tmp_path / "cache") == ["a"]


@pytest.mark.parametrize("content", [CONTENT[:-1], CONTENT + b"x", b"", CONTENT[:-1] + b"x"])
def test_other_content_is_refused_and_leaves_nothing(tmp_path: Path, content: bytes) -> None:
    with pytest.raises(RunError, match=r"^s3://b/a: altered or truncated"):
        FileCache(tmp_path / "cache").path("a", len(CONTENT), DIGEST, lambda: [content], "s3://b/a")
    assert os.listdir(tmp_path / "cache") == []


def test_the_longest_unused_go_first(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    cache, size = FileCache(tmp_path / "cache"), len(CONTENT)

    def usage(path: Path) -> Any:
        used = sum(file.stat().st_size for file in path.iterdir())
        return type("Usage", (), {"free": 4 * size - used})  # so that half of it is two files

    monkeypatch.setattr(shutil, "disk_usage", usage)
    for number, name in enumerate("ab"):
        path = cache.path(name, size, DIGEST, lambda: [CONTENT], name)
        os.utime(path, (number + 1, number + 1))
    with open(tmp_path / "cache" / "b", "rb") as held:
        cache.path("a", size, DIGEST, lambda: [], "a")  # used again
        cache.path("c", size, DIGEST, lambda: [CONTENT], "c")
        assert sorted(os.listdir(tmp_path / "cache")) == ["a", "c"]
        assert held.read() == CONTENT


def test_where_it_is(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DISTIL_CACHE", str(tmp_path))
    assert cache_folder() == tmp_path
    monkeypatch.delenv("DISTIL_CACHE")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert cache_folder() == tmp_path / "distil"
    (tmp_path / "distil").touch()
    with pytest.raises(RunError, match="Not a directory"):
        FileCache(cache_folder()).path("a", 1, DIGEST, lambda: [b"x"], "a")
