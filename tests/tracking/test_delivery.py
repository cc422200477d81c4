import math
from collections.abc import Sequence
from pathlib import Path

import pytest
from mlflow.tracking import MlflowClient
from trackingbed import history, record, rows, run_of

from distil.tracking import DatasetInfo
from distil.tracking.delivery import Delivery
from distil.tracking.outbox import SENT, Outbox
from distil.tracking.server import Server

DATASET = DatasetInfo(name="demos v6, 20 episodes", path="/data/demos", digest="abcdef12", profile={"episodes": 20})


def send(folder: Path, uri: str) -> Delivery:
    delivery = Delivery(Server(uri), Outbox(folder))
    delivery.send()
    return delivery


def test_a_run_is_recorded(uri: str, database: Path, tmp_path: Path) -> None:
    (tmp_path / "config.yaml").write_text("seed: 0\n")
    (tmp_path / "policy").mkdir()
    (tmp_path / "policy" / "policy.json").write_text("{}")
    tracker = record(tmp_path, uri, "recorded", "seed-0", {"learner": {"num_steps": 5000}, "seeds": [0, 1]}, tags={"env": "X"})
    tracker.log({"train/loss": 0.123456789, "eval/return_mean": float("nan")}, 1, dataset=DATASET)
    tracker.log({"train/loss": 0.25, "budget/env_steps": 123456789.0, "odd (name)": 1}, 2, dataset=DATASET)
    tracker.artifact(tmp_path / "config.yaml")
    tracker.artifact(tmp_path / "policy", "policy")
    tracker.finish(tags={"mlflow.note.content": "0.98 of the expert"})
    send(tmp_path, uri)

    first = Outbox(tmp_path).first()
    assert first is not None
    run_id = run_of(database, first["uid"])
    assert rows(database, "SELECT name, status, start_time FROM runs WHERE run_uuid = ?", run_id) == [
        ("seed-0", "FINISHED", first["at"])
    ]
    assert dict(rows(database, "SELECT key, value FROM params WHERE run_uuid = ?", run_id)) == {
        "learner.num_steps": "5000",
        "seeds": "[0, 1]",
    }
    metrics = rows(database, "SELECT key, step, value FROM metrics WHERE run_uuid = ? AND is_nan = 0 ORDER BY 1, 2", run_id)
    assert metrics == [
        ("budget/env_steps", 2, 123456789.0),
        ("odd _name_", 2, 1.0),
        ("train/loss", 1, 0.123457),
        ("train/loss", 2, 0.25),
    ]
    tags = dict(rows(database, "SELECT key, value FROM tags WHERE run_uuid = ?", run_id))
    assert (tags["env"], tags["mlflow.note.content"]) == ("X", "0.98 of the expert")
    assert ("demos v6, 20 episodes", "abcdef12") in rows(database, "SELECT name, digest FROM datasets")
    artifacts = database.parent / "mlartifacts" / run_id / "artifacts"
    assert sorted(str(p.relative_to(artifacts)) for p in artifacts.rglob("*.*")) == ["config.yaml", "policy/policy.json"]


def test_sending_twice_gives_the_same_history(tmp_path: Path) -> None:
    """Each record is sent again that was sent before, as after an answer that was lost."""
    database, folder = tmp_path / "twice.db", tmp_path / "run"
    uri = f"sqlite:///{database}"
    tracker = record(folder, uri, "twice", "a", {"seed": 0}, tags={"env": "X"})
    (folder / "file").touch()
    for step in range(3):
        tracker.log({"loss": 1 / (step + 3), "nothing": math.inf}, step, dataset=DATASET)
    tracker.artifact(folder / "file")
    tracker.finish("KILLED")
    send(folder, uri)
    before, cursor = history(database), (folder / SENT).read_text()
    assert len(before["metrics"]) == 6
    (folder / SENT).unlink()
    send(folder, uri)
    assert history(database) == before
    assert (folder / SENT).read_text() == cursor


