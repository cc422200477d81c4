from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import gymnasium as gym
import msgpack
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from gymnasium import spaces

from distil.errors import InputError, RunError
from distil.interchange import rllib
from distil.interchange.rllib import RLlibExport, RLlibImport
from distil.interchange.transfer import export_store, import_store
from distil.store import Snapshot

MakeStore = Callable[..., Snapshot]
NESTED = spaces.Dict(
    image=spaces.Box(0, 255, (8, 9, 3), np.uint8), state=spaces.Tuple([spaces.Box(-1, 1, (2,)), spaces.Discrete(5)])
)


@pytest.mark.parametrize("layout", ["steps", "episodes"])
@pytest.mark.parametrize("action", [None, spaces.Discrete(3), spaces.MultiDiscrete([2, 4]), spaces.MultiBinary(3)])
def test_demonstrations_come_back_whole(
    make_store: MakeStore, all_episodes: Any, same: Any, tmp_path: Path, layout: Any, action: Any, monkeypatch: Any
) -> None:
    monkeypatch.setattr(rllib, "_PART_BYTES", 1)
    before = make_store(**({} if action is None else {"action": action}))
    said = [finding.what for finding in export_store(RLlibExport(layout=layout), before, tmp_path / "out")]
    assert any("normalize_actions=False" in what for what in said) == (action is None)
    result = import_store(RLlibImport(), tmp_path / "out", tmp_path / "again")
    same(all_episodes(before), all_episodes(result.snapshot))
    assert result.snapshot.digest == before.digest


def test_labels_and_nested_observations_need_the_layout_episodes(
    make_store: MakeStore, all_episodes: Any, same: Any, tmp_path: Path
) -> None:
    before = make_store(observation=NESTED, mixed=True)
    with pytest.raises(InputError, match="use layout=episodes"):
        export_store(RLlibExport(), before, tmp_path / "out")
    assert export_store(RLlibExport(layout="episodes"), before, tmp_path / "out")
    same(all_episodes(before), all_episodes(import_store(RLlibImport(), tmp_path / "out", tmp_path / "again").snapshot))


def write_steps(path: Path, rows: list[tuple[str, int, float, float, int, bool, bool]]) -> None:
    """Rows of (eps_id, action, obs, new_obs, reward, terminated, truncated)."""
    names = ("eps_id", "actions", "obs", "new_obs", "rewards", "terminateds", "truncateds")
    columns = {name: [row[i] for row in rows] for i, name in enumerate(names)}
    for name in ("obs", "new_obs"):
        columns[name] = [[value] for value in columns[name]]
    path.parent.mkdir(exist_ok=True)
    pq.write_table(pa.table(columns), path)


def chunk(name: str, first: int, num: int, end: str = "") -> list[Any]:
    rows = [[name, step % 2, float(step), float(step + 1), 1, False, False] for step in range(first, first + num)]
    rows[-1][5:] = [end == "terminated", end == "truncated"]
    return [tuple(row) for row in rows]


def test_pieces_are_joined_and_what_is_repeated_is_left_out(tmp_path: Path) -> None:
    """CORRECTNESS 1 and 2: an episode in pieces keeps its own end and its final observation."""
    write_steps(tmp_path / "in" / "0.parquet", chunk("a", 0, 3) + chunk("b", 0, 2) + chunk("c", 0, 4, "truncated"))
    again = chunk("a", 0, 3) + chunk("b", 0, 2)
    write_steps(tmp_path / "in" / "1.parquet", again + chunk("a", 3, 2, "terminated") + chunk("b", 2, 1))
    result = import_store(RLlibImport(), tmp_path / "in", tmp_path / "store")
    episodes = {e.length: e for e in (result.snapshot.episode(i) for i in range(3))}
    assert {num: (e.terminated, e.truncated) for num, e in episodes.items()} == {
        5: (True, False),
        4: (False, True),
        3: (False, True),
    }
    np.testing.assert_array_equal(episodes[5].observations["obs"][:, 0], np.arange(6))
    said = " ".join(finding.what for finding in result.findings)
    assert "2 pieces of episodes are in it more than once" in said
    assert "1 episodes have no end" in said


