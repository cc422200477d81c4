from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, ClassVar, Literal

import numpy as np
import pytest

from distil.errors import InputError
from distil.interchange.arrays import ArraysImport, Unreadable
from distil.interchange.transfer import import_store

ROWS = np.arange(10.0).reshape(5, 2)


class JsonImport(ArraysImport):
    """Files of named lists."""

    summary: ClassVar[str] = "for tests"
    kind: Literal["json"] = "json"
    suffixes: ClassVar[tuple[str, ...]] = (".json",)

    @contextmanager
    def opened(self, file: Path) -> Iterator[Mapping[str, Any]]:
        data = json.loads(file.read_text())
        yield {name: Unreadable(rows) if isinstance(rows, str) else np.asarray(rows) for name, rows in data.items()}


def write(path: Path, **arrays: Any) -> Path:
    plain = {name.replace("__", "/"): rows.tolist() if isinstance(rows, np.ndarray) else rows for name, rows in arrays.items()}
    path.write_text(json.dumps(plain))
    return path


def names(path: Path, target: Path, **options: Any) -> list[str]:
    snapshot = import_store(JsonImport(**options), path, target).snapshot
    return [leaf.name for leaf in snapshot.spec.observation.leaves]


@pytest.mark.parametrize(
    ("arrays", "leaves"),
    [
        ({"obs": ROWS, "actions": ROWS}, ["obs"]),
        ({"state": ROWS, "other": ROWS, "acts": ROWS}, ["obs"]),
        ({"pose": ROWS, "gap": ROWS, "action": ROWS, "info__x": ROWS}, ["obs/pose", "obs/gap"]),
        ({"observations__a": ROWS, "observations__b__c": ROWS, "actions": ROWS}, ["obs/a", "obs/b/c"]),
        ({"obs": ROWS, "obs__a": ROWS, "obs_word": "text", "actions": ROWS}, ["obs/obs", "obs/a"]),
    ],
)
def test_which_arrays_are_observations(tmp_path: Path, arrays: Any, leaves: Any) -> None:
    path = write(tmp_path / "a.json", **arrays)
    assert names(path, tmp_path / "store") == leaves


def test_what_is_not_read_is_left_out_and_said(tmp_path: Path) -> None:
    path = write(tmp_path / "a.json", obs=ROWS, obs_word="text", actions=ROWS)
    result = import_store(JsonImport(), path, tmp_path / "store")
    assert "left out, as only numbers are read: obs_word (text)" in str(result.findings[0])


def test_names_that_the_user_gives(tmp_path: Path) -> None:
    path = write(
        tmp_path / "a.json", seen=ROWS, arm=ROWS, grip=ROWS[:, 0], pay=ROWS[:, 1], over=[0, 1, 0, 0, 1], cut=[0, 0, 1, 0, 0]
    )
    options = {"observations": ("seen",), "action": ("arm", "grip"), "reward": "pay", "terminated": "over", "truncated": "cut"}
    result = import_store(JsonImport(**options), path, tmp_path / "store")
    assert "keys joined in this order: arm (2), grip (1)" in str(result.findings[0])
    assert result.snapshot.episodes.length.tolist() == [2, 1, 2]
    assert result.snapshot.episodes.terminated.tolist() == [1, 0, 1]
    assert result.snapshot.episode(2).rewards.tolist() == [7, 9]
    with pytest.raises(InputError, match="no key 'pays'; did you mean pay"):
        import_store(JsonImport(**options | {"reward": "pays"}), path, tmp_path / "other")


@pytest.mark.parametrize(("done", "terminated"), [("terminated", [1, 1]), ("truncated", [0, 0])])
def test_dones_mean_what_the_user_says(tmp_path: Path, done: Any, terminated: list[int]) -> None:
    """CORRECTNESS 1."""
    path = write(tmp_path / "a.json", obs=ROWS, actions=ROWS, dones=[0, 1, 0, 0, 1], is_success=[0, 1, 0, 0, 0])
    result = import_store(JsonImport(done=done), path, tmp_path / "store")
    assert result.snapshot.episodes.terminated.tolist() == terminated
    assert [result.snapshot.episode(i).success for i in range(2)] == [True, False]
    assert any(f"dones has one meaning: a 1 is read as {done}" in str(finding) for finding in result.findings)


def test_success_of_the_wrong_length_is_named(tmp_path: Path) -> None:
    path = write(tmp_path / "a.json", obs=ROWS, actions=ROWS, success=[0, 1, 1])
    with pytest.raises(InputError, match="success has 3 values; give one an episode or one a step"):
        import_store(JsonImport(), path, tmp_path / "store")


def ends_of(path: Path, target: Path) -> list[tuple[int, bool, bool]]:
    snapshot = import_store(JsonImport(), path, target).snapshot
    found = [snapshot.episode(i) for i in range(snapshot.num_episodes)]
    return [(episode.length, episode.terminated, episode.truncated) for episode in found]


def test_dones_beside_terminals_are_the_truncated_ends(tmp_path: Path) -> None:
    arrays = {"obs": ROWS, "actions": ROWS, "terminals": [0, 0, 0, 0, 1], "dones": [0, 1, 0, 0, 1]}
    assert ends_of(write(tmp_path / "a.json", **arrays), tmp_path / "a") == [(2, False, True), (3, True, False)]
    arrays = {"obs": ROWS, "actions": ROWS, "timeouts": [0, 0, 0, 0, 1], "dones": [0, 1, 0, 0, 1]}
    assert ends_of(write(tmp_path / "b.json", **arrays), tmp_path / "b") == [(2, True, False), (3, False, True)]


@pytest.mark.parametrize("more", [{}, {"timeouts": [0, 0, 0, 0, 1]}])
def test_dones_that_contradict_the_other_flags_are_refused(tmp_path: Path, more: dict[str, list[int]]) -> None:
    arrays = {"obs": ROWS, "actions": ROWS, "terminals": [0, 1, 0, 0, 0], "dones": [0, 0, 0, 0, 1]} | more
    with pytest.raises(InputError, match=r"a.json: dones contradicts how episodes end .* at row 1"):
        import_store(JsonImport(), write(tmp_path / "a.json", **arrays), tmp_path / "a")


def test_rows_against_their_own_count_are_said(tmp_path: Path) -> None:
    arrays = {"obs": ROWS, "actions": ROWS, "terminals": [0, 0, 1, 0, 1]}
    right, wrong = (write(tmp_path / "a.json", timestep=t, **arrays) for t in ([0, 1, 2, 0, 1], [0, 2, 1, 0, 1]))
    said = [finding.what for finding in import_store(JsonImport(), wrong, tmp_path / "wrong").findings]
    assert "timestep goes back at row 2, within an episode: rows are read in file order" in said
    write(right, timestep=[0, 1, 2, 0, 1], **arrays)
    assert not any("goes back" in finding.what for finding in import_store(JsonImport(), right, tmp_path / "right").findings)


def test_a_flag_that_is_none_is_named(tmp_path: Path) -> None:
    path = write(tmp_path / "a.json", obs=ROWS, actions=ROWS, terminals=[0, 2, 0, 0, 1])
    with pytest.raises(InputError, match="terminated is 2 at number 1, neither 0 nor 1"):
        import_store(JsonImport(), path, tmp_path / "a")
