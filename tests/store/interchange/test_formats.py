from __future__ import annotations

import subprocess
import sys

import pytest

from distil.errors import InputError
from distil.store.interchange.formats import EXPORTERS, IMPORTERS, exporter, importer, kind_of


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
    code = f"import distil.store.interchange.formats, sys; print([name for name in {heavy} if name in sys.modules])"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.strip() == "[]"