@pytest.mark.parametrize(
    ("rows", "what"),
    [
        (
            chunk("a", 0, 2) + chunk("b", 0, 1, "terminated") + chunk("a", 3, 1, "terminated"),
            "episode a, step 2: a piece of it doesn't follow",
        ),
        (
            [("a", 0, 0.0, 1.0, 1, False, False), ("a", 0, 5.0, 6.0, 1, True, False)],
            "episode a, step 0: new_obs isn't the next row's obs",
        ),
        (
            [("a", 0, 0.0, 1.0, 1, True, False), ("a", 0, 1.0, 2.0, 1, True, False)],
            "episode a, step 0: terminateds before its last row",
        ),
    ],
)
def test_bad_rows_are_named_and_skipped_only_when_asked(tmp_path: Path, rows: Any, what: str) -> None:
    write_steps(tmp_path / "in" / "0.parquet", [*rows, *chunk("z", 0, 2, "terminated")])
    with pytest.raises(RunError, match=what):
        import_store(RLlibImport(), tmp_path / "in", tmp_path / "one")
    result = import_store(RLlibImport(), tmp_path / "in", tmp_path / "two", skip_bad=True)
    assert result.num_skipped == 1
    assert result.snapshot.num_episodes == (2 if len(rows) == 4 else 1)


def test_normalised_actions_are_put_into_the_environments_bounds(tmp_path: Path) -> None:
    """CORRECTNESS 9: RLlib's [-1, 1] (not clipped) becomes the environment's bounds."""
    path = tmp_path / "in.parquet"
    write_steps(path, chunk("a", 0, 3, "terminated"))
    table = pq.read_table(path)
    pq.write_table(table.set_column(1, "actions", pa.array([[-1.0], [0.5], [7.0]], pa.list_(pa.float32()))), path)
    options = RLlibImport(action_low=(0.0,), action_high=(4.0,), normalised_actions=True)
    assert import_store(options, path, tmp_path / "store").snapshot.episode(0).actions.tolist() == [[0.0], [3.0], [4.0]]
    result = import_store(RLlibImport(), path, tmp_path / "other")
    assert result.snapshot.episode(0).actions.tolist() == [[-1.0], [0.5], [7.0]]
    assert any("action_low" in finding.what for finding in result.findings)


@pytest.mark.parametrize("layout", ["steps", "episodes"])
def test_actions_beyond_one_are_not_normalised_ones(tmp_path: Path, layout: str) -> None:
    """CORRECTNESS 37: RLlib's own samples are clipped and scaled, an environment's own actions are taken as they are."""
    path, options = tmp_path / "in.parquet", {}
    if layout == "steps":
        write_steps(path, chunk("a", 0, 3, "terminated"))
        table = pq.read_table(path)
        pq.write_table(table.set_column(1, "actions", pa.array([[0.5], [1.5], [-1.75]], pa.list_(pa.float32()))), path)
        options = {"action_low": (-2.0,), "action_high": (2.0,)}
    else:
        write_items(path, spaces.Box(-2, 2, (1,)), [0.5, 1.5, -1.75])
    with pytest.raises(
        InputError, match=r"episode a: the action at step 1 lies outside \[-1, 1\].* set normalised_actions=false"
    ):
        import_store(RLlibImport(**options), path, tmp_path / "no", skip_bad=True)
    assert not (tmp_path / "no").exists()
    for normalised, wanted, said in ((False, [0.5, 1.5, -1.75], ""), (True, [1.0, 2.0, -2.0], "clipped, as RLlib does")):
        chosen = RLlibImport(**options, normalised_actions=normalised)
        result = import_store(chosen, path, tmp_path / str(normalised))
        assert result.snapshot.episode(0).actions[:, 0].tolist() == wanted
        assert said in " ".join(finding.what for finding in result.findings)


def test_normalised_actions_are_said(tmp_path: Path) -> None:
    write_items(tmp_path / "in.parquet", spaces.Box(-2, 2, (1,)), [0.5, 1.0, -1.0])
    result = import_store(RLlibImport(), tmp_path / "in.parquet", tmp_path / "store")
    assert result.snapshot.episode(0).actions[:, 0].tolist() == [1.0, 2.0, -2.0]
    assert "taken as normalised, and scaled from [-1, 1] to -2 to 2; normalised_actions=false" in str(result.findings[0])
    write_items(tmp_path / "unit.parquet", spaces.Box(-1, 1, (1,)), [0.5, 3.0, -1.0])
    result = import_store(RLlibImport(), tmp_path / "unit.parquet", tmp_path / "unit")
    assert result.snapshot.episode(0).actions[:, 0].tolist() == [0.5, 1.0, -1.0]
    assert "the action at step 1 lies outside [-1, 1]: such actions are clipped" in str(result.findings[0])


