from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from click.testing import CliRunner, Result
from gymnasium import spaces

from distil.cli.interchange import store_export, store_formats, store_import
from distil.errors import InputError, RunError
from distil.interchange.episodes import demonstration
from distil.spaces import action_spec, observation_spec
from distil.store import Store, StoreSpec

h5py = pytest.importorskip("h5py", reason="needs pip install 'distil[robomimic]'")


@pytest.fixture
def store(tmp_path: Path) -> Path:
    observation = observation_spec(spaces.Box(-9, 9, (4,), np.float32))
    made = Store.create(tmp_path / "store", StoreSpec(observation=observation, action=action_spec(spaces.Discrete(2))))
    writer = made.writer("w")
    for number in range(2):
        rows = np.full((4, 4), number, np.float32)
        facts = {"uid": f"e{number}", "terminated": True, "truncated": False}
        writer.add(demonstration(observations={"obs": rows}, actions=np.array([0, 1, 1]), rewards=np.ones(3), **facts))
    entry = writer.seal()
    assert entry is not None
    made.commit([entry])
    return made.path


def run(command: object, *words: object) -> Result:
    result = CliRunner().invoke(command, [str(word) for word in words], catch_exceptions=False)  # type: ignore[arg-type]
    assert result.exit_code == 0, result.output
    return result


def test_export_and_import_round_trip(tmp_path: Path, store: Path) -> None:
    out = run(store_export, "robomimic", store, tmp_path / "demos.hdf5", "--json")
    assert json.loads(out.stdout)["episodes"] == 2
    assert "continuous actions only" in json.loads(out.stdout)["findings"][0]
    back = run(store_import, "robomimic", tmp_path / "demos.hdf5", tmp_path / "back", "--json")
    assert json.loads(back.stdout)["added"] == 2
    assert Store.open(tmp_path / "back").snapshot().digest == Store.open(store).snapshot().digest
    assert "there_already  2" in run(store_import, "robomimic", tmp_path / "demos.hdf5", tmp_path / "back").stdout


def test_a_version_by_number_or_tag(tmp_path: Path, store: Path) -> None:
    made = Store.open(store)
    made.tag("before")
    writer = made.writer("w2")
    rows, facts = {"obs": np.zeros((3, 4), np.float32)}, {"uid": "e9", "terminated": True, "truncated": False}
    writer.add(demonstration(observations=rows, actions=np.array([0, 1]), rewards=np.ones(2), **facts))
    entry = writer.seal()
    assert entry is not None
    made.commit([entry])
    for name, words, expected in (("a", (), 3), ("b", ("--version", "1"), 2), ("c", ("--version", "before"), 2)):
        out = run(store_export, "robomimic", store, tmp_path / f"{name}.hdf5", *words, "--json")
        assert json.loads(out.stdout)["episodes"] == expected
    with pytest.raises(InputError, match="no tag 'never'; there is before"):
        run(store_export, "robomimic", store, tmp_path / "x", "--version", "never")


def test_foreign_data_with_an_environments_spaces(tmp_path: Path) -> None:
    with h5py.File(tmp_path / "demos.hdf5", "w") as file:
        for number, fault in enumerate((0.0, np.nan)):
            group = file.create_group(f"data/demo_{number}")
            group["obs/flat"] = np.full((3, 4), fault)
            group["actions"] = np.array([[0], [1], [0]])
    with pytest.raises(RunError, match="demo_1, step 0: obs is NaN"):
        run(store_import, "robomimic", tmp_path / "demos.hdf5", tmp_path / "a", "--env", "CartPole-v1")
    words = ("demos.hdf5", "b", "--env", "CartPole-v1", "--skip-bad", "final_observation=drop")
    result = run(store_import, "robomimic", tmp_path / words[0], tmp_path / words[1], *words[2:])
    assert "skipped: " in result.stderr
    assert "note: " in result.stderr
    snapshot = Store.open(tmp_path / "b").snapshot()
    assert (snapshot.num_episodes, snapshot.num_transitions) == (1, 2)
    assert (snapshot.spec.action.describe(), snapshot.spec.env["id"]) == ("Discrete(2)", "CartPole-v1")


def test_a_recipes_environment_gives_the_spaces(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Kind import, kwargs and wrappers, which a Gymnasium id cannot express."""
    pq.write_table(pa.table({"episode": [0] * 3, "obs": [[1.0, 0.0]] * 3, "action": [[0.5]] * 3}), tmp_path / "d.parquet")
    (tmp_path / "mine_spaces.py").write_text(
        "import gymnasium as gym, numpy as np\n"
        "class Env(gym.Env):\n"
        "    def __init__(self, size):\n"
        "        self.observation_space = gym.spaces.Box(-3, 3, (size,), np.float32)\n"
        "        self.action_space = gym.spaces.Box(-2, 2, (1,), np.float32)\n"
        "class Named(gym.ObservationWrapper):\n"
        "    def __init__(self, env, key):\n"
        "        super().__init__(env)\n"
        "        self.observation_space = gym.spaces.Dict({key: env.observation_space})\n"
    )
    wrapper = {"target": "mine_spaces:Named", "kwargs": {"key": "pose"}}
    env = {"kind": "import", "target": "mine_spaces:Env", "kwargs": {"size": 2}, "wrappers": [wrapper]}
    (tmp_path / "r.yaml").write_text(json.dumps({"env": env}))
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(tmp_path)
    run(store_import, "parquet", "d.parquet", "s", "--recipe", "r.yaml")
    snapshot = Store.open("s").snapshot()
    assert snapshot.spec.observation == observation_spec(spaces.Dict(pose=spaces.Box(-3, 3, (2,), np.float32)))
    assert snapshot.spec.action == action_spec(spaces.Box(-2, 2, (1,), np.float32))
    assert snapshot.spec.env["kwargs"] == {"size": 2}
    run(store_import, "parquet", "d.parquet", "s", "--recipe", "r.yaml")
    with pytest.raises(InputError, match="the store has observations"):  # not those of another environment, in silence
        run(store_import, "parquet", "d.parquet", "s", "--env", "CartPole-v1")
    (tmp_path / "none.yaml").write_text("data: {path: s}\n")
    with pytest.raises(InputError, match=r"none\.yaml: it has no env"):
        run(store_import, "parquet", "d.parquet", "t", "--recipe", "none.yaml")
    with pytest.raises(InputError, match="give only one of them"):
        run(store_import, "parquet", "d.parquet", "t", "--env", "CartPole-v1", "--recipe", "r.yaml")


def test_formats_are_listed_and_checked(tmp_path: Path, store: Path) -> None:
    listed = run(store_formats).stdout
    assert "export minari" in listed
    assert "final_observation=repeat" in listed
    assert "zarr" in json.loads(run(store_formats, "--json").stdout)["import"]
    with pytest.raises(InputError, match="did you mean robomimic"):
        run(store_export, "robomimik", store, tmp_path / "x")
    with pytest.raises(InputError, match="unknown key action; did you mean actions"):
        run(store_export, "robomimic", store, tmp_path / "x", "action=expert")
