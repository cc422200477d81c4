from pathlib import Path

import pytest
from trackingbed import free_port, history, record

from distil.errors import InputError, RunError
from distil.tracking.outbox import Outbox
from distil.tracking.sync import sync


def test_it_sends_what_is_left_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    database = tmp_path / "mlflow.db"
    monkeypatch.chdir(tmp_path)
    for name in ("a", "b"):
        tracker = record(tmp_path / "runs" / name, "sqlite:///mlflow.db", "left", name, {"seed": 0})
        tracker.log({"loss": 1.0}, 0)
        tracker.finish()
    monkeypatch.chdir(tmp_path / "runs")  # the database of a run is where it was when the run was recorded
    done = sync([tmp_path / "runs", tmp_path / "runs/a"])
    assert (done.num_runs, done.num_records, done.to) == (2, 6, [f"sqlite:///{database}"])
    before = history(database)
    assert [name for name, *_ in before["runs"]] == ["a", "b"]
    again = sync([tmp_path / "runs"])
    assert (again.num_runs, again.num_records) == (2, 0)
    assert history(database) == before


def test_a_server_that_does_not_answer_and_folders_without_runs_are_told(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="none: no run there has records"):
        sync([tmp_path / "none"])
    record(tmp_path / "a", f"http://127.0.0.1:{free_port()}", "x").finish()
    with pytest.raises(RunError, match=r"refused; the records stay in .*outbox\.jsonl: repeat distil sync later"):
        sync([tmp_path / "a"])
    assert Outbox(tmp_path / "a").left() == 2


def test_a_password_is_to_be_given_again(tmp_path: Path, uri: str, monkeypatch: pytest.MonkeyPatch) -> None:
    record(tmp_path / "a", "postgresql://me:hunter22@db/x", "passworded").finish()
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    with pytest.raises(
        InputError, match=r"passwords are not saved: give the whole address with --uri or in .*MLFLOW_TRACKING_URI"
    ):
        sync([tmp_path / "a"])
    monkeypatch.setenv("MLFLOW_TRACKING_URI", uri)
    assert sync([tmp_path / "a"]).num_records == 2
    assert sync([tmp_path / "a"], uri=uri).num_records == 0


def test_a_run_that_is_being_sent_is_left_alone(tmp_path: Path, uri: str) -> None:
    record(tmp_path / "a", uri, "busy").finish()
    told: list[str] = []

    class Told:
        def __call__(self, what: str, done: int, total: int, /, **figures: float) -> None: ...

        def say(self, text: str) -> None:
            told.append(text)

    with Outbox(tmp_path / "a").sending():
        assert sync([tmp_path / "a"], progress=Told()).num_records == 0
    assert told == [f"{tmp_path / 'a'}: its run is sending its records now"]