@pytest.mark.parametrize("call", ["create_run", "log_batch", "log_inputs", "set_terminated"])
def test_an_interrupted_delivery_continues(call: str, uri: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The server does what it is asked to and its answer is lost: the next try neither loses nor repeats anything."""
    tracker = record(tmp_path, uri, f"interrupted-{call}", "a", {"seed": 0})
    tracker.log({"loss": 1.0}, 0, dataset=DATASET)
    tracker.log({"loss": 0.5}, 1)
    tracker.finish()
    real = getattr(MlflowClient, call)

    def lost(*args: object, **options: object) -> None:
        real(*args, **options)
        raise ConnectionError("reset by peer")

    delivery = Delivery(Server(uri), Outbox(tmp_path))
    with monkeypatch.context() as patched:
        patched.setattr(MlflowClient, call, lost)
        with pytest.raises(ConnectionError):
            delivery.send()
    assert not delivery.is_done
    delivery.send()
    assert delivery.is_done
    client = MlflowClient(uri)
    (run,) = client.search_runs([client.get_experiment_by_name(f"interrupted-{call}").experiment_id])
    assert [(point.step, point.value) for point in client.get_metric_history(run.info.run_id, "loss")] == [(0, 1.0), (1, 0.5)]
    assert (run.info.status, run.data.params, len(run.inputs.dataset_inputs)) == ("FINISHED", {"seed": "0"}, 1)


def test_a_resumed_run_continues_as_the_same_one(uri: str, database: Path, tmp_path: Path) -> None:
    first = record(tmp_path, uri, "resumed", "a", {"seed": 0})
    first.log({"loss": 1.0}, 0)
    first.finish("KILLED")
    send(tmp_path, uri)
    second = record(tmp_path, uri, "resumed", "a", {"seed": 1, "added": 2})
    send(tmp_path, uri)
    run_id = Outbox(tmp_path).cursor().run_id
    assert rows(database, "SELECT status FROM runs WHERE run_uuid = ?", run_id) == [("RUNNING",)]
    second.log({"loss": 0.5}, 1)
    second.finish()
    send(tmp_path, uri)
    assert dict(rows(database, "SELECT key, value FROM params WHERE run_uuid = ?", run_id)) == {"seed": "0", "added": "2"}
    assert rows(database, "SELECT count(*) FROM metrics WHERE run_uuid = ?", run_id) == [(2,)]
    assert rows(database, "SELECT status FROM runs WHERE run_uuid = ?", run_id) == [("FINISHED",)]


def test_a_run_of_an_earlier_version_continues_as_the_same_one(uri: str, tmp_path: Path) -> None:
    client = MlflowClient(uri)
    run = client.create_run(Server(uri).experiment("earlier"), run_name="a")
    client.log_param(run.info.run_id, "seed", "0")
    record(tmp_path, uri, "earlier", "a", {"seed": 1}, run_id=run.info.run_id).finish()
    send(tmp_path, uri)
    assert Outbox(tmp_path).cursor().run_id == run.info.run_id
    assert client.get_run(run.info.run_id).data.params == {"seed": "0"}


def test_a_place_that_lacks_the_run_gets_all_of_it_again(tmp_path: Path) -> None:
    one, other, folder = tmp_path / "one.db", tmp_path / "other.db", tmp_path / "run"
    record(folder, f"sqlite:///{one}", "lost", "a", {"seed": 0}).log({"loss": 1.0}, 0)
    send(folder, f"sqlite:///{one}")
    send(folder, f"sqlite:///{other}")
    assert history(other) == history(one)
    client, first = MlflowClient(f"sqlite:///{other}"), Outbox(folder).cursor().run_id
    client.delete_run(first)
    send(folder, f"sqlite:///{other}")
    again = Outbox(folder).cursor().run_id
    assert again != first
    assert client.get_run(again).data.metrics == {"loss": 1.0}


def test_children_find_their_parent_in_either_order(uri: str, database: Path, tmp_path: Path) -> None:
    for names in (("parent", "child"), ("child", "parent")):
        folder = tmp_path / names[0]
        parent = record(folder / "parent", uri, "family", is_parent=True)
        uid = Outbox(folder / "parent").first()["uid"]  # type: ignore[index]
        record(folder / "child", uri, "family", parent=uid).finish()
        for name in names:
            send(folder / name, uri)
        parent.finish()
        ids = {name: Outbox(folder / name).cursor().run_id for name in names}
        found = rows(database, "SELECT value FROM tags WHERE run_uuid = ? AND key = 'mlflow.parentRunId'", ids["child"])
        assert found == [(ids["parent"],)]


def test_more_than_mlflow_takes_at_once(uri: str, database: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A server takes 100 parameters or 1,000 metrics a call; sqlite would take more."""
    sizes = []
    real = MlflowClient.log_batch

    def spy(
        client: MlflowClient, run_id: str, metrics: Sequence[object] = (), params: Sequence[object] = (), **more: object
    ) -> None:
        sizes.append((len(metrics), len(params)))
        real(client, run_id, metrics=metrics, params=params, **more)

    monkeypatch.setattr(MlflowClient, "log_batch", spy)
    tracker = record(tmp_path, uri, "many", "a", {f"p{i}": "x" * 7000 for i in range(150)})
    tracker.log({f"m{i}": i for i in range(1200)}, 0)
    tracker.finish()
    send(tmp_path, uri)
    run_id = Outbox(tmp_path).cursor().run_id
    assert rows(database, "SELECT count(*), max(length(value)) FROM params WHERE run_uuid = ?", run_id) == [(150, 6000)]
    assert rows(database, "SELECT count(*) FROM metrics WHERE run_uuid = ?", run_id) == [(1200,)]
    assert [size for size in sizes if any(size)] == [(0, 100), (0, 50), (1000, 0), (200, 0)]


def test_a_file_that_is_gone_and_a_record_of_a_newer_version_are_told(uri: str, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    tracker = record(tmp_path, uri, "gone")
    tracker.artifact(tmp_path / "file")
    (tmp_path / "file").unlink()
    tracker.finish()
    outbox, told = Outbox(tmp_path), []
    outbox.append("hologram")
    outbox.close()
    delivery = Delivery(Server(uri), outbox, told.append)
    delivery.send()
    assert delivery.is_done
    assert [" ".join(text.split()[1:4]) for text in told] == ["the file is", "hologram is not"]
