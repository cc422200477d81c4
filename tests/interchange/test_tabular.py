from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from distil.errors import InputError, RunError
from distil.interchange.episodes import Finding
from distil.interchange.parquet import ParquetImport
from distil.interchange.transfer import import_store
from distil.types import Episode

polars = pytest.importorskip("polars")


def polars_table(with_next: bool = False, with_last: bool = False) -> Any:
    """Two episodes of 3 and 2 actions as a user would write them."""
    rows = []
    for episode, num in (("a", 3), ("b", 2)):
        for step in range(num + with_last):
            last = step == num
            row: dict[str, Any] = {"episode": episode, "obs_0": float(step), "obs_1": 10.0 * step}
            row["action"] = None if last else step % 2
            row["reward"] = None if last else 1.0
            row["terminated"] = None if last else episode == "a" and step == num - 1
            row["truncated"] = None if last else episode == "b" and step == num - 1
            if with_next:
                row |= {"next_obs_0": step + 1.0, "next_obs_1": 10.0 * (step + 1)}
            rows.append(row)
    return polars.DataFrame(rows)


@pytest.mark.parametrize("how", ["next", "last", "repeat", "drop"])
def test_rows_of_others_become_episodes(tmp_path: Path, how: str) -> None:
    """CORRECTNESS 1 and 2: terminated stays apart from truncated, and the final observation is found where there is one."""
    polars_table(how == "next", how == "last").write_parquet(tmp_path / "rows.parquet")
    options = ParquetImport(final_observation="drop" if how == "drop" else "repeat")
    result = import_store(options, tmp_path / "rows.parquet", tmp_path / "store")
    first, second = (result.snapshot.episode(i) for i in range(2))
    lost = how == "drop"
    assert (first.length, second.length) == (3 - lost, 2 - lost)
    assert first.observations["obs"].shape == (4 - lost, 2)
    assert first.observations["obs"][-1, 0] == {"next": 3, "last": 3, "repeat": 2, "drop": 2}[how]
    assert (first.terminated, first.truncated, second.terminated, second.truncated) == (not lost, lost, False, True)
    assert (result.snapshot.spec.action.leaf.kind, first.actions.tolist()) == ("discrete", [0, 1, 0][: 3 - lost])
    assert first.labelled.all()
    said = {"next": [], "last": ["no column"], "repeat": ["no column", "holds no "], "drop": ["no column", "holds no "]}
    assert [f.what[:9] for f in result.findings] == said[how]


def test_columns_are_named_by_options_and_no_reward_is_said(tmp_path: Path) -> None:
    table = {
        "run": [7, 7, 9],
        "pos": [[1.0, 2.0]] * 3,
        "speed": [0.5] * 3,
        "u": [[0.25], [0.5], [0.75]],
        "mood": ["up", "down", "up"],
    }
    pq.write_table(pa.table(table), tmp_path / "rows.parquet")
    findings: list[Finding] = []
    options = ParquetImport(episode="run", observations=("pos", "speed"), action="u", demonstrations=False, infos=("mood",))
    result = import_store(options, tmp_path, tmp_path / "store", report=findings.append)
    episode = result.snapshot.episode(0)
    assert {name: values.shape for name, values in episode.observations.items()} == {"obs/pos": (3, 2), "obs/speed": (3, 1)}
    assert (episode.terminated, episode.truncated, episode.labelled.any(), episode.total_reward) == (False, True, False, 0.0)
    assert result.snapshot.spec.action.leaf.kind == "box"
    assert episode.infos == ('{"mood": "up"}', '{"mood": "down"}')
    assert any("rewards are 0" in str(finding) for finding in findings)


