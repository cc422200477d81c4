from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from distil.errors import InputError, RunError
from distil.interchange.rlds_splits import parts
from distil.interchange.tfrecord import make_example, parse_example, write_record


def write(root: Path, split: str, shards: list[list[int]], info: bool = True) -> None:
    for number, values in enumerate(shards):
        with open(root / f"some_set-{split}.tfrecord-{number:05d}-of-{len(shards):05d}", "wb") as file:
            for value in values:
                write_record(file, make_example({"x": np.array([value])}))
    if info:
        path = root / "dataset_info.json"
        known = json.loads(path.read_text())["splits"] if path.exists() else []
        known.append({"name": split, "shardLengths": [str(len(values)) for values in shards]})
        path.write_text(json.dumps({"splits": known}))


def taken(root: Path, split: str) -> list[tuple[str, int, int]]:
    found = []
    for part in parts(root, split):
        for number, _, data in part.episodes():
            found.append((part.name, number, int(parse_example(data)["x"][0])))
    return found


@pytest.mark.parametrize("info", [True, False])
@pytest.mark.parametrize(
    ("split", "expected"),
    [
        ("train", [*range(10)]),
        ("val", [20, 21]),
        ("train[:30%]", [0, 1, 2]),
        ("train[30%:]", [*range(3, 10)]),
        ("train[-2:]", [8, 9]),
        ("train[4:6]+val", [4, 5, 20, 21]),
        ("train[20:]", []),
        ("all", [*range(10), 20, 21]),
    ],
)
def test_splits_and_their_parts(tmp_path: Path, info: bool, split: str, expected: list[int]) -> None:
    write(tmp_path, "train", [[0, 1, 2, 3], [4, 5, 6], [7, 8, 9]], info)
    write(tmp_path, "val", [[20], [21]], info)
    assert [value for _, _, value in taken(tmp_path, split)] == expected
    assert all(number == value % 20 for _, number, value in taken(tmp_path, split))


def test_what_is_missing_is_said(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="it has no TFRecord files"):
        parts(tmp_path, "train")
    write(tmp_path, "train", [[0, 1], [2, 3]])
    write(tmp_path, "val", [[4]])
    for wrong in ("test", "train[", "train[:a]", ""):
        with pytest.raises(InputError, match=r"no split .*; its splits are train, val \(also split=all"):
            parts(tmp_path, wrong)
    write(tmp_path, "train", [[0, 1], [2]], info=False)  # a file that was cut off between two records
    with pytest.raises(RunError, match=r"the split has 3 episodes, dataset_info.json says 4"):
        taken(tmp_path, "train")
    assert len(taken(tmp_path, "train[:2]")) == 2
    next(tmp_path.glob("*train*00001-of*")).unlink()
    with pytest.raises(InputError, match=r"split train lacks 1 of its 2 files \(number 1\)"):
        parts(tmp_path, "train")


def test_more_episodes_than_announced_are_refused(tmp_path: Path) -> None:
    write(tmp_path, "train", [[0, 1, 2]])
    path = tmp_path / "dataset_info.json"
    path.write_text(path.read_text().replace('["3"]', '["2"]'))
    with pytest.raises(RunError, match=r"00000-of-00001: the split has more than the 2 episodes"):
        taken(tmp_path, "train")
    assert len(taken(tmp_path, "train[:1]")) == 1


def test_names_of_splits_with_dashes(tmp_path: Path) -> None:
    write(tmp_path, "train-small", [[0, 1]])
    assert len(taken(tmp_path, "train-small[:1]+train-small")) == 3
    with pytest.raises(InputError, match="its splits are train-small"):
        parts(tmp_path, "train")
