from __future__ import annotations

import argparse
import json
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from gymnasium import spaces

from distil.errors import InputError, RunError
from distil.interchange.robomimic import RobomimicExport, RobomimicImport
from distil.interchange.transfer import export_store, import_store
from distil.store import Snapshot

h5py = pytest.importorskip("h5py", reason="needs pip install 'distil[robomimic]'")
MakeStore = Callable[..., Snapshot]


def robomimic(module: str = "utils.dataset") -> Any:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return pytest.importorskip(f"robomimic.{module}", reason="needs pip install robomimic, which wants a compiler")


def demos(path: Path, lengths: list[int], *, next_obs: bool = True, **changes: Any) -> Path:
    """A file as robomimic lays it out, demonstrations in no order of number: observation = 100 * demo + step."""
    with h5py.File(path, "w") as file:
        for number, num in enumerate(lengths):
            group = file.create_group(f"data/demo_{number}")
            steps = 100.0 * number + np.arange(num + 1)
            rows = np.stack([steps, -steps], axis=1)
            arrays = {
                "actions": rows[:-1] / 100,
                "rewards": np.arange(num) == num - 1,
                "dones": (np.arange(num) == num - 1).astype(np.int64) * (number % 2),
                "states": rows[:-1],
                "obs/pose": rows[:-1],
                "obs/depth": rows[:-1, :1].astype(np.float32),
            }
            if next_obs:
                arrays |= {"next_obs/pose": rows[1:], "next_obs/depth": rows[1:, :1].astype(np.float32)}
            for name, values in (arrays | changes.get(f"demo_{number}", {})).items():
                group.create_dataset(name, data=values)
            group.attrs["num_samples"] = num
        file["data"].attrs["env_args"] = json.dumps({"env_name": "Lift", "type": 1, "env_kwargs": {}})
        file["mask/train"] = np.array(["demo_0", "demo_2"], dtype="S")
    return path


def test_a_file_comes_whole(tmp_path: Path) -> None:
    """CORRECTNESS 2: the final observation is next_obs' last one."""
    lengths = [3, 2, 4, *[1] * 9]
    result = import_store(RobomimicImport(), demos(tmp_path / "lift.hdf5", lengths), tmp_path / "store")
    snapshot = result.snapshot
    assert snapshot.episodes.length.tolist() == lengths  # by number, demo_10 after demo_9
    assert snapshot.spec.env["env_name"] == "Lift"
    assert "read as terminated" in str(result.findings[0])
    episode = snapshot.episode(2)
    np.testing.assert_array_equal(episode.observations["obs/pose"][:, 0], [200, 201, 202, 203, 204])
    assert episode.observations["obs/depth"].dtype == np.float32
    assert (episode.total_reward, episode.terminated, episode.truncated) == (1.0, False, True)
    assert snapshot.episode(1).terminated
    assert not snapshot.episode(1).truncated
    assert set(snapshot.episode(0).observations) == {"obs/pose", "obs/depth"}


def test_options(tmp_path: Path) -> None:
    path = demos(tmp_path / "lift.hdf5", [3, 2, 4])
    options = RobomimicImport(filter_key="train", observations=("pose",), done="truncated", demonstrations=False)
    snapshot = import_store(options, path, tmp_path / "store").snapshot
    assert snapshot.episodes.length.tolist() == [3, 4]
    assert snapshot.episodes.num_labelled.sum() == snapshot.episodes.terminated.sum() == 0
    for bad, text in (
        (RobomimicImport(filter_key="test"), "there are train"),
        (RobomimicImport(observations=("x",)), "depth, pose"),
    ):
        with pytest.raises(InputError, match=text):
            import_store(bad, path, tmp_path / "other")


@pytest.mark.parametrize(("choice", "rows"), [("repeat", [100, 101, 101]), ("drop", [100, 101])])
def test_without_next_obs_it_is_said_what_was_done(tmp_path: Path, choice: Any, rows: list[float]) -> None:
    path = demos(tmp_path / "lift.hdf5", [3, 2], next_obs=False)
    result = import_store(RobomimicImport(final_observation=choice), path, tmp_path / "store")
    assert "holds no observation after an episode's last action" in str(result.findings[1])
    episode = result.snapshot.episode(1)
    assert episode.observations["obs/pose"][:, 0].tolist() == rows
    assert (episode.terminated, episode.truncated) == (choice == "repeat", choice == "drop")  # a dropped end isn't the end