@pytest.mark.parametrize(
    ("column", "values", "what"),
    [
        ("obs_0", [0.0, None, 2.0, 0.0, 1.0], "episode a, step 1: obs_0 has no value"),
        ("obs_0", [0.0, 1.0, float("nan"), 0.0, 1.0], "episode a, step 2: obs is NaN"),
        ("reward", [1.0, 1.0, 1.0, float("inf"), 1.0], "episode b, step 0: reward is NaN or infinite"),
        ("terminated", [True, False, True, False, False], "episode a, step 0: terminated before its last row"),
        ("terminated", [None, False, True, False, False], "episode a: terminated has no value in some rows"),
        ("terminated", [0.0, float("nan"), 1.0, 0.0, 0.0], "episode a, step 1: terminated is nan, neither 0 nor 1"),
        (
            "next_obs",
            [[1.0, 10.0], [9.0, 20.0], [3.0, 30.0], [1.0, 10.0], [2.0, 20.0]],
            "episode a, step 1: next_obs isn't the",
        ),
        ("step", [0, 1, 1, 0, 1], "episode a, step 1: step 1 is a duplicate"),
        ("step", [0, 1, 3, 0, 1], "episode a, step 2: step goes from 1 to 3: rows are missing"),
        ("step", [0, 1, 2, 2, 3], "episode b, step 0: begins with step 2, not 0: rows are missing"),
        ("timestamp", [0.0, 0.5, 0.5, 0.0, 1.0], "episode a, step 1: timestamp 0.5 is a duplicate"),
    ],
)
def test_bad_rows_are_named_and_skipped_only_when_asked(tmp_path: Path, column: str, values: list[Any], what: str) -> None:
    frame = polars_table()
    if column == "next_obs":
        frame = frame.with_columns(polars.concat_list("obs_0", "obs_1").alias("obs")).drop("obs_0", "obs_1")
    frame = frame.with_columns(polars.Series(column, values, strict=False))
    frame.write_parquet(tmp_path / "rows.parquet")
    with pytest.raises(RunError, match=what) as error:
        import_store(ParquetImport(), tmp_path / "rows.parquet", tmp_path / "one")
    assert "rows.parquet" in str(error.value)
    result = import_store(ParquetImport(), tmp_path / "rows.parquet", tmp_path / "two", skip_bad=True)
    assert result.num_skipped == 1
    assert result.snapshot.num_episodes == 1


def table(**columns: Any) -> pa.Table:
    """Two episodes of 3 and 2 steps."""
    steps = {"episode": [0, 0, 0, 1, 1], "obs": [[float(i)] for i in (0, 1, 2, 10, 11)], "action": [0, 1, 0, 1, 0]}
    return pa.table(steps | {"reward": [1.0] * 5} | columns)


def taken(tmp_path: Path, rows: pa.Table, **options: Any) -> tuple[list[Episode], list[str]]:
    pq.write_table(rows, tmp_path / "rows.parquet")
    result = import_store(ParquetImport(**options), tmp_path / "rows.parquet", tmp_path / "store")
    return [result.snapshot.episode(i) for i in range(result.num_added)], [f.what for f in result.findings]


@pytest.mark.parametrize("name", ["step", "frame_index", "t", "timestamp"])
@pytest.mark.parametrize("kind", [np.int64, np.float64, "datetime64[ms]"])
def test_rows_are_put_in_the_order_of_their_steps(tmp_path: Path, name: str, kind: Any) -> None:
    """CORRECTNESS 37: what the data say of the order counts, not where the rows lie."""
    rows = table(**{name: np.array([0, 1, 2, 0, 1]).astype(kind)}).take([2, 0, 1, 3, 4])
    (first, second), said = taken(tmp_path, rows)
    assert first.observations["obs"].ravel().tolist() == [0, 1, 2, 2]
    assert (first.actions.tolist(), second.observations["obs"].ravel().tolist()) == ([0, 1, 0], [10, 11, 11])
    assert any(f"out of the order of {name!r} are sorted" in what for what in said)


def test_a_counter_over_all_episodes_and_one_that_is_none(tmp_path: Path) -> None:
    (_, second), said = taken(tmp_path, table(step=[7, 9, 11, 13, 15]))
    assert second.observations["obs"].ravel().tolist() == [10, 11, 11]
    assert not any("sorted" in what for what in said)
    (tmp_path / "other").mkdir()
    episodes, _ = taken(tmp_path / "other", table(t=[3.5, 1.0, 1.0, 9.0, 0.0]), step="")
    assert len(episodes) == 2


def test_episodes_whose_rows_are_in_pieces_are_refused_whole(tmp_path: Path) -> None:
    """The first piece isn't an episode either."""
    rows = table().take([0, 3, 1, 4, 2])
    pq.write_table(pa.concat_tables([rows, table(episode=[2] * 5)]), tmp_path / "rows.parquet")
    with pytest.raises(RunError, match=r"rows.parquet: episode 0: its rows aren't together; sort by episode"):
        import_store(ParquetImport(), tmp_path / "rows.parquet", tmp_path / "store")
    result = import_store(ParquetImport(), tmp_path / "rows.parquet", tmp_path / "store", skip_bad=True)
    assert (result.num_added, result.num_skipped) == (1, 5)


