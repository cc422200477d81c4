from __future__ import annotations

import os
import time
from pathlib import Path

import pytest

from distil.errors import RunError
from distil.store.folder import FolderBackend


@pytest.fixture
def files(tmp_path: Path) -> FolderBackend:
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "a").write_bytes(b"0123456789")
    return FolderBackend(tmp_path)


def test_reading(files: FolderBackend, tmp_path: Path) -> None:
    assert files.get("data/a") == b"0123456789"
    assert files.get_ranges("data/a", [0, 8], [3, 2]) == [b"012", b"89"]
    assert files.size("data/a") == 10
    with pytest.raises(RunError, match="shorter than the manifest says"):
        files.get_ranges("data/a", [8], [3])
    for call in (files.get, files.size, lambda key: files.touch(key, 1), lambda key: files.get_ranges(key, [0], [1])):
        for key in ("data/b", "data/a/b"):
            with pytest.raises(FileNotFoundError):
                call(key)
    (tmp_path / "data" / "link").symlink_to("a")
    with pytest.raises(RunError, match="not a plain file"):
        files.size("data/link")
    with pytest.raises(RunError, match="data/link"):
        files.get_ranges("data/link", [0], [1])


def test_listing_has_plain_files_only(files: FolderBackend, tmp_path: Path) -> None:
    (tmp_path / "data" / ".hidden").touch()
    (tmp_path / "data" / "folder").mkdir()
    (tmp_path / "data" / "link").symlink_to("a")
    items = {item.key: item for item in files.list("data")}
    assert sorted(items) == ["data/.hidden", "data/a"]
    assert items["data/a"].num_bytes == 10
    assert abs(items["data/a"].modified_s - time.time()) < 100
    assert files.list("nowhere") == files.list("data/a") == []


def test_writing(files: FolderBackend, tmp_path: Path) -> None:
    files.put("data/a", b"new")
    files.put_if_absent("tags/x.json", b"1")
    with pytest.raises(FileExistsError):
        files.put_if_absent("tags/x.json", b"2")
    assert (files.get("data/a"), files.get("tags/x.json")) == (b"new", b"1")
    with pytest.raises(RunError, match="data/a: a file is in the way"):
        files.put_if_absent("data/a/b", b"")
    (files.staging() / ".b.open").write_bytes(b"b")
    files.publish(files.staging() / ".b.open", "data/b")
    files.delete("data/a")
    files.delete("data/a")
    assert sorted(os.listdir(tmp_path / "data")) == ["b"]
    assert os.listdir(tmp_path / "tags") == ["x.json"]
    with pytest.raises(RunError, match="No such file"):
        files.publish(files.staging() / ".b.open", "data/b")


def test_withdrawing_spares_what_was_touched(files: FolderBackend, tmp_path: Path) -> None:
    path = tmp_path / "data" / "a"
    os.utime(path, (1000, 1000))
    assert not files.withdraw("data/a", older_than_s=1000)
    assert path.exists()
    assert files.touch("data/a", path.stat().st_size) == "data/a"
    assert not files.withdraw("data/a", older_than_s=2000)
    os.utime(path, (1000, 1000))
    assert files.withdraw("data/a", older_than_s=2000)
    assert not files.withdraw("data/a", older_than_s=2000)
    assert os.listdir(tmp_path / "data") == []


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write anywhere")
def test_a_read_only_folder_is_one_line(files: FolderBackend, tmp_path: Path) -> None:
    (tmp_path / "data").chmod(0o500)
    with pytest.raises(RunError, match="no permission"):
        files.put("data/x", b"")
