from pathlib import Path

import pytest
from trackingbed import free_port, rows

from distil.errors import InputError
from distil.tracking import TrackingConfig, grouped, outboxes


def member(folder: Path, config: TrackingConfig, parent: str) -> None:
    folder.mkdir(parents=True)
    tracker = config.build("sweep", folder, sends=False)
    tracker.start(folder.name, {"seed": 0}, parent=parent)
    tracker.log({"loss": 1.0}, 0)
    tracker.finish()


def test_members_only_record_and_the_parent_sends_them_below_itself(tmp_path: Path) -> None:
    config, database = TrackingConfig(uri=f"sqlite:///{tmp_path}/mlflow.db"), tmp_path / "mlflow.db"
    with grouped(config, "sweep", tmp_path / "mine", "mine", params={"trials": 2}) as group:
        assert database.exists()
        for name in ("a", "b"):
            member(tmp_path / "mine/trials" / name, config, group.parent)
        group.tracker.log({"trials/finished": 2}, 0)
        group.tags["mlflow.note.content"] = "a is best."
    query = "SELECT r.name, p.name, r.status FROM runs r LEFT JOIN tags t ON t.run_uuid = r.run_uuid AND t.key = ? "
    query += "LEFT JOIN runs p ON p.run_uuid = t.value ORDER BY r.name"
    found = rows(database, query, "mlflow.parentRunId")
    assert found == [("a", "mine", "FINISHED"), ("b", "mine", "FINISHED"), ("mine", None, "FINISHED")]
    note = "SELECT r.name, t.value FROM tags t JOIN runs r USING (run_uuid) WHERE t.key = ?"
    assert rows(database, note, "mlflow.note.content") == [("mine", "a is best.")]
    with pytest.raises(KeyboardInterrupt), grouped(config, "sweep", tmp_path / "mine", "mine"):
        raise KeyboardInterrupt
    assert rows(database, "SELECT status FROM runs WHERE name = 'mine'") == [("KILLED",)]
    with grouped(config, "sweep", tmp_path / "mine", "mine") as again:
        assert again.parent == group.parent  # it is continued
    assert rows(database, "SELECT status FROM runs WHERE name = 'mine'") == [("FINISHED",)]


def test_a_group_records_without_mlflow_and_refuses_a_wrong_address(tmp_path: Path) -> None:
    config, told = TrackingConfig(uri=f"http://127.0.0.1:{free_port()}"), Told()
    with grouped(config, "sweep", tmp_path / "mine", "mine", progress=told) as group:
        member(tmp_path / "mine/trials/a", config, group.parent)
    assert [outbox.left() for outbox in outboxes(tmp_path)] == [2, 3]
    assert told.said[-1].endswith(f"5 records are left: send them with distil sync {tmp_path / 'mine'}")
    with pytest.raises(InputError, match="nonsense"), grouped(TrackingConfig(uri="nonsense://x"), "x", tmp_path / "x", "x"):
        pass
    assert not (tmp_path / "x").exists()


def test_without_tracking_a_group_writes_nothing(tmp_path: Path) -> None:
    with grouped(TrackingConfig(enabled=False), "sweep", tmp_path / "mine", "mine") as group:
        assert group.parent == ""
    assert list(tmp_path.iterdir()) == []


class Told:
    def __init__(self) -> None:
        self.said: list[str] = []

    def __call__(self, what: str, done: int, total: int, /, **figures: float) -> None: ...

    def say(self, text: str) -> None:
        self.said.append(text)
