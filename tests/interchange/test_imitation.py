from __future__ import annotations

import json
import pickle
import warnings
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from gymnasium import spaces

from distil.errors import InputError, RunError
from distil.interchange.imitation import ImitationExport, ImitationImport
from distil.interchange.transfer import export_store, import_store
from distil.store import Snapshot

MakeStore = Callable[..., Snapshot]


class Bomb:
    """Runs code when it is unpickled."""

    def __reduce__(self) -> Any:
        return (pytest.fail, ("unpickled",))


def imitation(module: str = "data.serialize") -> Any:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return pytest.importorskip(f"imitation.{module}", reason="needs pip install imitation, which wants an old gymnasium")


def columns(lengths: Sequence[int]) -> dict[str, list[Any]]:
    """What imitation makes of its trajectories before it hands them to datasets; the last step tells of a limit or not."""
    rng = np.random.default_rng(3)
    infos = [[{"t": t} for t in range(num)] for num in lengths]
    for number, trajectory in enumerate(infos):
        if number % 3 < 2:
            trajectory[-1] |= {"TimeLimit.truncated": number % 3 == 1, "odd": {"py/object": "os.system"}}
    return {
        "obs": [rng.normal(size=(num + 1, 3)).astype(np.float32) for num in lengths],
        "acts": [rng.uniform(-1, 1, size=(num, 2)).astype(np.float32) for num in lengths],
        "infos": [[json.dumps(info) for info in trajectory] for trajectory in infos],
        "terminal": [True] * len(lengths),
        "rews": [rng.normal(size=num) for num in lengths],
    }


def save(path: Path, data: dict[str, list[Any]], **options: Any) -> Path:
    datasets = pytest.importorskip("datasets", reason="needs pip install datasets")
    datasets.disable_progress_bars()
    datasets.Dataset.from_dict(data).save_to_disk(str(path), **options)
    return path


@pytest.mark.parametrize("num_shards", [1, 3])
def test_what_datasets_made_comes_whole(tmp_path: Path, num_shards: int) -> None:
    """CORRECTNESS 1 and 2: SB3's mark of a time limit is read, and the final observation is kept."""
    data = columns([4, 1, 6])
    path = save(tmp_path / "trajectories", data, num_shards=num_shards)
    result = import_store(ImitationImport(infos=("t",)), path, tmp_path / "store")
    for index in range(3):
        episode = result.snapshot.episode(index)
        assert episode.observations["obs"].dtype == episode.actions.dtype == np.float32
        np.testing.assert_array_equal(episode.observations["obs"], data["obs"][index])
        np.testing.assert_array_equal(episode.actions, data["acts"][index])
        np.testing.assert_array_equal(episode.rewards, data["rews"][index])
        assert (episode.terminated, episode.truncated) == (index != 1, index == 1)
        assert episode.infos == tuple(json.dumps({"t": t}) for t in range(episode.length))
    (finding,) = result.findings
    assert "taken as terminated" in str(finding)
    cut = import_store(ImitationImport(terminal="truncated"), path, tmp_path / "cut").snapshot
    assert cut.episodes.truncated.tolist() == [0, 1, 1]


def test_choices_and_no_rewards(tmp_path: Path) -> None:
    data = columns([4, 2])
    del data["rews"]
    data |= {"acts": [np.array([0, 2, 1, 0]), np.array([1, 1])], "terminal": [True, False]}
    result = import_store(ImitationImport(), save(tmp_path / "x", data), tmp_path / "store")
    assert result.snapshot.spec.action.describe() == "Discrete(3)"
    assert "holds no rewards" in str(result.findings[0])
    assert result.snapshot.episode(1).truncated  # a fragment: not terminal
    assert not result.snapshot.episode(1).terminated


def test_bad_rows_are_named(tmp_path: Path) -> None:
    data = columns([4, 2, 3, 2])
    data["acts"][1][1] = np.inf
    data["obs"][2] = data["obs"][2][:-1]
    data["infos"][3][1] = "{"
    path = save(tmp_path / "x", data)
    with pytest.raises(RunError, match=r"x: episode 1, step 1: action is NaN or infinite; fix the data, .* --skip-bad"):
        import_store(ImitationImport(), path, tmp_path / "a")
    result = import_store(ImitationImport(), path, tmp_path / "b", skip_bad=True)
    assert (result.num_added, result.num_skipped) == (1, 3)
    skipped = [str(finding) for finding in result.findings if finding.skipped]
    assert "episode 2: obs is [3, 3], should be [4, 3]" in skipped[1]
    assert "episode 3, step 1: its info isn't JSON" in skipped[2]


