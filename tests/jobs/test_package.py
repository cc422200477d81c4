import io
import os
import subprocess
import zipfile
from pathlib import Path

import pytest

from distil.errors import InputError
from distil.jobs import package
from distil.jobs.package import pack, size_text


def git(folder: Path, *words: str) -> None:
    settings = ["-c", "user.name=x", "-c", "user.email=x@example.com", "-c", "protocol.file.allow=always"]
    subprocess.run(["git", *settings, *words], cwd=folder, check=True, capture_output=True)


def write(folder: Path, **files: str) -> None:
    for name, text in files.items():
        path = folder / name.replace("__", "/").replace("_dot_", ".")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)


@pytest.fixture
def repo(tmp_path: Path) -> Path:
    folder = tmp_path / "repo"
    write(folder, a_dot_py="a", sub__b_dot_py="b", ignored__big="x" * 100, gone="1", _dot_gitignore="ignored/\n")
    git(folder, "init", "-q")
    git(folder, "add", ".")
    write(folder, new_dot_py="new")
    (folder / "gone").unlink()
    return folder


def test_git_s_list_travels_untracked_files_too_and_ignored_or_deleted_ones_do_not(repo: Path) -> None:
    assert list(pack(repo).files) == [".gitignore", "a.py", "new.py", "sub/b.py"]
    assert list(pack(repo / "sub").files) == ["b.py"]


def test_the_files_of_a_submodule_and_of_a_repository_inside_travel(repo: Path, tmp_path: Path) -> None:
    other = tmp_path / "other"
    write(other, c_dot_py="c")
    git(other, "init", "-q")
    git(other, "add", ".")
    git(other, "commit", "-qm", "c")
    git(repo, "submodule", "add", "-q", str(other), "module")
    git(repo, "clone", "-q", str(other), "inner")
    assert {"module/c.py", "inner/c.py"} <= pack(repo).files.keys()


def test_runs_stores_and_records_travel_only_if_git_tracks_them(repo: Path) -> None:
    write(repo, data__mine__store_dot_json="{}", data__mine__data__x_dot_arrow="1", mlflow_dot_db="1", data__own_dot_py="1")
    write(repo, runs__one__journal_dot_jsonl="", runs__one__policy__weights="1", runs__baselines__x="1", mlartifacts__0="1")
    found = pack(repo)
    assert "data/own.py" in found.files
    assert {path.partition("/")[0] for path in found.files} == {".gitignore", "a.py", "new.py", "sub", "data"}
    assert "runs/baselines/x" in found.left_out
    git(repo, "add", "runs/one/policy")
    assert "runs/one/policy/weights" in pack(repo).files


def test_without_git_hidden_files_caches_and_environments_stay(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write(tmp_path, a_dot_py="a", _dot_hidden__x="1", _dot_profile="1", env__pyvenv_dot_cfg="", env__x="1")
    (tmp_path / "__pycache__").mkdir()
    (tmp_path / "__pycache__/a.pyc").write_text("1")
    assert list(pack(tmp_path).files) == ["a.py"]  # not in a repository
    monkeypatch.setenv("PATH", "")
    assert list(pack(tmp_path).files) == ["a.py"]  # no git at all


def test_secrets_never_travel(repo: Path) -> None:
    write(repo, _dot_env="TOKEN=1", _dot_env_dot_local="1", id_ed25519="1", cert__x_dot_pem="1")
    write(repo, innocent_dot_txt="-----BEGIN OPENSSH PRIVATE KEY-----\n")
    git(repo, "add", ".")
    found = pack(repo)
    assert list(found.files) == [".gitignore", "a.py", "new.py", "sub/b.py"]
    assert found.left_out.keys() == {".env", ".env.local", "id_ed25519", "cert/x.pem", "innocent.txt"}


def test_links_stay_within_the_folder(repo: Path, tmp_path: Path) -> None:
    (tmp_path / "outside").write_text("1")
    (repo / "inside.py").symlink_to("a.py")
    (repo / "out").symlink_to(tmp_path / "outside")
    (repo / "broken").symlink_to("nowhere")
    (repo / "folder").symlink_to("sub")
    found = pack(repo)
    assert found.files["inside.py"] == b"a"
    assert found.left_out == {"broken": "no file", "folder": "a link to a folder", "out": "a link out of the folder"}


def test_a_file_that_vanishes_or_may_not_be_read_is_left_out(repo: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    read = Path.read_bytes

    def vanishing(path: Path) -> bytes:
        if path.name == "new.py":
            path.unlink()
        return read(path)

    monkeypatch.setattr(Path, "read_bytes", vanishing)
    found = pack(repo)
    assert "new.py" not in found.files
    assert found.left_out == {"new.py": "cannot be read (No such file or directory)"}


def test_too_much_is_refused_and_the_largest_are_named(repo: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(package, "MAX_BYTES", 2048)
    write(repo, big="x" * 2000, small="y" * 100)
    with pytest.raises(
        InputError, match=r"2\.1 KiB in 6 files .* limit is 2\.0 KiB. The largest: big \(2\.0 KiB\), small \(100 b"
    ):
        pack(repo)


def test_the_same_contents_have_the_same_name_and_zip(repo: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    first = pack(repo)
    os.utime(repo / "a.py", (1, 1))
    assert (pack(repo).name, pack(repo).zip()) == (first.name, first.zip())
    (repo / "a.py").chmod(0o755)
    runnable = pack(repo)
    (repo / "a.py").write_text("A")
    assert len({first.name, runnable.name, pack(repo).name}) == 3
    with zipfile.ZipFile(io.BytesIO(runnable.zip())) as archive:
        assert archive.read("sub/b.py") == b"b"
        assert {entry.date_time for entry in archive.infolist()} == {(1980, 1, 1, 0, 0, 0)}
        assert archive.getinfo("a.py").external_attr >> 16 == 0o100755


def test_sizes_are_readable() -> None:
    assert [size_text(num) for num in (5, 1536, 3 * 2**20)] == ["5 bytes", "1.5 KiB", "3.0 MiB"]
