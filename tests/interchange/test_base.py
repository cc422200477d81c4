from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from distil.errors import InputError, RunError
from distil.interchange.base import Importer, WithoutFinalObservation, fresh, require
from distil.interchange.episodes import Finding


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


def test_a_target_is_whole_or_not_there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with fresh(tmp_path / "a" / "file") as part:
        part.write_text("whole")
        assert not (tmp_path / "a" / "file").exists()
    with fresh(tmp_path / "a" / "folder") as part:
        part.mkdir()
    monkeypatch.chdir(tmp_path)
    with fresh(Path("relative")) as part:
        assert part.is_absolute()  # libraries may change or resolve folders of their own
        part.mkdir()
    assert (tmp_path / "relative").is_dir()
    for kind in ("file", "folder"):
        with pytest.raises(KeyError):
            fail_half_way(tmp_path / "b" / kind, folder=kind == "folder")
    assert sorted(path.name for path in (tmp_path / "a").iterdir()) == ["file", "folder"]
    assert list((tmp_path / "b").iterdir()) == []
    with pytest.raises(InputError, match="already exists"), fresh(tmp_path / "a" / "file"):
        pass
    with pytest.raises(RunError, match="can't be written"), fresh(tmp_path / "a" / "file" / "below"):
        pass


@pytest.mark.parametrize(("choice", "rows", "num"), [("repeat", [0, 1, 1], 2), ("drop", [0, 1], 1)])
def test_an_end_without_its_observation(choice: str, rows: list[int], num: int) -> None:
    class Short(WithoutFinalObservation):
        summary = "short"
        kind: str = "short"

        def read(self, source, report):  # type: ignore[no-untyped-def]
            raise NotImplementedError

    ended, kept = Short(final_observation=choice).ended({"obs": np.arange(2)}, 2)
    assert (ended["obs"].tolist(), kept) == (rows, num)


class Some(Importer):
    summary = "some"
    kind: str = "some"

    def read(self, source, report):  # type: ignore[no-untyped-def]
        raise NotImplementedError


KNOWN = {"obs/a": "", "obs/said": "text", "obs/nested": "a group", "obs/b/c": "", "action": "", "move/x": "", "move/y": ""}


def test_observations_are_numbers_and_what_is_left_out_is_said() -> None:
    found: list[Finding] = []
    below = [name for name in KNOWN if name.startswith("obs")]
    assert Some().choose(KNOWN, below, "f", found.append) == ("obs/a", "obs/b/c")
    assert [str(f) for f in found] == ["f: left out, as only numbers are read: obs/said (text), obs/nested (a group)"]
    both = Some(observations=("obs/b/c", "move/x"), action=("move/y", "move/x"))
    assert both.choose(KNOWN, below, "f", found.append) == ("obs/b/c", "move/x")
    assert (both.action_keys, Some().action_keys, len(found)) == (("move/y", "move/x"), ("action",), 1)


@pytest.mark.parametrize(
    ("options", "fault"),
    [
        ({"observations": ("obs/said",)}, "f: obs/said can't be taken: it is text, not numbers; there are obs/a"),
        ({"observations": ("obs/d",)}, r"f: no key 'obs/d'; did you mean obs/a\?; there are obs/a, obs/b/c, action"),
        ({"observations": ("obs/a", "obs/a")}, "f: observations names a key twice: obs/a, obs/a"),
        ({"action": "move"}, r"f: no key 'move' \(move is a group; name its parts: \[move/x, move/y\]\)"),
        ({"action": ("move/x", "action", "move/x")}, "f: action names a key twice"),
        ({"action": ()}, "f: action names no key"),
    ],
)
def test_keys_that_cant_be_taken(options: dict[str, Any], fault: str) -> None:
    with pytest.raises(InputError, match=fault):
        Some(**options).choose(KNOWN, ["obs/a"], "f", pytest.fail)


def test_no_observations_at_all() -> None:
    with pytest.raises(
        InputError,
        match=r"f: no observations that are numbers, but said \(text\); name them with observations=\[...\]; there are action",
    ):
        Some().choose({"said": "text", "action": ""}, ["said"], "f", lambda _: None)


@pytest.mark.parametrize(
    ("keys", "said"),
    [
        (["action", "action.grip", "obs"], ["action.grip: not part of the actions, which are action (action=[...])"]),
        (["action", "action_dict/turn", "actions/x", "obs"], ["action_dict/turn, actions/x: not part of the actions"]),
        (["action", "action_mask", "obs", "next.action"], []),
    ],
)
def test_actions_that_are_not_taken_are_said(keys: list[str], said: list[str]) -> None:
    class Keys(Importer):
        summary = "keys"
        kind: str = "keys"

        def read(self, source, report):  # type: ignore[no-untyped-def]
            raise NotImplementedError

    findings: list[Finding] = []
    known = dict.fromkeys(keys, "")
    assert Keys().choose(known, ["obs"], "made", findings.append) == ("obs",)
    assert [found.what[: len(text)] for found, text in zip(findings, said, strict=True)] == said
    assert Keys(action=tuple(keys[:2])).choose(known, ["obs"], "made", findings.append) == ("obs",)
    assert len(findings) == len(said)