def test_bad_rows_are_named(tmp_path: Path) -> None:
    nan = np.array([[0.0, 0.0], [np.nan, 0.0]])
    changes = {"demo_1": {"obs/pose": nan}, "demo_2": {"rewards": np.zeros(9)}, "demo_3": {"actions": np.array([b"x", b"y"])}}
    path = demos(tmp_path / "lift.hdf5", [3, 2, 4, 2, 2], **changes)
    with pytest.raises(RunError, match=r"lift.hdf5: episode demo_1, step 1: obs/pose is NaN or infinite; fix"):
        import_store(RobomimicImport(), path, tmp_path / "a")
    result = import_store(RobomimicImport(), path, tmp_path / "b", skip_bad=True)
    assert (result.num_added, result.num_skipped) == (2, 3)
    skipped = [str(found) for found in result.findings if found.skipped]
    assert "demo_2: has 9 rewards for 4 actions" in skipped[1]
    assert "demo_3: actions isn't an array of numbers" in skipped[2]


def test_wrong_files(tmp_path: Path) -> None:
    (tmp_path / "text.hdf5").write_text("no")
    with h5py.File(tmp_path / "empty.hdf5", "w") as file:
        file["data"] = 3.0
    with h5py.File(tmp_path / "raw.hdf5", "w") as file:
        file["data/demo_0/actions"] = np.zeros((3, 2))
    for name, text in (
        ("text", "can't be read as HDF5"),
        ("empty", "no demonstrations in it"),
        ("raw", "dataset_states_to_obs"),
    ):
        with pytest.raises(InputError, match=text):
            import_store(RobomimicImport(), tmp_path / f"{name}.hdf5", tmp_path / "store")
    assert not (tmp_path / "store").exists()


def test_dones_before_the_end_are_said(tmp_path: Path) -> None:
    """robomimic's done_mode 0 and 2 mark each step in which the task is solved."""
    path = demos(tmp_path / "lift.hdf5", [3, 3], demo_1={"dones": np.array([0, 1, 1])}, demo_0={"dones": np.array([1, 0, 0])})
    result = import_store(RobomimicImport(), path, tmp_path / "store")
    assert "episode demo_0, step 0: `dones` is set before the last step" in str(result.findings[-1])
    assert sum("before the last step" in str(finding) for finding in result.findings) == 1
    assert result.snapshot.episodes.terminated.tolist() == [0, 1]


def test_success_comes_along(tmp_path: Path) -> None:
    path = demos(tmp_path / "lift.hdf5", [3, 2, 4, 2])
    with h5py.File(path, "a") as file:
        for number, value in enumerate([True, np.nan, np.int64(0)]):
            file[f"data/demo_{number}"].attrs["success"] = value
    snapshot = import_store(RobomimicImport(), path, tmp_path / "store").snapshot
    assert [snapshot.episode(i).success for i in range(4)] == [True, False, False, None]
    export_store(RobomimicExport(), snapshot, tmp_path / "back.hdf5")
    with h5py.File(tmp_path / "back.hdf5") as file:
        assert [file[f"data/demo_{i}"].attrs.get("success") for i in range(4)] == [True, False, False, None]


def test_what_is_not_numbers_is_left_out_and_said(tmp_path: Path) -> None:
    words = {"obs/task": np.array([b"lift"] * 3)}
    path = demos(tmp_path / "lift.hdf5", [3], demo_0=words)
    result = import_store(RobomimicImport(), path, tmp_path / "store")
    assert "left out, as only numbers are read: task (text)" in str(result.findings[0])
    export_store(RobomimicExport(), result.snapshot, tmp_path / "own.hdf5")
    with pytest.raises(InputError, match="distil wrote this file, and reads it back whole; leave observations="):
        import_store(RobomimicImport(observations=("pose",)), tmp_path / "own.hdf5", tmp_path / "again")


def test_other_files_are_not_read(tmp_path: Path) -> None:
    demos(tmp_path / "other.hdf5", [3])
    path = demos(tmp_path / "lift.hdf5", [3])
    with h5py.File(path, "a") as file:
        file["data/demo_1"] = h5py.ExternalLink(str(tmp_path / "other.hdf5"), "/data/demo_0")
    with pytest.raises(InputError, match=r"lift.hdf5:/data/demo_1: an external link"):
        import_store(RobomimicImport(), path, tmp_path / "store")