def test_pickles_and_foreign_files_are_refused(tmp_path: Path) -> None:
    (tmp_path / "old.pkl").write_bytes(pickle.dumps(Bomb()))
    np.savez(tmp_path / "old.npz", obs=np.zeros(3), infos=np.array([Bomb()], dtype=object))
    for name in ("old.pkl", "old.npz"):
        with pytest.raises(InputError, match="pickles, which can run code"):
            import_store(ImitationImport(), tmp_path / name, tmp_path / "store")
    with pytest.raises(InputError, match=r"no Hugging Face dataset there \(state.json"):
        import_store(ImitationImport(), tmp_path, tmp_path / "store")
    path = tmp_path / "made"
    path.mkdir()
    (path / "state.json").write_text(json.dumps({"_data_files": [{"filename": "../old.pkl"}]}))
    with pytest.raises(InputError, match="no files in the folder itself"):
        import_store(ImitationImport(), path, tmp_path / "store")
    (path / "state.json").write_text(json.dumps({"_data_files": [{"filename": "a.arrow"}]}))
    (path / "a.arrow").write_bytes(b"no")
    with pytest.raises(InputError, match="can't be read as an Arrow stream"):
        import_store(ImitationImport(), path, tmp_path / "store")
    with pa.OSFile(str(path / "a.arrow"), "wb") as file, pa.ipc.new_stream(file, pa.schema([("text", pa.string())])):
        pass
    with pytest.raises(InputError, match="has no column acts, obs, terminal"):
        import_store(ImitationImport(), path, tmp_path / "store")


@pytest.mark.parametrize("mixed", [False, True])
@pytest.mark.parametrize("action", [spaces.Box(-2, 2, (2, 3), np.float32), spaces.Discrete(3, start=1)])
def test_round_trip(tmp_path: Path, make_store: MakeStore, same: Any, all_episodes: Any, action: Any, mixed: bool) -> None:
    image = spaces.Box(0, 255, (9, 8, 3), np.uint8)
    snapshot = make_store(image, action, mixed=mixed)
    exporter = ImitationExport() if mixed else ImitationExport(actions="expert")
    export_store(exporter, snapshot, tmp_path / "out" / "trip")
    back = import_store(ImitationImport(), tmp_path / "out" / "trip", tmp_path / "back").snapshot
    assert back.spec == snapshot.spec
    same(all_episodes(snapshot), all_episodes(back))


def test_many_batches(tmp_path: Path, make_store: MakeStore, same: Any, all_episodes: Any, monkeypatch: Any) -> None:
    monkeypatch.setattr("distil.interchange.imitation._TABLE_BYTES", 500)
    snapshot = make_store(lengths=(4, 1, 7, 3, 9))
    export_store(ImitationExport(), snapshot, tmp_path / "trip")
    same(all_episodes(snapshot), all_episodes(import_store(ImitationImport(), tmp_path / "trip", tmp_path / "b").snapshot))


def test_keys_are_refused(tmp_path: Path, make_store: MakeStore) -> None:
    both = spaces.Dict(a=spaces.Box(-1, 1, (2,)), b=spaces.Box(-1, 1, (2,)))
    with pytest.raises(InputError, match="hold one observation array, not obs/a, obs/b"):
        export_store(ImitationExport(), make_store(both), tmp_path / "trip")


def test_datasets_reads_what_is_exported(tmp_path: Path, make_store: MakeStore, all_episodes: Any) -> None:
    datasets = pytest.importorskip("datasets", reason="needs pip install datasets")
    snapshot = make_store()
    export_store(ImitationExport(), snapshot, tmp_path / "trip")
    dataset = datasets.load_from_disk(str(tmp_path / "trip"))
    assert dataset.features["obs"].feature.feature.dtype == "float64"
    for row, episode in zip(dataset, all_episodes(snapshot), strict=True):
        np.testing.assert_array_equal(row["obs"], episode.observations["obs"])
        np.testing.assert_array_equal(np.asarray(row["acts"], np.float32), episode.actions)


