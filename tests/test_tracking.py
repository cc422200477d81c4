"""Tracking with the real MLflow on sqlite."""

from __future__ import annotations

import sqlite3
import sys
import time
import traceback
from collections.abc import Iterator, Sequence
from contextlib import closing
from pathlib import Path
from subprocess import PIPE, Popen, run

import pytest
from mlflow.tracking import MlflowClient

from distil.config import validate
from distil.errors import InputError, RunError
from distil.redaction import redact
from distil.tracking import PARENT_TAG, DatasetInfo, MLflowTracker, NullTracker, Tracker, TrackingConfig, flatten


@pytest.fixture(scope="module")
def database(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("mlflow") / "mlflow.db"  # making one takes seconds, so the tests share it


@pytest.fixture
def uri(database: Path) -> str:
    return f"sqlite:///{database}"


@pytest.fixture
def rows(database: Path) -> Iterator[sqlite3.Connection]:
    connection = sqlite3.connect(database)
    yield connection
    connection.close()


def test_a_run_is_recorded(uri: str, database: Path, rows: sqlite3.Connection, tmp_path: Path) -> None:
    (tmp_path / "config.yaml").write_text("seed: 0\n")
    (tmp_path / "policy").mkdir()
    (tmp_path / "policy" / "policy.json").write_text("{}")
    dataset = DatasetInfo(name="demos", path="/data/demos", digest="ab" * 16, profile={"num_episodes": 200})

    tracker: Tracker = TrackingConfig(uri=uri).build("lunarlander-bc")
    run_id = tracker.start("seed-0", {"learner": {"num_steps": 5000}, "seeds": [0, 1]}, {PARENT_TAG: "abc"}, dataset)
    tracker.log({"train/loss": 0.5, "eval/return_mean": float("nan")}, 1, dataset=dataset)
    tracker.log({"train/loss": 0.25}, 2)
    tracker.artifact(tmp_path / "config.yaml")
    tracker.artifact(tmp_path / "policy", "policy")
    tracker.finish()
    tracker.finish()  # once is enough

    assert rows.execute("SELECT name, status FROM runs WHERE run_uuid = ?", (run_id,)).fetchall() == [("seed-0", "FINISHED")]
    params = dict(rows.execute("SELECT key, value FROM params WHERE run_uuid = ?", (run_id,)))
    assert params == {"learner.num_steps": "5000", "seeds": "[0, 1]"}
    losses = rows.execute("SELECT step, value FROM metrics WHERE run_uuid = ? AND key = 'train/loss' ORDER BY step", (run_id,))
    assert losses.fetchall() == [(1, 0.5), (2, 0.25)]
    tags = dict(rows.execute("SELECT key, value FROM tags WHERE run_uuid = ?", (run_id,)))
    assert tags[PARENT_TAG] == "abc"
    assert rows.execute("SELECT name, digest FROM datasets").fetchall() == [("demos", "ab" * 16)]
    artifacts = database.parent / "mlartifacts" / run_id / "artifacts"
    assert sorted(str(p.relative_to(artifacts)) for p in artifacts.rglob("*.*")) == ["config.yaml", "policy/policy.json"]


def test_resuming_goes_on_with_the_same_run(uri: str, rows: sqlite3.Connection) -> None:
    first = MLflowTracker(uri, "resume")
    run_id = first.start("a", {"seed": 0})
    first.log({"loss": 1.0}, 0)
    first.finish("KILLED")

    second = MLflowTracker(uri, "resume")
    assert second.start("a", {"seed": 1, "added": 2}, run_id=run_id) == run_id
    assert rows.execute("SELECT status FROM runs WHERE run_uuid = ?", (run_id,)).fetchall() == [("RUNNING",)]
    second.log({"loss": 0.5}, 1)
    second.finish()
    assert dict(rows.execute("SELECT key, value FROM params WHERE run_uuid = ?", (run_id,))) == {"seed": "0", "added": "2"}
    assert rows.execute("SELECT count(*) FROM metrics WHERE run_uuid = ?", (run_id,)).fetchone() == (2,)


def test_resuming_a_run_that_the_database_lost_begins_anew(uri: str) -> None:
    tracker = MLflowTracker(uri, "lost")
    run_id = tracker.start("a", {}, run_id="0" * 32)
    assert run_id != "0" * 32
    tracker.finish()


def test_more_than_mlflow_takes_at_once(uri: str, rows: sqlite3.Connection, monkeypatch: pytest.MonkeyPatch) -> None:
    """A server takes 100 parameters or 1,000 metrics a call; sqlite would take more."""
    sizes = []
    real = MlflowClient.log_batch

    def spy(client: MlflowClient, run_id: str, metrics: Sequence[object] = (), params: Sequence[object] = ()) -> None:
        sizes.append((len(metrics), len(params)))
        real(client, run_id, metrics=metrics, params=params)

    monkeypatch.setattr(MlflowClient, "log_batch", spy)
    tracker = MLflowTracker(uri, "many")
    run_id = tracker.start("a", {f"p{i}": "x" * 7000 for i in range(150)})
    tracker.log({f"m{i}": i for i in range(1200)}, 0)
    tracker.finish()
    assert rows.execute("SELECT count(*), max(length(value)) FROM params WHERE run_uuid = ?", (run_id,)).fetchone() == (
        150,
        6000,
    )
    assert rows.execute("SELECT count(*) FROM metrics WHERE run_uuid = ?", (run_id,)).fetchone() == (1200,)
    assert sizes == [(0, 100), (0, 50), (1000, 0), (200, 0)]


def test_metrics_in_quick_succession_are_written_together(uri: str, monkeypatch: pytest.MonkeyPatch) -> None:
    tracker = MLflowTracker(uri, "batches")
    tracker.start("a", {})
    calls = []
    monkeypatch.setattr(tracker._client, "log_batch", lambda run_id, metrics: calls.append(len(metrics)))
    for step in range(500):
        tracker.log({"loss": 1.0}, step)
    assert calls == [1]  # the first one at once
    now = time.monotonic()
    monkeypatch.setattr("distil.tracking.time.monotonic", lambda: now + 2.0)
    tracker.log({"loss": 1.0}, 500)
    assert calls == [1, 500]
    tracker.finish()


def test_no_usable_mlflow_is_one_line(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    for bad in (f"sqlite:///{tmp_path}/file/mlflow.db", "nonsense://x"):
        with pytest.raises(InputError, match=r"set tracking\.enabled=false") as caught:
            MLflowTracker(bad, "x").start("a", {})
        assert "\n" not in str(caught.value)
        assert bad in str(caught.value)


def test_a_password_reaches_no_message(tmp_path: Path) -> None:
    """Issue 8, number 23."""
    for bad in (f"nonsense://me:hunter22@{tmp_path}", "postgresql+none://me:hunter22@host/db", "nonsense://x?token=hunter22"):
        with pytest.raises(InputError, match=r"\*\*\*") as caught:
            MLflowTracker(bad, "x").start("a", {})
        assert "hunter22" not in str(caught.value)
        assert "hunter22" not in redact("".join(traceback.format_exception(caught.value)))  # what --debug shows


def test_the_address_is_that_of_the_configuration_then_of_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    whole, redacted = TrackingConfig(uri="postgresql://me:hunter22@db/x"), TrackingConfig(uri="postgresql://me:***@db/x")
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    assert TrackingConfig().address() == "sqlite:///mlflow.db"
    assert whole.address() == whole.uri
    with pytest.raises(InputError, match=r"passwords are not saved: give .*tracking\.uri or in .* MLFLOW_TRACKING_URI"):
        redacted.address()
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "postgresql://me:other@db/x")
    assert whole.address() == whole.uri
    assert TrackingConfig().address() == redacted.address() == "postgresql://me:other@db/x"
    assert TrackingConfig(enabled=False, uri=redacted.uri).address() is None


def test_a_missing_artifact_is_a_failed_run(uri: str, tmp_path: Path) -> None:
    tracker = MLflowTracker(uri, "missing")
    tracker.start("a", {})
    with pytest.raises(RunError, match="none"):
        tracker.artifact(tmp_path / "none")
    tracker.finish("FAILED")


def test_a_failed_run_keeps_its_own_error(uri: str, monkeypatch: pytest.MonkeyPatch) -> None:
    def down(*_: object, **__: object) -> None:
        raise ConnectionError("the server went away")

    for status in ("FINISHED", "FAILED", "KILLED"):
        tracker = MLflowTracker(uri, "down")
        tracker.start("a", {})
        monkeypatch.setattr(tracker._client, "set_terminated", down)
        if status == "FINISHED":
            with pytest.raises(RunError, match="the server went away"):
                tracker.finish(status)
        else:
            tracker.finish(status)


def test_a_deleted_experiment_says_so(uri: str) -> None:
    tracker = MLflowTracker(uri, "deleted")
    tracker.start("a", {})
    tracker._client.delete_experiment(tracker._client.get_experiment_by_name("deleted").experiment_id)
    with pytest.raises(InputError, match="'deleted' is deleted"):
        MLflowTracker(uri, "deleted").start("b", {})


def test_a_new_database_is_made_silently(tmp_path: Path) -> None:
    code = (
        "from distil.tracking import TrackingConfig\n"
        "t = TrackingConfig().build('x'); t.start('a', {'p': 1}); t.log({'loss': 1.0}, 0); t.finish()"
    )
    done = run([sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True, check=True)
    assert done.stdout + done.stderr == ""
    assert (tmp_path / "mlflow.db").is_file()


def test_first_runs_at_once_share_a_new_database(tmp_path: Path) -> None:
    """Issue 8, number 20: of three first runs in a fresh folder two died in MLflow's migrations."""
    code = (
        "import sys; from distil.tracking import TrackingConfig; import mlflow.tracking\n"
        "print('ready', flush=True); sys.stdin.readline()\n"
        "t = TrackingConfig().build('x'); t.start(sys.argv[1], {'p': 1}); t.log({'loss': 1.0}, 0); t.finish()"
    )
    processes = [
        Popen([sys.executable, "-c", code, str(number)], cwd=tmp_path, stdin=PIPE, stdout=PIPE, stderr=PIPE, text=True)
        for number in range(3)
    ]
    for process in processes:
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"  # all have imported MLflow
    for process in processes:
        assert process.stdin is not None
        process.stdin.write("go\n")
        process.stdin.flush()
    assert [process.communicate() for process in processes] == [("", "")] * 3
    assert [process.returncode for process in processes] == [0, 0, 0]
    with closing(sqlite3.connect(tmp_path / "mlflow.db")) as database:
        rows = database.execute("SELECT r.name, e.name FROM runs r JOIN experiments e USING (experiment_id) ORDER BY 1")
        assert rows.fetchall() == [("0", "x"), ("1", "x"), ("2", "x")]


def test_disabled_tracking_records_nothing(tmp_path: Path) -> None:
    tracker = validate(TrackingConfig, {"enabled": False}).build("x")
    assert isinstance(tracker, NullTracker)
    assert tracker.start("a", {}, run_id="kept") == "kept"
    tracker.log({"loss": 1.0}, 0)
    tracker.artifact(tmp_path)
    tracker.finish()


def test_parameters_are_flat() -> None:
    assert flatten({"a": {"b": {"c": 1e-3}, "d": None}, "e": "text", "f": True}) == {
        "a.b.c": "0.001",
        "a.d": "null",
        "e": "text",
        "f": "true",
    }


def test_mlflow_is_imported_only_when_a_run_starts() -> None:
    code = "import sys; from distil.tracking import TrackingConfig as T; T().build('x'); print('mlflow' in sys.modules)"
    assert run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout == "False\n"