@pytest.mark.parametrize(
    "action", [spaces.Box(-2, 2, (2, 3), np.float64), spaces.Discrete(3, start=1), spaces.MultiDiscrete([3, 4])]
)
def test_round_trip(tmp_path: Path, make_store: MakeStore, same: Any, all_episodes: Any, action: Any) -> None:
    nested = spaces.Dict(
        image=spaces.Box(0, 255, (36, 34, 3), np.uint8),
        state=spaces.Tuple([spaces.Box(-np.inf, np.inf, (3,), np.float64), spaces.Discrete(5, start=2)]),
    )
    snapshot = make_store(nested, action, mixed=True, lengths=(4, 1, 5000))
    findings = export_store(RobomimicExport(), snapshot, tmp_path / "out" / "trip.hdf5")
    assert bool(findings) == (not isinstance(action, spaces.Box))
    back = import_store(RobomimicImport(), tmp_path / "out" / "trip.hdf5", tmp_path / "back").snapshot
    assert back.spec == snapshot.spec
    same(all_episodes(snapshot), all_episodes(back))


def test_robomimic_reads_what_is_exported(tmp_path: Path, make_store: MakeStore, all_episodes: Any) -> None:
    dataset = robomimic()
    obs_utils = robomimic("utils.obs_utils")
    space = spaces.Dict(pose=spaces.Box(-9, 9, (3,), np.float32), gap=spaces.Box(-9, 9, (), np.float32))
    snapshot = make_store(space, lengths=(4, 2, 6))
    export_store(RobomimicExport(), snapshot, tmp_path / "trip.hdf5")
    obs_utils.initialize_obs_utils_with_obs_specs({"obs": {"low_dim": ["pose", "gap"]}})
    keys = {"obs_keys": ("pose", "gap"), "dataset_keys": ("actions", "rewards", "dones")}
    for cache in ("all", None):
        reader = dataset.SequenceDataset(str(tmp_path / "trip.hdf5"), **keys, hdf5_cache_mode=cache)
        assert len(reader) == 12
        at = 0
        for episode in all_episodes(snapshot):
            for step in range(episode.length):
                item = reader[at]
                at += 1
                np.testing.assert_array_equal(item["actions"][0], episode.actions[step])
                np.testing.assert_array_equal(item["obs"]["pose"][0], episode.observations["obs/pose"][step])
                np.testing.assert_array_equal(item["next_obs"]["gap"][0, 0], episode.observations["obs/gap"][step + 1])
                assert item["rewards"][0] == pytest.approx(episode.rewards[step])


class StandIn:
    """What robomimic asks of an environment: it counts its steps, ends after four, and keeps the rows that it showed."""

    rollout_exceptions = ()
    name = type = action_dimension = None
    render = get_observation = get_reward = get_goal = set_goal = is_done = create_for_data_processing = None

    def __init__(self) -> None:
        self.made: list[list[np.ndarray[Any, Any]]] = []

    def reset(self) -> Any:
        self.made.append([np.array([len(self.made), 0.0])])
        return {"flat": self.made[-1][0]}

    def reset_to(self, state: Any) -> Any:
        return {"flat": self.made[-1][0]}

    def get_state(self) -> Any:
        return {"states": self.made[-1][-1]}

    def step(self, action: Any) -> Any:
        rows = self.made[-1]
        rows.append(np.array([len(self.made), float(len(rows))]))
        return {"flat": rows[-1]}, 1.0, len(rows) > 4, {}

    def is_success(self) -> Any:
        return {"task": False}

    def serialize(self) -> Any:
        return {"env_name": "Stand-in", "type": 2, "env_kwargs": {}}


class Eighth:
    """What robomimic asks of a policy."""

    def __init__(self) -> None: ...
    def start_episode(self) -> None: ...
    def __call__(self, ob: Any, goal: Any = None) -> Any:
        return ob["flat"].astype(np.float32) / 8


