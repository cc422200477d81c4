from __future__ import annotations

import importlib.util
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from gymnasium import spaces

from distil.interchange import rlds_writer
from distil.interchange.rlds import RldsImport
from distil.interchange.rlds_writer import RldsExport
from distil.interchange.transfer import export_store, import_store
from distil.store import Snapshot

pytest.importorskip("google_crc32c", reason="needs pip install 'distil[rlds]'")
MakeStore = Callable[..., Snapshot]
WITH_TFDS = pytest.mark.skipif(
    not importlib.util.find_spec("tensorflow_datasets"), reason="TensorFlow Datasets isn't installed"
)


@pytest.mark.parametrize("part_bytes", [1, 1 << 20])
@pytest.mark.parametrize("case", ["plain", "mixed", "expert", "choices", "binary", "nested"])
def test_a_store_comes_back_whole(
    make_store: MakeStore, all_episodes: Any, same: Any, tmp_path: Path, case: str, part_bytes: int, monkeypatch: Any
) -> None:
    monkeypatch.setattr(rlds_writer, "_SHARD_BYTES", part_bytes)
    state = spaces.Tuple([spaces.Box(-1, 1, (2, 2), np.float16), spaces.Discrete(500, start=-200)])
    nested = spaces.Dict(rgb=spaces.Box(0, 255, (9, 8, 3), np.uint8), grey=spaces.Box(0, 255, (9, 8), np.uint8), state=state)
    changes = {
        "mixed": {"mixed": True},
        "choices": {"action": spaces.MultiDiscrete([3, 400])},
        "nested": {"observation": nested},
    }
    changes["binary"] = {"action": spaces.MultiBinary(3)}
    before = make_store(**changes.get(case, {}))
    assert export_store(RldsExport(actions="expert" if case == "expert" else "executed"), before, tmp_path / "out") == []
    assert len(list((tmp_path / "out").glob("out-train.tfrecord-*"))) == (3 if part_bytes == 1 else 1)
    result = import_store(RldsImport(), tmp_path / "out", tmp_path / "again")
    same(all_episodes(before), all_episodes(result.snapshot))
    assert result.snapshot.digest == before.digest


@WITH_TFDS
@pytest.mark.filterwarnings("ignore")
def test_tensorflow_datasets_reads_what_is_written(make_store: MakeStore, tmp_path: Path) -> None:
    import tensorflow_datasets as tfds

    state = spaces.Tuple([spaces.Box(-1, 1, (2, 2), np.float64), spaces.Discrete(5)])
    before = make_store(observation=spaces.Dict(rgb=spaces.Box(0, 255, (9, 8, 3), np.uint8), state=state), mixed=True)
    export_store(RldsExport(), before, tmp_path / "out")
    dataset = tfds.builder_from_directory(tmp_path / "out").as_dataset(split="train")
    read = list(tfds.as_numpy(dataset))
    assert len(read) == 3
    for number, item in enumerate(read):
        episode, steps = before.episode(number), list(item["steps"])
        assert len(steps) == episode.length + 1
        assert [bool(step["is_first"]) for step in steps] == [True] + [False] * episode.length
        assert bool(steps[-1]["is_terminal"]) == episode.terminated
        np.testing.assert_array_equal([step["observation"]["rgb"] for step in steps], episode.observations["obs/rgb"])
        np.testing.assert_array_equal(
            [step["observation"]["state"]["0"] for step in steps], episode.observations["obs/state/0"]
        )
        np.testing.assert_array_equal(
            [step["observation"]["state"]["1"] for step in steps], episode.observations["obs/state/1"]
        )
        np.testing.assert_array_equal([step["action"] for step in steps[:-1]], episode.actions)
        np.testing.assert_array_equal([step["reward"] for step in steps[:-1]], episode.rewards)
