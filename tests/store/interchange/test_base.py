from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from distil.errors import InputError, RunError
from distil.store.interchange.base import WithoutFinalObservation, fresh, require


def test_a_missing_library_is_one_line() -> None:
    assert require("json", "x").dumps([]) == "[]"
    with pytest.raises(InputError, match=r"needs no_such_lib .*: pip install 'distil\[minari\]'"):
        require("no_such_lib", "minari")


def fail_half_way(target: Path, *, folder: bool) -> None:
    with fresh(target) as part:
        if folder:
            (part / "x").mkdir(parents=True)
        else:
            part.write_text("half")
        raise KeyError


def test_a_target_is_whole_or_not_there(tmp_path: Path) -> None:
    with fresh(tmp_path / "a" / "file") as part:
        part.write_text("whole")
        assert not (tmp_path / "a" / "file").exists()
    with fresh(tmp_path / "a" / "folder") as part:
        part.mkdir()
    for kind in ("file", "folder"):
        with pytest.raises(KeyError):
            fail_half_way(tmp_path / "b" / kind, folder=kind == "folder")
    assert sorted(path.name for path in (tmp_path / "a").iterdir()) == ["file", "folder"]
    assert list((tmp_path / "b").iterdir()) == []
    with pytest.raises(InputError, match="there already"), fresh(tmp_path / "a" / "file"):
        pass
    with pytest.raises(RunError, match="can't be written"), fresh(tmp_path / "a" / "file" / "below"):
        pass


@pytest.mark.parametrize(("choice", "rows", "num"), [("repeat", [0, 1, 1], 2), ("drop", [0, 1], 1)])
def test_an_end_without_its_observation(choice: str, rows: list[int], num: int) -> None:
    class Some(WithoutFinalObservation):
        summary = "some"
        kind: str = "some"

        def read(self, source, *, skip_bad, report):  # type: ignore[no-untyped-def]
            raise NotImplementedError

    ended, kept = Some(final_observation=choice).ended({"obs": np.arange(2)}, 2)
    assert (ended["obs"].tolist(), kept) == (rows, num)