def roll_out(path: Path, env: Any, policy: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """robomimic's own rollout script, then its own split into filter keys."""
    script, split = robomimic("scripts.run_trained_agent"), robomimic("scripts.split_train_val").split_train_val_from_hdf5
    robomimic("utils.obs_utils").initialize_obs_utils_with_obs_specs({"obs": {"low_dim": ["flat"]}})
    monkeypatch.setattr(script.FileUtils, "policy_from_checkpoint", lambda **_: (policy, {}))
    monkeypatch.setattr(script.FileUtils, "env_from_checkpoint", lambda **_: (env, {}))
    words = {"agent": "-", "n_rollouts": 10, "horizon": 9, "env": None, "render": False, "video_path": None, "video_skip": 5}
    words |= {"camera_names": ["x"], "dataset_path": str(path), "dataset_obs": True, "seed": None}
    script.run_trained_agent(argparse.Namespace(**words))
    split(str(path), val_ratio=0.3)


def test_what_robomimic_wrote(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    """robomimic's own rollout script, on a stand-in environment and policy, then its own split into filter keys."""
    policy_class, env_class = robomimic("algo").RolloutPolicy, robomimic("envs.env_base").EnvBase
    env: Any = type("Env", (StandIn, env_class), {})()
    policy: Any = type("Policy", (Eighth, policy_class), {})()
    path = tmp_path / "rollouts.hdf5"
    roll_out(path, env, policy, monkeypatch)
    capsys.readouterr()
    snapshot = import_store(RobomimicImport(), path, tmp_path / "store").snapshot
    assert snapshot.spec.observation.tree == "obs"
    assert snapshot.num_episodes == len(env.made) == 10
    for index, rows in enumerate(env.made):
        episode = snapshot.episode(index)
        np.testing.assert_array_equal(episode.observations["obs"], rows)
        np.testing.assert_array_equal(episode.actions, np.float32(rows[:-1]) / 8)
        assert (episode.total_reward, episode.terminated) == (4.0, True)
    assert import_store(RobomimicImport(filter_key="valid"), path, tmp_path / "valid").snapshot.num_episodes == 3


@pytest.mark.parametrize("where", ["success", "is_success", "infos/success", "info/is_success"])
def test_success_comes_along_from_attributes_and_from_steps(tmp_path: Path, where: str) -> None:
    path = demos(tmp_path / "steps.hdf5", [3, 2], demo_0={where: [0, 0, 1]}, demo_1={where: [0, 0]})
    assert [import_success(path, tmp_path / "a", number) for number in (0, 1)] == [True, False]
    if "/" in where:
        return
    path = demos(tmp_path / "attrs.hdf5", [3, 2])
    with h5py.File(path, "a") as file:
        file["data/demo_0"].attrs[where], file["data/demo_1"].attrs[where] = True, "True"
    assert [import_success(path, tmp_path / "b", number) for number in (0, 1)] == [True, None]
    findings = import_store(RobomimicImport(), path, tmp_path / "c").findings
    assert any("episode demo_1: its attribute" in str(found) and "no flag" in str(found) for found in findings)


def import_success(path: Path, store: Path, number: int) -> bool | None:
    return import_store(RobomimicImport(), path, store).snapshot.episode(number).success


def test_a_done_that_is_no_flag_is_refused(tmp_path: Path) -> None:
    path = demos(tmp_path / "lift.hdf5", [3], demo_0={"dones": [0, np.nan, 1]})
    with pytest.raises(RunError, match=r"demo_0, step 1: dones is nan, neither 0 nor 1"):
        import_store(RobomimicImport(), path, tmp_path / "store")


def test_a_next_obs_that_is_not_the_next_observation_is_said(tmp_path: Path) -> None:
    path = demos(tmp_path / "lift.hdf5", [3], demo_0={"next_obs/pose": np.full((3, 2), 9.0)})
    findings = [str(found) for found in import_store(RobomimicImport(), path, tmp_path / "store").findings]
    assert any("demo_0, step 0: next_obs/pose isn't the observation of the next step" in found for found in findings)
    findings = [str(found) for found in import_store(RobomimicImport(), demos(path, [3]), tmp_path / "b").findings]
    assert not any("isn't the observation" in found for found in findings)


def test_keys_of_groups_are_read(tmp_path: Path) -> None:
    """Isaac Lab's observations and robomimic's action_dict are groups."""
    arrays = {f"{group}/{key}": np.full((3, 1), value) for group in ("obs", "next_obs") for key, value in (("arm/q", 1.5),)}
    arrays |= {"action_dict/turn": np.full((3, 2), 2.0), "action_dict/grip": np.full((3, 1), 3.0)}
    path = demos(tmp_path / "lift.hdf5", [3], demo_0=arrays)
    assert set(import_store(RobomimicImport(), path, tmp_path / "a").snapshot.episode(0).observations) == {
        "obs/arm/q",
        "obs/depth",
        "obs/pose",
    }
    options = RobomimicImport(observations=("arm/q",), action=("action_dict/turn", "action_dict/grip"))
    episode = import_store(options, path, tmp_path / "b").snapshot.episode(0)
    np.testing.assert_array_equal(episode.observations["obs/arm/q"][0], [1.5])
    np.testing.assert_array_equal(episode.actions[0], [2, 2, 3])
    with pytest.raises(InputError, match=r"arm is a group; name its parts: \[arm/q\]"):
        import_store(RobomimicImport(observations=("arm",)), path, tmp_path / "c")
