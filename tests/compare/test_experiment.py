"""MLflow experiments as records."""

from __future__ import annotations

from pathlib import Path

import pytest
from comparebed import config, metrics, write_run

from distil.compare import experiment
from distil.compare.experiment import read_experiment
from distil.compare.folders import Reader
from distil.errors import InputError
from distil.mlflowdb import connect
from distil.tracking import PARENT_TAG, flatten

pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning")  # MLflow's own, when the tests write


@pytest.fixture
def uri(tmp_path: Path) -> str:
    return f"sqlite:///{tmp_path}/mlflow.db"


def add(uri: str, seed: int, reports, *, name: str = "exp", status: str = "FINISHED", **tags: str) -> str:
    client = connect(uri)
    found = client.get_experiment_by_name(name)
    experiment_id = found.experiment_id if found else client.create_experiment(name)
    run_id = client.create_run(experiment_id, tags=tags, run_name=f"run-{seed}").info.run_id
    for key, value in flatten(config(seed=seed)).items():
        client.log_param(run_id, key, value)
    for step, report in enumerate(reports):
        for key, value in report.items():
            client.log_metric(run_id, key, value, step=step)
    client.set_terminated(run_id, status)
    return run_id


def test_runs_are_read_from_their_folders_or_from_mlflow(tmp_path: Path, uri: str) -> None:
    folder = write_run(tmp_path / "runs" / "a-001", config(seed=1), [metrics(111.0)])
    parent = add(uri, 9, [])
    add(uri, 1, [metrics(1.0)], run_dir=str(folder), **{PARENT_TAG: parent})
    reports = [metrics(50.0, "tune", expert_labels=100), metrics(60.0, "tune", expert_labels=200), metrics(70.0)]
    add(uri, 2, reports, run_dir=str(tmp_path / "gone"))
    add(uri, 3, [], status="FAILED")
    first, second, third = read_experiment(uri, "exp", Reader())
    assert (first.path, first.final.score) == (folder, 111.0)
    assert (second.path, second.seed, second.environment) == (None, 2, "CartPole-v1")
    assert [(p.score, p.budget["expert_labels"]) for p in second.points] == [(50.0, 100), (60.0, 200), (70.0, 4000)]
    assert (third.state, third.reason) == ("failed", "MLflow: failed")


def test_scores_inside_an_update_are_at_their_gradient_steps(uri: str) -> None:
    run_id = add(uri, 0, [])
    client = connect(uri)
    for step in (100, 200):
        client.log_metric(run_id, "tune/return_mean", float(step), step=step)
    for key, value in metrics(70.0, gradient_steps=200).items():
        client.log_metric(run_id, key, value, step=200)
    (found,) = read_experiment(uri, "exp", Reader())
    assert [(p.score, p.budget["gradient_steps"]) for p in found.points] == [(100.0, 100), (200.0, 200), (70.0, 200)]


def test_more_runs_than_a_page_are_all_read(uri: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(experiment, "_PAGE", 2)
    for seed in range(5):
        add(uri, seed, [{"eval/return_mean": 1.0}])
    assert [found.seed for found in read_experiment(uri, "exp", Reader())] == [0, 1, 2, 3, 4]


def test_an_unknown_experiment_is_named_with_the_nearest_one(tmp_path: Path, uri: str) -> None:
    with pytest.raises(InputError, match=r"exp: no such folder, and no MLflow database .*mlflow\.db"):
        read_experiment(uri, "exp", Reader())
    assert not (tmp_path / "mlflow.db").exists()  # asking makes none
    add(uri, 0, [], name="pendulum-sweep")
    with pytest.raises(InputError, match=r"pendulum-swep: .*; did you mean pendulum-sweep\?"):
        read_experiment(uri, "pendulum-swep", Reader())
    with pytest.raises(InputError, match="there are pendulum-sweep"):
        read_experiment(uri, "xyz", Reader())
    connect(uri).create_experiment("empty")
    with pytest.raises(InputError, match="empty: the experiment has no runs"):
        read_experiment(uri, "empty", Reader())
