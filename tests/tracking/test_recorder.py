import time
from pathlib import Path

import pytest
from trackingbed import record

from distil.errors import RunError
from distil.tracking import DatasetInfo
from distil.tracking.outbox import Outbox

URI = "sqlite:////none/mlflow.db"


def test_it_records_in_order_without_mlflow(tmp_path: Path) -> None:
    other = tmp_path / "other"
    other.touch()
    dataset = DatasetInfo(name="demos", path="/data/demos", digest="ab")
    tracker = record(tmp_path / "run", URI, "x", "a", {"learner": {"num_steps": 5}}, tags={"env": "X"}, parent="0" * 32)
    (tmp_path / "run/policy").mkdir()
    tracker.log({"loss": 1.0}, 3, dataset=dataset)
    tracker.log({}, 4, dataset=dataset)
    tracker.artifact(tmp_path / "run/policy", "policy")
    tracker.artifact(other)
    tracker.finish("KILLED", {"mlflow.note.content": "stopped"}, about="Pendulum-v1")
    tracker.finish()  # once is enough
    records = [record for record, _ in Outbox(tmp_path / "run").read(0)]
    assert [record["kind"] for record in records] == [
        "start",
        "metrics",
        "dataset",
        "artifact",
        "artifact",
        "experiment",
        "end",
    ]
    start = records[0]
    assert (start["name"], start["params"], start["tags"]) == ("a", {"learner.num_steps": "5"}, {"env": "X"})
    assert (start["parent"], start["to"], start["experiment"]) == ("0" * 32, URI, "x")
    assert (records[1]["values"], records[1]["step"]) == ({"loss": 1.0}, 3)
    assert [record["path"] for record in records[3:5]] == ["policy", str(other)]  # the run's folder may be moved
    assert (records[6]["status"], records[6]["tags"]) == ("KILLED", {"mlflow.note.content": "stopped"})
    assert abs(records[0]["at"] - time.time() * 1000) < 60_000


def test_a_continued_run_keeps_its_id(tmp_path: Path) -> None:
    for _ in range(2):
        record(tmp_path, URI, "x").finish()
    starts = [record for record, _ in Outbox(tmp_path).read(0) if record["kind"] == "start"]
    assert len({start["uid"] for start in starts}) == 1
    assert len(starts) == 2


def test_a_missing_artifact_is_a_failed_run(tmp_path: Path) -> None:
    tracker = record(tmp_path, URI, "x")
    with pytest.raises(RunError, match="none: no such file"):
        tracker.artifact(tmp_path / "none")
    tracker.finish("FAILED")


def test_a_password_is_not_recorded(tmp_path: Path) -> None:
    record(tmp_path, "postgresql://me:hunter22@db/x", "x").finish()
    assert "hunter22" not in Outbox(tmp_path).path.read_text()
