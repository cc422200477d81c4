from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from gymnasium import spaces

from distil.errors import InputError
from distil.interchange.minari import MinariImport
from distil.interchange.minari_writer import MinariExport
from distil.interchange.transfer import export_store, import_store
from distil.store import Snapshot

minari = pytest.importorskip("minari", reason="needs pip install 'distil[minari]'")
MakeStore = Callable[..., Snapshot]
STORAGES = ["hdf5", "arrow", "parquet"]


@pytest.mark.parametrize("storage", STORAGES)
@pytest.mark.parametrize("mixed", [False, True])
def test_round_trip(
    minari_root: Path, tmp_path: Path, make_store: MakeStore, same: Any, all_episodes: Any, storage: str, mixed: bool
) -> None:
    nested = spaces.Dict(
        image=spaces.Box(0, 255, (36, 34, 3), np.uint8),
        state=spaces.Tuple([spaces.Box(-np.inf, np.inf, (3,), np.float64), spaces.Discrete(5, start=2)]),
    )
    snapshot = make_store(nested, spaces.Discrete(3, start=1) if mixed else spaces.MultiDiscrete([3, 4]), mixed=mixed)
    export_store(MinariExport(storage=storage), snapshot, minari_root / "trip" / "it-v2")
    back = import_store(MinariImport(), minari_root / "trip" / "it-v2", tmp_path / "back").snapshot
    assert back.spec == snapshot.spec
    same(all_episodes(snapshot), all_episodes(back))


@pytest.mark.parametrize("storage", STORAGES)
def test_minari_reads_what_is_exported(minari_root: Path, make_store: MakeStore, all_episodes: Any, storage: str) -> None:
    snapshot = make_store(mixed=True)
    export_store(MinariExport(storage=storage, dataset_id="ours/made-v3"), snapshot, minari_root / "ours" / "made-v3")
    dataset = minari.load_dataset("ours/made-v3")
    assert (dataset.total_episodes, dataset.total_steps) == (3, 12)
    for ours, theirs in zip(all_episodes(snapshot), dataset.iterate_episodes(), strict=True):
        np.testing.assert_array_equal(theirs.observations, ours.observations["obs"])
        np.testing.assert_array_equal(theirs.actions, ours.actions)
        np.testing.assert_array_equal(theirs.rewards, ours.rewards)
        assert (theirs.terminations[-1], theirs.truncations[-1]) == (ours.terminated, ours.truncated)
        assert not theirs.truncations[:-1].any()
        assert dataset.action_space == spaces.Box(np.float32([-1, -2.5]), np.float32([1, 2.5]))


def test_the_expert_s_actions_need_all_labels(tmp_path: Path, make_store: MakeStore, all_episodes: Any) -> None:
    with pytest.raises(
        InputError, match=r"episode stream-000[0-2]: no expert's label at step \d; export with actions=executed"
    ):
        export_store(MinariExport(actions="expert"), make_store(mixed=True), tmp_path / "x-v0")
    assert [path.name for path in tmp_path.iterdir()] == ["store"]


def test_the_experts_actions_as_minaris_own(
    minari_root: Path, tmp_path: Path, make_store: MakeStore, same: Any, all_episodes: Any
) -> None:
    snapshot = make_store(action=spaces.Discrete(4))
    export_store(MinariExport(actions="expert"), snapshot, minari_root / "labels-v0")
    same(all_episodes(snapshot), all_episodes(import_store(MinariImport(), Path("labels-v0"), tmp_path / "b").snapshot))
