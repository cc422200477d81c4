from __future__ import annotations

from pathlib import Path

import pytest

from distil.errors import RunError
from distil.store.backend import backend, read_json
from distil.store.files import dump_json
from distil.store.folder import FolderBackend
from distil.store.location import Url
from distil.store.objects import ObjectBackend


def test_the_location_says_which_backend(tmp_path: Path) -> None:
    pytest.importorskip("obstore")
    assert isinstance(backend(tmp_path), FolderBackend)
    remote = backend(Url("memory://bucket/a"))
    assert isinstance(remote, ObjectBackend)
    assert backend(Url("memory://bucket/a")) is remote  # its connections are kept


def test_small_files_are_checked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    backend(tmp_path).put("a.json", dump_json({"b": 1}))
    assert read_json(tmp_path, "a.json") == {"b": 1}
    monkeypatch.setattr("distil.store.backend.MAX_JSON_BYTES", 5)
    with pytest.raises(RunError, match="larger than any file of this kind"):
        read_json(tmp_path, "a.json")
