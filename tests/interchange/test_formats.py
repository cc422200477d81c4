from __future__ import annotations

import json
import subprocess
import sys
from datetime import date
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from distil.errors import InputError
from distil.interchange.formats import EXPORTERS, IMPORTERS, exporter, importer, kind_of
from distil.interchange.transfer import export_store, import_store


def test_formats_are_found_by_name() -> None:
    assert {kind_of(c) for c in EXPORTERS} < {kind_of(c) for c in IMPORTERS}
    assert importer("zarr", {"action": "a", "observations": ["b"]}).model_dump()["observations"] == ("b",)
    assert exporter("minari", {"storage": "arrow"}).kind == "minari"
    with pytest.raises(InputError, match="export: no format 'minary'; did you mean minari"):
        exporter("minary", {})
    with pytest.raises(InputError, match=r"export: no format 'zarr'.*one of"):
        exporter("zarr", {})
    with pytest.raises(InputError, match="import minari: unknown key observation"):
        importer("minari", {"observation": 3})


def test_no_format_loads_its_library_before_it_is_used() -> None:
    heavy = ("torch", "ray", "minari", "h5py", "zarr", "datasets", "pandas", "av", "PIL")
    code = f"import distil.interchange.formats, sys; print([name for name in {heavy} if name in sys.modules])"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.strip() == "[]"


@pytest.mark.parametrize("kind", [kind_of(c) for c in EXPORTERS])
def test_relative_paths(make_store: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: str) -> None:
    """What is exported to a relative path is there, and is imported from a relative path."""
    for library in {"minari": ("minari", "h5py"), "robomimic": ("h5py",), "rlds": ("google_crc32c",)}.get(kind, ()):
        pytest.importorskip(library)
    snapshot = make_store()
    monkeypatch.chdir(tmp_path)
    export_store(exporter(kind, {}), snapshot, Path("out"))
    assert (tmp_path / "out").exists()
    back = import_store(importer(kind, {}), Path("out"), "back").snapshot
    assert back.num_transitions == snapshot.num_transitions
    (tmp_path / "below").mkdir()
    monkeypatch.chdir(tmp_path / "below")
    export_store(exporter(kind, {}), snapshot, Path("../new/out"))
    assert import_store(importer(kind, {}), Path("../new/out"), "../again").num_added == snapshot.num_episodes
    with pytest.raises(InputError, match="already exists"):
        export_store(exporter(kind, {}), snapshot, Path("."))


@pytest.mark.parametrize("kind", sorted({kind_of(c) for c in IMPORTERS} - {kind_of(c) for c in EXPORTERS}))
def test_relative_sources(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: str) -> None:
    """The formats that are only imported, too."""
    rows = np.arange(8.0).reshape(4, 2)
    monkeypatch.chdir(tmp_path)
    if kind == "npz":
        np.savez("in.npz", obs=rows, actions=rows)
    elif kind == "csv":
        Path("in.csv").write_text("obs,action\n1,0\n2,1\n3,0\n4,1\n")
    elif kind == "hdf5":
        with pytest.importorskip("h5py").File("in.hdf5", "w") as file:
            file["observations"], file["actions"] = rows, rows
    else:
        root = pytest.importorskip("zarr").open_group("in.zarr", mode="w", zarr_format=2)
        for name, values in (("data/obs", rows), ("data/action", rows), ("meta/episode_ends", np.array([4]))):
            root.create_array(name, data=values)
    assert import_store(importer(kind, {}), Path(f"in.{kind}"), "store").num_added == 1
    (tmp_path / "below").mkdir()
    monkeypatch.chdir(tmp_path / "below")
    assert import_store(importer(kind, {}), Path(f"../in.{kind}"), "../again").num_added == 1


def test_the_round_trips_with_the_real_libraries_are_dated() -> None:
    """`scripts/interop` writes them; a library that doesn't install says so."""
    results = json.loads((Path(__file__).parents[2] / "benchmarks" / "results" / "interop.json").read_text())
    assert set(results) == {"imitation", "lerobot", "robomimic", "tensorflow-datasets"}
    for result in results.values():
        assert date.fromisoformat(result["date"]).year >= 2026
        assert result.get("install") or (result["versions"] and result["passed"] and not result["failed"])