@pytest.mark.parametrize(
    ("columns", "options", "ends", "said"),
    [
        ({}, {}, [(False, True)] * 2, "doesn't say how its episodes end"),
        ({"done": [False, False, True, False, False]}, {}, [(True, False), (False, True)], "'done' doesn't say whether"),
        ({"dones": [0.0, 0, 1, 0, 0]}, {"done": "truncated"}, [(False, True)] * 2, "taken as truncated (done=...)"),
        ({"done": [0, 0, 1, 0, 1], "terminated": [0, 0, 1, 0, 0]}, {}, [(True, False), (False, True)], None),
        ({"done": [0, 0, 1, 0, 1], "timeouts": [0, 0, 1, 0, 0]}, {}, [(False, True), (True, False)], None),
        ({"terminals": [0, 0, 1, 0, 0], "timeouts": [0] * 5}, {}, [(True, False), (False, False)], None),
        ({"over": [0, 0, 1, 0, 1]}, {"terminated": "over"}, [(True, False)] * 2, None),
    ],
)
def test_how_an_episode_ends(
    tmp_path: Path, columns: dict[str, Any], options: dict[str, Any], ends: list[Any], said: str | None
) -> None:
    """CORRECTNESS 1: a sole `done` can't tell terminated from truncated: the choice is said."""
    episodes, found = taken(tmp_path, table(**columns), **options)
    assert [(episode.terminated, episode.truncated) for episode in episodes] == ends
    about_ends = [what for what in found if "done" in what or "episodes end" in what]
    assert about_ends == [] if said is None else said in about_ends[0]


@pytest.mark.parametrize(
    ("column", "expected"),
    [
        ([0.0, 0.0, 1.0, 0.0, 0.0], [True, False]),
        ([None, None, True, None, None], [True, None]),
        (pa.array([np.nan, np.nan, 0.0, np.nan, np.nan]), [False, None]),
    ],
)
@pytest.mark.parametrize("name", ["success", "is_success"])
def test_success_is_kept(tmp_path: Path, name: str, column: Any, expected: list[Any]) -> None:
    assert [episode.success for episode in taken(tmp_path, table(**{name: column}))[0]] == expected


def test_a_last_row_of_pandas_holds_nan_and_may_hold_the_end(tmp_path: Path) -> None:
    columns = {"action": pa.array([0.5, 0.5, np.nan, 0.5, np.nan]), "terminated": [False, False, True, False, None]}
    episodes, said = taken(tmp_path, table(**columns))
    assert [(episode.length, episode.terminated) for episode in episodes] == [(2, True), (1, False)]
    assert any("of a last row without an action is left out" in what for what in said)


def test_groups_text_and_the_name_obs_beside_others(tmp_path: Path) -> None:
    pose = pa.array([{"xy": [float(i), 0.0], "name": "a"} for i in range(5)])
    rows = table(**{"obs.pose": pose, "obs_said": ["x"] * 5}).append_column(
        "act", pa.array([{"x": float(i), "grip": bool(i % 2)} for i in range(5)])
    )
    (first, _), said = taken(tmp_path, rows, action=("act.grip", "act.x"))
    assert list(first.observations) == ["obs/obs", "obs/obs.pose.xy"]
    assert first.actions.tolist() == [[0, 0], [1, 1], [0, 2]]
    assert any("left out, as only numbers are read: obs.pose.name (text), obs_said (text)" in what for what in said)
    with pytest.raises(InputError, match=r"no key 'act' \(act is a group; name its parts: \[act.x, act.grip\]\)"):
        import_store(ParquetImport(action="act"), tmp_path / "rows.parquet", tmp_path / "other")


