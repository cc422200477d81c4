import time
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest
from mlflow.tracking import MlflowClient
from trackingbed import free_port, record, rows

from distil.tracking.outbox import Outbox, outboxes
from distil.tracking.sender import Sender
from distil.tracking.server import Server


def eventually(happened: Callable[[], object]) -> None:
    deadline = time.monotonic() + 60
    while not happened():
        assert time.monotonic() < deadline, "it did not happen"
        time.sleep(0.01)


def sender_of(uri: str, folders: Sequence[Path], told: list[str]) -> Sender:
    return Sender(Server(uri), lambda: [Outbox(folder) for folder in folders], told.append)


def test_records_are_sent_while_the_run_is_recorded(uri: str, tmp_path: Path) -> None:
    told: list[str] = []
    tracker = record(tmp_path, uri, "live", sender=sender_of(uri, [tmp_path], told))
    tracker.log({"loss": 1.0}, 0)
    eventually(lambda: Outbox(tmp_path).left() == 0 and Outbox(tmp_path).size())
    tracker.log({"loss": 0.5}, 1)
    tracker.finish()
    assert Outbox(tmp_path).left() == 0
    assert MlflowClient(uri).get_run(Outbox(tmp_path).cursor().run_id).info.status == "FINISHED"
    assert told == []


def test_a_server_that_does_not_answer_costs_no_record_and_no_error(tmp_path: Path) -> None:
    uri, told = f"http://127.0.0.1:{free_port()}", list[str]()
    tracker = record(tmp_path, uri, "away", sender=sender_of(uri, [tmp_path], told))
    for step in range(100):
        tracker.log({"loss": 1.0}, step)
    started = time.process_time()
    tracker.finish()
    assert time.process_time() - started < 1.0
    assert Outbox(tmp_path).left() == 102
    assert len(told) == 2
    assert told[0].startswith(f"MLflow at {uri}: ")
    assert told[0].endswith("the run continues, and its records are sent later")
    assert told[1].endswith(f"102 records are left: send them with distil sync {tmp_path}")


def test_a_database_that_fails_for_a_while_is_asked_again(uri: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("distil.tracking.sender._RETRY_S", 0.01)
    told, calls = list[str](), list[str]()
    real = MlflowClient.log_batch

    def restarted(client: MlflowClient, run_id: str, **what: object) -> None:
        calls.append(run_id)
        if len(calls) < 4:
            raise ConnectionError("restarting")
        real(client, run_id, **what)

    monkeypatch.setattr(MlflowClient, "log_batch", restarted)
    tracker = record(tmp_path, uri, "restarted", "a", {"seed": 0}, sender=sender_of(uri, [tmp_path], told))
    tracker.log({"loss": 1.0}, 0)
    eventually(lambda: Outbox(tmp_path).left() == 0)
    tracker.finish()
    assert told == [f"MLflow at {uri}: restarting; the run continues, and its records are sent later"]
    (run,) = MlflowClient(uri).search_runs([Server(uri).experiment("restarted")])
    assert (run.data.params, run.data.metrics) == ({"seed": "0"}, {"loss": 1.0})


def test_a_slow_server_delays_the_end_of_a_run_for_a_short_time_only(
    uri: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import threading

    monkeypatch.setattr("distil.tracking.sender._FILE_STALL_S", 0.1)
    answer, told = threading.Event(), list[str]()
    real = MlflowClient.create_run

    def slow(client: MlflowClient, *args: object, **options: object) -> object:
        assert answer.wait(60)
        return real(client, *args, **options)

    monkeypatch.setattr(MlflowClient, "create_run", slow)
    sender = sender_of(uri, [tmp_path], told)
    record(tmp_path, uri, "slow", sender=sender).finish()
    assert told == [f"MLflow at {uri} is slow; 2 records are left: send them with distil sync {tmp_path}"]
    answer.set()
    assert sender._thread is not None
    sender._thread.join(60)


def test_a_refused_run_stops_no_other_one(uri: str, database: Path, tmp_path: Path) -> None:
    for name in ("a", "b"):
        record(tmp_path / name, uri, f"refused-{name}", name, {"seed": 0})
    client = MlflowClient(uri)
    client.delete_experiment(Server(uri).experiment("refused-a"))
    told: list[str] = []
    sender = Sender(Server(uri), lambda: outboxes(tmp_path), told.append)
    sender.start()
    sender.close()
    assert Outbox(tmp_path / "b").left() == 0
    assert len(told) == 1
    assert "'refused-a' is deleted" in told[0]
    assert told[0].endswith(f"1 records are left: send them with distil sync {tmp_path / 'a'}")
    assert rows(database, "SELECT count(*) FROM runs WHERE name = 'b' AND status = 'RUNNING'") == [(1,)]
