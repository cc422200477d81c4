from __future__ import annotations

import json
import warnings
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from gymnasium import spaces

from distil.errors import InputError, RunError
from distil.interchange.minari import MinariImport
from distil.interchange.transfer import import_store
from distil.types import Episode

minari = pytest.importorskip("minari", reason="needs pip install 'distil[minari]'")
STORAGES = ["hdf5", "arrow", "parquet"]


def make_dataset(storage: str, buffers: Sequence[Any], observation: Any = None, name: str = "made/pole-v0") -> Any:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # minari's own, on what its metadata lacks
        return minari.create_dataset_from_buffers(
            dataset_id=name,
            buffer=list(buffers),
            env="CartPole-v1",
            observation_space=observation,
            action_space=spaces.Discrete(2),
            data_format=storage,
        )


def episode_buffer(seed: int, num: int, **changes: Any) -> Any:
    from minari.data_collector import EpisodeBuffer

    rng = np.random.default_rng(seed)
    fields = {
        "seed": seed,
        "observations": rng.normal(size=(num + 1, 4)).astype(np.float32),
        "actions": rng.integers(0, 2, num),
        "rewards": rng.normal(size=num),
        "terminations": np.arange(num) == (num - 1 if seed % 2 else num),
        "truncations": np.arange(num) == (num if seed % 2 else num - 1),
        "infos": {"height": [0.5 * step for step in range(num + 1)]},
    }
    return EpisodeBuffer(**(fields | changes))


@pytest.mark.parametrize("storage", STORAGES)
def test_what_minari_made_comes_whole(minari_root: Path, tmp_path: Path, storage: str) -> None:
    """CORRECTNESS 1 and 2: terminated is not truncated, and the final observation is kept."""
    buffers = [episode_buffer(seed, num) for seed, num in ((3, 5), (4, 1), (5, 9))]
    dataset = make_dataset(storage, buffers)
    result = import_store(MinariImport(infos=("height",)), Path("made/pole-v0"), tmp_path / "store")
    assert (result.num_added, result.num_present, result.findings) == (3, 0, ())
    snapshot = result.snapshot
    assert snapshot.spec.action.describe() == "Discrete(2)"
    assert snapshot.spec.observation.leaf.bounds()[1][2] == pytest.approx(0.41887903)  # CartPole's own bound
    assert snapshot.spec.env["id"] == "CartPole-v1"
    for index, (buffer, theirs) in enumerate(zip(buffers, dataset.iterate_episodes(), strict=True)):
        ours = snapshot.episode(index)
        np.testing.assert_array_equal(ours.observations["obs"], theirs.observations)
        np.testing.assert_array_equal(ours.actions, theirs.actions)
        np.testing.assert_array_equal(ours.rewards, buffer.rewards)
        assert (ours.terminated, ours.truncated) == (bool(theirs.terminations[-1]), bool(theirs.truncations[-1]))
        assert (ours.seed, ours.source, ours.labelled.all()) == (buffer.seed, "minari:made/pole-v0", True)
        assert ours.infos is not None
        assert json.loads(ours.infos[0]) == {"height": 0.5}
    again = import_store(MinariImport(infos=("height",)), minari_root / "made" / "pole-v0", tmp_path / "store")
    assert (again.num_added, again.num_present, again.snapshot.digest) == (0, 3, snapshot.digest)


@pytest.mark.parametrize("storage", STORAGES)
def test_bad_episodes_are_named(minari_root: Path, tmp_path: Path, storage: str) -> None:
    poisoned = np.zeros((5, 4), np.float32)
    poisoned[2, 1] = np.nan
    early = np.array([False, True, False])
    buffers = [
        episode_buffer(1, 4),
        episode_buffer(2, 4, observations=poisoned),
        episode_buffer(3, 3, terminations=early),
        episode_buffer(4, 3, actions=np.array([0, 1, 7])),
    ]
    make_dataset(storage, buffers)
    with pytest.raises(RunError, match=r"pole-v0/data: episode episode_1, step 2: obs is NaN or infinite; .*--skip-bad"):
        import_store(MinariImport(), minari_root / "made" / "pole-v0", tmp_path / "a")
    result = import_store(MinariImport(), minari_root / "made" / "pole-v0", tmp_path / "b", skip_bad=True)
    assert (result.num_added, result.num_skipped) == (1, 3)
    assert "step 1: terminations is set before the last step" in str(result.findings[1])
    assert "step 2: action is not one of its 2 choices" in str(result.findings[2])