def test_an_option_names_a_column_that_must_be_there(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no key 'rewad'; did you mean reward"):
        taken(tmp_path, table(), reward="rewad")
    episodes, _ = taken(tmp_path, table(), reward="")
    assert episodes[0].total_reward == 0


def test_columns_that_cant_be_told_apart_or_name_no_episode(tmp_path: Path) -> None:
    twice = table().append_column("obs", pa.array([0.0] * 5))
    with pytest.raises(InputError, match=r"rows\.parquet: two columns are named obs; rename"):
        taken(tmp_path, twice)
    with pytest.raises(InputError, match="episode is a list in each row, and can't name an episode"):
        taken(tmp_path, table(episode=[[0]] * 5))
    with pytest.raises(InputError, match="no observations that are numbers, but obs \\(text\\); name them"):
        taken(tmp_path, table(obs=["a"] * 5))


def test_a_file_an_episode(tmp_path: Path) -> None:
    """Files are numbered, and need no zeros before their numbers; their columns may be named in other orders."""
    for number in (10, 2, 1):
        pq.write_table(table(obs=[[float(number)]] * 5).drop_columns(["episode"]), tmp_path / f"run-{number}.parquet")
    result = import_store(ParquetImport(episode=None), tmp_path, tmp_path.parent / f"{tmp_path.name}-store")
    assert [result.snapshot.episode(i).observations["obs"][0, 0] for i in range(3)] == [1, 2, 10]


def test_files_that_start_their_numbers_again(tmp_path: Path) -> None:
    """Two episodes must not become one in silence."""
    for name in ("a", "b"):
        pq.write_table(table(episode=[0] * 5), tmp_path / f"{name}.parquet")
    store = tmp_path.parent / f"{tmp_path.name}-store"
    said = [f.what for f in import_store(ParquetImport(), tmp_path, store).findings]
    assert any("episode 0 is at the end of a file and the beginning of the next: taken as one; if" in what for what in said)
    for name in ("a", "b"):
        pq.write_table(table(), tmp_path / f"{name}.parquet")
    with pytest.raises(
        RunError, match=r"episode 0: its rows aren't together; sort by episode; if each file starts its numbers again"
    ):
        import_store(ParquetImport(), tmp_path, store)
    for name in ("a", "b"):
        pq.write_table(table(episode=[0] * 5, step=range(5)), tmp_path / f"{name}.parquet")
    with pytest.raises(RunError, match="step 0 is a duplicate"):
        import_store(ParquetImport(), tmp_path, store)


def test_files_with_other_columns_name_the_file(tmp_path: Path) -> None:
    pq.write_table(table(), tmp_path / "a.parquet")
    pq.write_table(table(episode=[2, 2, 2, 3, 3]).drop_columns(["obs"]), tmp_path / "b.parquet")
    with pytest.raises(RunError, match=r"b\.parquet: episode 2: has no column 'obs', which other files have"):
        import_store(ParquetImport(), tmp_path, tmp_path.parent / f"{tmp_path.name}-store")


def rows_of(tmp_path: Path, **columns: Any) -> Path:
    """Two episodes, of 3 rows and of 2."""
    table = {"episode": [0, 0, 0, 1, 1], "obs": [[float(row)] for row in range(5)], "action": [[0.5]] * 5}
    pq.write_table(pa.table(table | columns), tmp_path / "rows.parquet")
    return tmp_path / "rows.parquet"


@pytest.mark.parametrize("name", ["steps", "frame", "env_step", "Step", "TimeStep"])
def test_other_usual_names_of_the_steps_order_the_rows(tmp_path: Path, name: str) -> None:
    result = import_store(ParquetImport(), rows_of(tmp_path, **{name: [2, 1, 0, 0, 1]}), tmp_path / "store")
    assert result.snapshot.episode(0).observations["obs"][:3, 0].tolist() == [2, 1, 0]
    assert any(f"out of the order of '{name}'" in finding.what for finding in result.findings)


def test_an_order_that_is_not_known_or_contradicted_is_said(tmp_path: Path) -> None:
    def said(**columns: Any) -> str:
        return str([f.what for f in import_store(ParquetImport(), rows_of(tmp_path, **columns), tmp_path / "store").findings])

    assert "no column counts an episode's steps: its rows are read in file order" in said()
    contradicted = said(step=[0, 1, 2, 0, 1], timestamp=[3.0, 2.0, 1.0, 0.0, 1.0])
    assert "'timestamp' goes back within an episode: 'step' orders its rows" in contradicted
    assert "no column counts" not in contradicted
    assert "goes back" not in said(step=[2, 1, 0, 0, 1], timestamp=[3.0, 2.0, 1.0, 0.0, 1.0])


def test_actions_without_a_value_are_the_episodes_fault(tmp_path: Path) -> None:
    path = rows_of(tmp_path, action=[[0.5], [None], [0.5], [0.25], [0.75]])
    with pytest.raises(RunError, match=r"rows.parquet: episode 0, step 1: action has no value; fix the data, or leave"):
        import_store(ParquetImport(), path, tmp_path / "a")
    result = import_store(ParquetImport(), path, tmp_path / "b", skip_bad=True)
    assert (result.num_added, result.num_skipped) == (1, 1)
    with pytest.raises(RunError, match="episode 0, step 0: action has no value; fix the data, or choose other keys"):
        import_store(ParquetImport(), rows_of(tmp_path, action=pa.array([[None]] * 5, pa.list_(pa.float64()))), tmp_path / "c")


def test_a_column_that_names_the_episodes_is_wanted(tmp_path: Path) -> None:
    path = rows_of(tmp_path)
    with pytest.raises(InputError, match=r"no column 'run' that names a row's episode: set episode=COLUMN, or episode=null"):
        import_store(ParquetImport(episode="run"), path, tmp_path / "store")


def test_infos_that_json_has_no_type_for_are_text(tmp_path: Path) -> None:
    more = {
        "when": pa.array([0] * 5, pa.timestamp("s")),
        "cost": pa.array([1] * 5).cast(pa.decimal128(20, 1)),
        "raw": [b"a"] * 5,
    }
    options = ParquetImport(infos=("when", "cost", "raw"))
    episode = import_store(options, rows_of(tmp_path, **more), tmp_path / "store").snapshot.episode(0)
    assert episode.infos is not None
    assert episode.infos[0] == '{"when": "1970-01-01 00:00:00", "cost": "1.0", "raw": "a"}'