def write_items(path: Path, action: spaces.Box, actions: list[float], infos: Any = None) -> None:
    """One episode as RLlib itself writes a row of the layout episodes."""
    single_agent_episode = pytest.importorskip("ray.rllib.env.single_agent_episode")
    msgpack_numpy = pytest.importorskip("msgpack_numpy")
    observation = spaces.Box(-9, 9, (1,), np.float32)
    episode = single_agent_episode.SingleAgentEpisode(id_="a", observation_space=observation, action_space=action)
    episode.add_env_reset(np.zeros(1, np.float32))
    for step, value in enumerate(actions):
        last, row = step == len(actions) - 1, np.array([step], np.float32)
        episode.add_env_step(row, np.array([value], np.float32), 1.0, terminated=last, infos=infos and infos[step])
    episode.to_numpy()
    item = msgpack.packb(episode.get_state(), default=msgpack_numpy.encode)
    pq.write_table(pa.table({"item": pa.array([item], pa.binary())}), path)


@pytest.mark.parametrize(
    ("key", "said", "success"),
    [("is_success", [True, False], False), ("success", [True, False], True), ("is_success", [False, float("nan")], False)],
)
def test_success_of_the_infos_comes_along(tmp_path: Path, key: str, said: list[Any], success: bool) -> None:
    infos = [{key: value, "other": "text"} for value in said]
    write_items(tmp_path / "item.parquet", spaces.Box(-1, 1, (1,)), [0.5, 0.25], infos)
    assert import_store(RLlibImport(), tmp_path / "item.parquet", tmp_path / "store").snapshot.episode(0).success is success


@pytest.mark.parametrize(
    ("name", "values", "success"),
    [
        ("infos", ['{"is_success": true}', '{"is_success": false}', "no JSON"], False),
        ("infos", [{"success": False}, {"success": True}, {"success": False}], True),
        ("is_success", [0.0, 1.0, 1.0], True),
        ("infos", [b"\x80", None, "[1]"], None),
    ],
)
def test_success_of_rows_comes_along(tmp_path: Path, name: str, values: list[Any], success: bool | None) -> None:
    write_steps(tmp_path / "rows.parquet", chunk("a", 0, 3, "t"))
    table = pq.read_table(tmp_path / "rows.parquet")
    if values[0] == b"\x80":
        values = [value if isinstance(value, bytes | None) else value.encode() for value in values]
    pq.write_table(table.append_column(name, pa.array(values)), tmp_path / "rows.parquet")
    snapshot = import_store(RLlibImport(), tmp_path / "rows.parquet", tmp_path / "store").snapshot
    assert snapshot.episode(0).success is success


def test_other_kinds_of_data_are_named(tmp_path: Path) -> None:
    state = msgpack.packb({"id_": "a", "agent_episodes": [], "is_terminated": True})
    pq.write_table(pa.table({"item": pa.array([state], pa.binary())}), tmp_path / "items.parquet")
    with pytest.raises(InputError, match="multi-agent episodes aren't read"):
        import_store(RLlibImport(), tmp_path / "items.parquet", tmp_path / "store")
    write_steps(tmp_path / "in" / "0.parquet", chunk("a", 0, 2, "terminated"))
    table = pq.read_table(tmp_path / "in" / "0.parquet")
    pq.write_table(table.append_column("agent_id", pa.array(["one", "two"])), tmp_path / "in" / "0.parquet")
    with pytest.raises(InputError, match="several agents' steps"):
        import_store(RLlibImport(), tmp_path / "in", tmp_path / "store")
    (tmp_path / "old").mkdir()
    (tmp_path / "old" / "output.json").write_text("{}")
    with pytest.raises(InputError, match="older JSON format isn't read"):
        import_store(RLlibImport(), tmp_path / "old", tmp_path / "store")
    with pytest.raises(InputError, match="one array of observations and one of actions"):
        import_store(RLlibImport(observations=("x",)), tmp_path / "in", tmp_path / "store")