@pytest.mark.filterwarnings("ignore")
def test_imitation_reads_what_is_exported(tmp_path: Path, make_store: MakeStore, all_episodes: Any) -> None:
    serialize, rollout = imitation(), imitation("data.rollout")
    snapshot = make_store(mixed=True)
    export_store(ImitationExport(), snapshot, tmp_path / "trip")
    trajectories = serialize.load_with_rewards(tmp_path / "trip")
    for theirs, ours in zip(trajectories, all_episodes(snapshot), strict=True):
        np.testing.assert_array_equal(theirs.obs, ours.observations["obs"])
        np.testing.assert_array_equal(theirs.acts, ours.actions)
        np.testing.assert_array_equal(theirs.rews, ours.rewards)
        assert theirs.infos[-1]["TimeLimit.truncated"] == ours.truncated
        assert theirs.terminal == (ours.terminated or ours.truncated)
    assert len(rollout.flatten_trajectories(list(trajectories))) == snapshot.num_transitions


@pytest.mark.filterwarnings("ignore")
def test_what_imitation_collected(tmp_path: Path) -> None:
    """imitation's own rollouts of SB3's vector environment: ends by the pole and by the clock, as SB3 tells them."""
    serialize, rollout, wrappers = imitation(), imitation("data.rollout"), imitation("data.wrappers")
    import gymnasium

    vec = pytest.importorskip("stable_baselines3.common.vec_env")

    def make() -> Any:
        return wrappers.RolloutInfoWrapper(gymnasium.make("CartPole-v1", max_episode_steps=25))

    rng = np.random.default_rng(0)
    venv = vec.DummyVecEnv([make, make])
    venv.seed(1)
    pole = lambda obs, state, starts: ((obs @ np.array([0.1, 0.3, 4, 1]) > 0).astype(int) ** rng.integers(0, 2, len(obs)), None)  # noqa: E731
    trajectories = rollout.rollout(pole, venv, rollout.make_sample_until(min_episodes=12), rng=rng, exclude_infos=False)
    serialize.save(tmp_path / "trajectories", trajectories)
    result = import_store(ImitationImport(), tmp_path / "trajectories", tmp_path / "store")
    assert result.findings == ()
    episodes = result.snapshot.episodes
    assert set(zip(episodes.terminated.tolist(), episodes.truncated.tolist(), strict=True)) == {(1, 0), (0, 1)}
    for index, theirs in enumerate(trajectories):
        ours = result.snapshot.episode(index)
        np.testing.assert_array_equal(ours.observations["obs"], theirs.obs)
        np.testing.assert_array_equal(ours.actions, theirs.acts)
        assert ours.truncated == (len(theirs) == 25 and abs(theirs.obs[-1, 2]) < 0.2095 and abs(theirs.obs[-1, 0]) < 2.4)


def test_nothing_outside_the_folder_is_read(tmp_path: Path, make_store: MakeStore) -> None:
    export_store(ImitationExport(), make_store(), tmp_path / "trip")
    data = tmp_path / "trip" / "data-00000-of-00001.arrow"
    data.rename(tmp_path / "elsewhere.arrow")
    data.symlink_to(tmp_path / "elsewhere.arrow")
    with pytest.raises(InputError, match=r"data-00000-of-00001.arrow: a link that leads out"):
        import_store(ImitationImport(), tmp_path / "trip", tmp_path / "store")


def test_keys_can_not_be_chosen(tmp_path: Path, make_store: MakeStore) -> None:
    export_store(ImitationExport(), make_store(), tmp_path / "trip")
    with pytest.raises(InputError, match="one observation array, obs, and one of actions, acts; leave observations="):
        import_store(ImitationImport(observations=("x",)), tmp_path / "trip", tmp_path / "store")


@pytest.mark.parametrize(
    ("key", "values", "success"), [("success", [1, 0], True), ("is_success", [1, 0], False), ("x", [1, 0], None)]
)
def test_success_comes_along(tmp_path: Path, key: str, values: list[int], success: bool | None) -> None:
    """CORRECTNESS 37: success as its producer means it."""
    rows = {
        "obs": [[[0.0], [1.0], [2.0]]],
        "acts": [[0, 1]],
        "infos": [[json.dumps({key: value}) for value in values]],
        "terminal": [True],
    }
    folder = tmp_path / "made"
    folder.mkdir()
    table = pa.table(rows)
    with pa.ipc.new_stream(str(folder / "data.arrow"), table.schema) as writer:
        writer.write_table(table)
    (folder / "state.json").write_text(json.dumps({"_data_files": [{"filename": "data.arrow"}]}))
    assert import_store(ImitationImport(), folder, tmp_path / "store").snapshot.episode(0).success is success
