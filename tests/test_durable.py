import errno
import os
from pathlib import Path

import pytest
from powercut import PowerCut

from distil.durable import create_durably, discard, discard_temporaries, make_folders, new_folder, replace_durably, write_all


def test_replacing_is_atomic_durable_and_leaves_no_temporary_file(tmp_path: Path, power_cut: PowerCut) -> None:
    path = tmp_path / "a"
    for content in (b"first", b"second, longer", b""):
        replace_durably(path, content)
        assert path.read_bytes() == content
        assert power_cut.lost(tmp_path) == []
    assert os.listdir(tmp_path) == ["a"]


def test_creation_is_exclusive_durable_and_leaves_no_temporary_file(tmp_path: Path, power_cut: PowerCut) -> None:
    path = tmp_path / "a"
    create_durably(path, b"first")
    assert power_cut.lost(tmp_path) == []
    with pytest.raises(FileExistsError):
        create_durably(path, b"second")
    assert path.read_bytes() == b"first"
    assert os.listdir(tmp_path) == ["a"]


@pytest.mark.parametrize("call", ["write", "fsync", "replace"])
def test_a_failing_disk_leaves_the_old_content(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, call: str) -> None:
    replace_durably(tmp_path / "a", b"old")

    def refuse(*_: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(Path if call == "replace" else os, call, refuse)
        with pytest.raises(OSError, match="No space left"):
            replace_durably(tmp_path / "a", b"new")
    assert (tmp_path / "a").read_bytes() == b"old"
    assert os.listdir(tmp_path) == ["a"]


def test_short_writes_are_completed(tmp_path: Path, power_cut: PowerCut) -> None:
    power_cut.short = 3
    replace_durably(tmp_path / "a", b"0123456789")
    create_durably(tmp_path / "b", b"0123456789")
    assert (tmp_path / "a").read_bytes() == (tmp_path / "b").read_bytes() == b"0123456789"
    read, write = os.pipe()
    write_all(write, b"0123456789")
    assert os.read(read, 100) == b"0123456789"
    os.close(read)
    os.close(write)


def test_folders_are_made_durably(tmp_path: Path, power_cut: PowerCut) -> None:
    make_folders(tmp_path / "a" / "b" / "c")
    make_folders(tmp_path / "a" / "b" / "c")
    assert (tmp_path / "a" / "b" / "c").is_dir()
    assert power_cut.lost(tmp_path) == []
    (tmp_path / "file").touch()
    for bad in (tmp_path / "file", tmp_path / "file" / "x"):
        with pytest.raises(FileExistsError):
            make_folders(bad)


def test_a_folder_appears_with_its_files(tmp_path: Path, power_cut: PowerCut) -> None:
    with new_folder(tmp_path / "deep" / "a") as part:
        replace_durably(part / "file", b"content")
        assert not (tmp_path / "deep" / "a").exists()
    assert (tmp_path / "deep" / "a" / "file").read_bytes() == b"content"
    assert power_cut.lost(tmp_path) == []
    with pytest.raises(ZeroDivisionError), new_folder(tmp_path / "deep" / "b") as part:
        replace_durably(part / "file", str(1 / 0).encode())
    (tmp_path / "deep" / "file").touch()
    for taken in ("a", "file"):
        with pytest.raises(FileExistsError), new_folder(tmp_path / "deep" / taken):
            pass
    assert sorted(os.listdir(tmp_path / "deep")) == ["a", "file"]


def test_file_systems_that_cannot_flush_folders_are_accepted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    real = os.fsync

    def fsync(descriptor: int) -> None:
        if os.path.isdir(f"/proc/self/fd/{descriptor}"):
            raise OSError(errno.EINVAL, "Invalid argument")
        real(descriptor)

    monkeypatch.setattr(os, "fsync", fsync)
    replace_durably(tmp_path / "a", b"x")
    assert (tmp_path / "a").read_bytes() == b"x"


def test_partial_files_of_killed_processes_are_removed(tmp_path: Path) -> None:
    make_folders(tmp_path / "deep" / ".a.0123456789abcdef.tmp")
    (tmp_path / "deep" / ".a.0123456789abcdef.tmp" / "file").touch()
    (tmp_path / ".b.fedcba9876543210.tmp").touch()
    for kept in (".c.tmp", "d.0123456789abcdef.tmp", "e"):
        (tmp_path / kept).touch()
    discard_temporaries(tmp_path)
    discard(tmp_path / "absent")
    assert sorted(p.name for p in tmp_path.rglob("*")) == [".c.tmp", "d.0123456789abcdef.tmp", "deep", "e"]