def test_nothing_is_unpickled(tmp_path: Path) -> None:
    item = {"id_": "a", "actions": {b"nd": True, b"type": "|O", b"kind": b"O", b"shape": [1], b"data": b"cos\nsystem\n"}}
    pq.write_table(pa.table({"item": pa.array([msgpack.packb(item)], pa.binary())}), tmp_path / "items.parquet")
    with pytest.raises(RunError, match="an array of objects"):
        import_store(RLlibImport(), tmp_path / "items.parquet", tmp_path / "store")
    write_steps(tmp_path / "in" / "0.parquet", chunk("a", 0, 2, "terminated"))
    table = pq.read_table(tmp_path / "in" / "0.parquet")
    table = table.set_column(2, "obs", pa.array(["BCJNGGhAiw"] * 2))
    pq.write_table(table, tmp_path / "in" / "0.parquet")
    with pytest.raises(InputError, match="compressed with pickle; record with output_compress_columns"):
        import_store(RLlibImport(), tmp_path / "in", tmp_path / "store")


LEARNED = {"steps": "box", "episodes": "discrete"}  # layout -> kind of actions


@pytest.fixture(scope="module")
def rllib_itself(
    ray_session: Any, module_store: MakeStore, tmp_path_factory: pytest.TempPathFactory
) -> dict[str, tuple[Path, dict[str, float]]]:
    """Layout -> what RLlib has recorded, and what its BC says about our export. One process for all: it takes 10 s to start."""
    folder = tmp_path_factory.mktemp("rllib")
    jobs = [["record", str(folder / f"in {layout}"), "Pendulum-v1", layout] for layout in LEARNED]
    for layout, kind in LEARNED.items():
        action = spaces.Box(-1.0, 1.0, (2,), np.float32) if kind == "box" else spaces.Discrete(3)
        observation = spaces.Box(-np.inf, np.inf, (3,), np.float32)
        before = module_store(name=layout, observation=observation, action=action, lengths=(20, 30, 25))
        export_store(RLlibExport(layout=layout), before, folder / f"out {layout}")
        jobs.append(["clone", str(folder / f"out {layout}"), kind, layout])
    address = ray_session.get_runtime_context().gcs_address
    command = [sys.executable, str(Path(__file__).parent / "rllib_real.py"), address, json.dumps(jobs)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=600, check=False)
    assert done.returncode == 0, done.stderr[-3000:]
    results = json.loads(done.stdout.rsplit("RESULT", 1)[1].splitlines()[0])
    return {layout: (folder / f"in {layout}", result) for layout, result in zip(LEARNED, results[len(LEARNED) :], strict=True)}


@pytest.mark.ray
@pytest.mark.parametrize("layout", LEARNED)
def test_what_rllib_recorded_is_what_the_environment_saw(rllib_itself: Any, tmp_path: Path, layout: str) -> None:
    bounds = {"action_low": (-2.0,), "action_high": (2.0,)} if layout == "steps" else {}
    options = RLlibImport(**bounds, normalised_actions=True)  # its samples go beyond 1: only the user can say what they are
    snapshot = import_store(options, rllib_itself[layout][0], tmp_path / "store").snapshot
    assert snapshot.num_transitions == 120
    env = gym.make("Pendulum-v1").unwrapped
    for index in range(snapshot.num_episodes):
        episode = snapshot.episode(index)
        env.reset()
        for step in range(episode.length):
            cosine, sine, speed = episode.observations["obs"][step]
            env.state = np.array([np.arctan2(sine, cosine), speed])
            observation, reward, *_ = env.step(episode.actions[step])
            np.testing.assert_allclose(observation, episode.observations["obs"][step + 1], atol=1e-4)
            assert reward == pytest.approx(episode.rewards[step], abs=1e-3)


@pytest.mark.ray
@pytest.mark.parametrize("layout", LEARNED)
def test_an_rllib_bc_learns_from_what_is_written(rllib_itself: Any, layout: str) -> None:
    result = rllib_itself[layout][1]
    assert np.isfinite(result["loss"])
    assert result["steps"] >= 25