def test_lossy_images_are_reported(minari_root: Path, tmp_path: Path) -> None:
    space = spaces.Box(0, 255, (40, 40, 3), np.uint8)
    images = np.random.default_rng(0).integers(0, 256, (4, 40, 40, 3)).astype(np.uint8)
    dataset = make_dataset("hdf5", [episode_buffer(1, 3, observations=images)], observation=space)
    result = import_store(MinariImport(), minari_root / "made" / "pole-v0", tmp_path / "store")
    assert "JPEG" in str(result.findings[0])
    np.testing.assert_array_equal(result.snapshot.episode(0).observations["obs"], dataset[0].observations)


def test_wrong_sources(minari_root: Path, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no such folder or local dataset"):
        import_store(MinariImport(), Path("none/such-v0"), tmp_path / "store")
    with pytest.raises(InputError, match="no Minari dataset there"):
        import_store(MinariImport(), tmp_path, tmp_path / "store")
    make_dataset("arrow", [episode_buffer(1, 3)])
    metadata = minari_root / "made" / "pole-v0" / "data" / "metadata.json"
    data = json.loads(metadata.read_text())
    del data["observation_space"]
    metadata.write_text(json.dumps(data))
    with pytest.raises(InputError, match="has no observation_space"):
        import_store(MinariImport(), minari_root / "made" / "pole-v0", tmp_path / "store")


def test_no_label_unless_demonstrations(minari_root: Path, tmp_path: Path) -> None:
    make_dataset("hdf5", [episode_buffer(1, 3)])
    episode = import_store(MinariImport(demonstrations=False), Path("made/pole-v0"), tmp_path / "s").snapshot.episode(0)
    assert isinstance(episode, Episode)
    assert not episode.labelled.any()
    assert not episode.acted_by_expert.any()


def text_dataset() -> Any:
    space = spaces.Dict(mission=spaces.Text(20), state=spaces.Box(-9, 9, (2,), np.float32))
    rng = np.random.default_rng(0)
    state = rng.normal(size=(6, 2)).astype(np.float32)
    buffer = episode_buffer(1, 5, observations={"mission": ["go to the door"] * 6, "state": state})
    return make_dataset("hdf5", [buffer], space, "made/text-v0"), state


def test_a_key_of_text_is_left_out(minari_root: Path, tmp_path: Path) -> None:
    _, state = text_dataset()
    result = import_store(MinariImport(), Path("made/text-v0"), tmp_path / "store")
    assert "left out, as only numbers are read: mission (text)" in str(result.findings[0])
    assert [leaf.name for leaf in result.snapshot.spec.observation.leaves] == ["obs/state"]
    np.testing.assert_array_equal(result.snapshot.episode(0).observations["obs/state"], state)


def test_keys_are_chosen(minari_root: Path, tmp_path: Path) -> None:
    parts = spaces.Tuple([spaces.Box(-9, 9, (2,), np.float32), spaces.Discrete(5)])
    space = spaces.Dict(at=spaces.Dict(x=spaces.Discrete(3), y=spaces.Discrete(3)), parts=parts, word=spaces.Text(9))
    rows = {"x": np.arange(6) % 3, "y": np.zeros(6, np.int64)}
    pair = (np.ones((6, 2), np.float32), np.arange(6) % 5)
    made = episode_buffer(1, 5, observations={"at": rows, "parts": pair, "word": ["go"] * 6})
    make_dataset("hdf5", [made], space, "made/nested-v0")

    def names(*observations: str) -> list[str]:
        snapshot = import_store(
            MinariImport(observations=observations), Path("made/nested-v0"), tmp_path / "-".join(observations).replace("/", ".")
        ).snapshot
        assert snapshot.spec.observation.flatten(snapshot.spec.observation.unflatten(snapshot.episode(0).observations))
        return [leaf.name for leaf in snapshot.spec.observation.leaves]

    assert names("at/x") == ["obs/at/x"]
    assert names("parts/0", "parts/1", "at/y") == ["obs/at/y", "obs/parts/0", "obs/parts/1"]
    for bad, text in (
        ("parts/0", "take all parts of a Tuple"),
        ("at", "at is a group"),
        ("word", "it is text"),
        ("z", "no key 'z'"),
    ):
        with pytest.raises(InputError, match=text):
            names(bad)


@pytest.mark.parametrize("storage", STORAGES)
@pytest.mark.parametrize(
    ("infos", "success"),
    [
        ({"success": [False, True, False]}, True),
        ({"success": [0.0, np.nan, 0.0]}, False),
        ({"is_success": [False, True, False]}, False),
        ({"is_success": [False, False, True]}, True),
        ({"is_success": [False, True]}, True),
        ({"other": [1.0, 1.0, 1.0]}, None),
        ({"success": {"left": [1.0, 1.0, 1.0]}}, None),
    ],
)
def test_success_comes_along(minari_root: Path, tmp_path: Path, storage: str, infos: Any, success: Any) -> None:
    if storage != "hdf5" and len(next(iter(infos.values()))) < 3:
        pytest.skip("minari's Arrow storage takes plain infos with the reset's row only")
    make_dataset(storage, [episode_buffer(1, 2, infos=infos)])
    assert import_store(MinariImport(), Path("made/pole-v0"), tmp_path / "store").snapshot.episode(0).success is success


def test_infos_without_the_reset_s_row(minari_root: Path, tmp_path: Path) -> None:
    make_dataset("hdf5", [episode_buffer(1, 5, infos={"height": [0.5, 1.0, 1.5, 2.0, 2.5]})])
    snapshot = import_store(MinariImport(infos=("height",)), Path("made/pole-v0"), tmp_path / "store").snapshot
    infos = snapshot.episode(0).infos
    assert infos is not None
    assert [json.loads(text)["height"] for text in infos] == [0.5, 1.0, 1.5, 2.0, 2.5]


@pytest.mark.parametrize("storage", STORAGES)
@pytest.mark.parametrize(("shape", "dtype"), [((40, 36), np.uint16), ((40, 36, 1), np.float32), ((40, 36), np.uint8)])
def test_depth_maps(minari_root: Path, tmp_path: Path, storage: str, shape: tuple[int, ...], dtype: Any) -> None:
    high = np.iinfo(dtype).max if np.issubdtype(dtype, np.integer) else 10.0
    depth = np.random.default_rng(0).uniform(0, high, (6, *shape)).astype(dtype)
    made = make_dataset(storage, [episode_buffer(1, 5, observations=depth)], spaces.Box(0, high, shape, dtype))
    back = import_store(MinariImport(), Path("made/pole-v0"), tmp_path / "store").snapshot.episode(0)
    theirs = next(iter(made.iterate_episodes())).observations
    np.testing.assert_array_equal(back.observations["obs"], np.reshape(theirs, depth.shape))


def test_minari_is_given_sound_files_only(minari_root: Path, tmp_path: Path) -> None:
    """CORRECTNESS 37: nothing outside the folder is read, and counts are compared with what is there."""
    folder = minari_root / "made" / "pole-v0" / "data"
    make_dataset("hdf5", [episode_buffer(1, 5)])
    metadata = json.loads((folder / "metadata.json").read_text())
    (folder / "metadata.json").write_text(json.dumps(metadata | {"total_episodes": 10**12}))
    with pytest.raises(InputError, match=r"metadata\.json says 1000000000000 episodes and 1 are there"):
        import_store(MinariImport(), folder, tmp_path / "store", skip_bad=True)
    bits = json.dumps({"type": "MultiBinary", "n": 1 << 33})
    (folder / "metadata.json").write_text(json.dumps(metadata | {"observation_space": bits}))
    with pytest.raises(InputError, match="MultiBinary of 8,589,934,592 bits"):
        import_store(MinariImport(), folder, tmp_path / "store")
    (folder / "metadata.json").write_text(json.dumps(metadata))
    main = folder / "main_data.hdf5"
    main.rename(tmp_path / "elsewhere.hdf5")
    main.symlink_to(tmp_path / "elsewhere.hdf5")
    with pytest.raises(InputError, match="a link that leads out"):
        import_store(MinariImport(), folder, tmp_path / "store")


def test_compressed_batches_are_bounded(minari_root: Path, tmp_path: Path) -> None:
    """A few bytes of Arrow may claim any size, which Arrow allocates."""
    make_dataset("arrow", [episode_buffer(1, 5)])
    folder = minari_root / "made" / "pole-v0" / "data" / "0"
    (file,) = (path for path in folder.iterdir() if path.suffix != ".json")
    with pa.ipc.open_file(str(file)) as reader:
        table = reader.read_all()
    with pa.ipc.new_file(str(file), table.schema, options=pa.ipc.IpcWriteOptions(compression="zstd")) as writer:
        writer.write_table(table)
    assert import_store(MinariImport(), Path("made/pole-v0"), tmp_path / "good").num_added == 1
    raw, size = file.read_bytes(), (6 * 8).to_bytes(8, "little")
    assert size in raw
    file.write_bytes(raw.replace(size, (1 << 36).to_bytes(8, "little")))
    with pytest.raises(InputError, match=r"claims \d{2,3},[\d,]* bytes"):
        import_store(MinariImport(), Path("made/pole-v0"), tmp_path / "bad")


def test_a_seed_too_large_for_a_store_is_left_out_and_said(minari_root: Path, tmp_path: Path) -> None:
    """Minari draws seeds of 64 bits without a sign."""
    make_dataset("hdf5", [replace(episode_buffer(1, 3), seed=seed) for seed in ((1 << 63) + 5, (1 << 63) - 1)])
    result = import_store(MinariImport(), minari_root / "made/pole-v0", tmp_path / "store")
    assert [result.snapshot.episode(i).seed for i in range(2)] == [0, (1 << 63) - 1]
    assert sum("its seed 9223372036854775813 is above the largest" in finding.what for finding in result.findings) == 1


def test_actions_of_several_keys_are_joined(minari_root: Path, tmp_path: Path) -> None:
    space = spaces.Dict(turn=spaces.Box(-1, 1, (2,), np.float32), grip=spaces.Discrete(2))
    actions = {"turn": np.full((3, 2), 0.5, np.float32), "grip": np.array([0, 1, 1])}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        minari.create_dataset_from_buffers(
            dataset_id="made/arm-v0",
            buffer=[replace(episode_buffer(1, 3), actions=actions)],
            env="CartPole-v1",
            action_space=space,
        )
    with pytest.raises(InputError, match=r"its actions are a Dict: choose and join its parts: action=\["):
        import_store(MinariImport(), minari_root / "made/arm-v0", tmp_path / "a")
    result = import_store(MinariImport(action=("grip", "turn")), minari_root / "made/arm-v0", tmp_path / "b")
    assert result.snapshot.episode(0).actions.tolist() == [[0, 0.5, 0.5], [1, 0.5, 0.5], [1, 0.5, 0.5]]
    assert any("joined in this order: grip (1), turn (2)" in finding.what for finding in result.findings)


def test_infos_that_are_a_group_are_named(minari_root: Path, tmp_path: Path) -> None:
    make_dataset("hdf5", [replace(episode_buffer(1, 3), infos={"pose": {"x": np.arange(4)}})])
    with pytest.raises(RunError, match=r"its infos 'pose' are a group \(x\), not one value a step"):
        import_store(MinariImport(infos=("pose",)), minari_root / "made/pole-v0", tmp_path / "store")
