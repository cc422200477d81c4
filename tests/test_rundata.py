import json
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from click.testing import CliRunner

from distil import run as loop
from distil.cli.main import cli
from distil.config import to_yaml, validate
from distil.errors import InputError
from distil.plans import CollectPlan, UpdatePlan
from distil.policies.checkpoint import load_policy_ref
from distil.runconfig import RunConfig
from distil.rundata import Mixture, open_data, total
from distil.rundir import RunDir
from distil.session import Session
from distil.store import MixtureConfig, Store
from distil.tracking import DatasetInfo, NullTracker


def config(folder: Path, **keys: Any) -> RunConfig:
    base = {
        "env": {"id": "CartPole-v1", "max_episode_steps": 40},
        "expert": {"kind": "scripted"},
        "data": {"mixture": {"parts": [{"path": str(folder / "a"), "weight": 2}, {"path": str(folder / "b")}]}},
        "rollouts": {"num_workers": 0, "num_envs": 4},
        "policy": {"encoder": {"kind": "mlp", "hidden": [8]}},
        "learner": {"num_steps": 10, "batch_size": 16, "validation_fraction": 0.3, "validate_every": 5},
        "evaluation": {"episodes": 2, "baselines": False},
        "tracking": {"enabled": False},
        "runs": str(folder / "runs"),
    }
    return validate(RunConfig, base | keys)


def fill(folder: Path, name: str, episodes: int, seed: int = 0, **keys: Any) -> None:
    own = config(folder, data={"path": str(folder / name), "episodes": episodes}, seed=seed, **keys)
    with Session(own) as session:
        session.collector(own, session.store(own)).collect(CollectPlan(num_episodes=episodes))


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Two stores: 4 episodes, and 3 others."""
    fill(tmp_path, "a", 4)
    fill(tmp_path, "b", 3, seed=1)
    return tmp_path


def train(settings: RunConfig, rundir: RunDir | None = None) -> RunDir:
    rundir = rundir or RunDir.create(Path(settings.runs), settings.name, to_yaml(settings))
    with Session(settings) as session:
        loop.train(settings, rundir, session)
    return rundir


def weights(rundir: RunDir) -> dict[str, np.ndarray]:
    return dict(load_policy_ref(rundir.policy).arrays)


class Watching(NullTracker):
    def __init__(self) -> None:
        self.datasets: list[DatasetInfo] = []

    def log(self, metrics: Any, step: int, *, dataset: DatasetInfo | None = None) -> None:
        self.datasets += [dataset] if dataset else []


def test_a_run_on_a_mixture_counts_all_parts_and_collects_nothing(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    tracker = Watching()
    monkeypatch.setattr("distil.tracking.TrackingConfig.build", lambda self, experiment: tracker)
    rundir = train(config(folder))
    (report,) = rundir.reports()
    assert report.snapshot is None
    assert [entry["kind"] for entry in rundir.journal()] == ["pinned", "tracked", "reported"]
    metrics = report.metrics
    assert (metrics["train/episodes"], metrics["budget/demonstrations"]) == (7, 7)
    assert metrics["budget/env_steps"] == metrics["budget/expert_labels"] == 7 * 40
    assert metrics["train/epochs"] == 10 * 16 / ((4 - 1 + 3 - 1) * 40)
    assert "train/validation_loss" in metrics
    assert [(Path(d.path).name, d.profile["episodes"]) for d in tracker.datasets] == [("a", 4), ("b", 3)]
    assert len({d.digest for d in tracker.datasets}) == 2
    assert Store.open(folder / "a").versions() == [1]


def test_a_resumed_run_reads_the_versions_of_its_start(folder: Path) -> None:
    """CORRECTNESS 14: its report and checkpoints are lost, both stores have grown meanwhile."""
    settings = config(folder)
    rundir = train(settings)
    before = weights(rundir)
    journal = rundir.path / "journal.jsonl"
    journal.write_text("".join(line for line in journal.read_text().splitlines(True) if '"reported"' not in line))
    for path in rundir.checkpoints.iterdir():
        path.unlink()
    fill(folder, "a", 9)
    fill(folder, "b", 9, seed=1)
    train(settings, rundir)
    after = weights(rundir)
    assert all(np.array_equal(values, after[name]) for name, values in before.items())
    (pin,) = [entry for entry in rundir.journal() if entry["kind"] == "pinned"]
    assert pin["versions"] == [1, 1]
    fresh = weights(train(settings))
    assert any(not np.array_equal(values, fresh[name]) for name, values in before.items())


def test_an_episode_of_two_parts_is_paid_for_once(folder: Path) -> None:
    twice = [{"path": str(folder / "a")}, {"path": str(folder / "a"), "weight": 3, "select": {"episodes": 2}}]
    settings = config(folder, data={"mixture": {"parts": twice}})
    rundir = RunDir.create(folder / "runs", "x", "")
    with Session(settings) as session:
        data = open_data(settings, rundir, session)
        todo = settings.algorithm.build(settings.budget()).next_round(None)
        assert todo is not None
        gathered = data.gather(todo, None)  # type: ignore[arg-type]
    assert gathered.budget()["budget/demonstrations"] == gathered.num_episodes == 4
    plan, snapshot = gathered.plan(UpdatePlan(num_steps=1))
    assert snapshot is None
    assert isinstance(data, Mixture)
    assert plan.mixture == data.mixture
    assert total([{"a": 1.0}, {"a": 2.0}]) == {"a": 3.0}


@pytest.mark.parametrize(
    ("env", "text"),
    [
        ({"id": "Pendulum-v1"}, r"/a: the store has observations Box\(4\) float32, not Box\(3\) float32; use another folder"),
        ({"id": "CartPole-v1"}, None),
    ],
)
def test_the_environment_has_the_stores_spaces(folder: Path, env: dict[str, Any], text: str | None) -> None:
    settings = config(folder, env=env, expert=None, rollouts={"num_workers": 0, "num_envs": 4, "infos": ["anything"]})
    rundir = RunDir.create(folder / "runs", "x", "")
    with Session(settings) as session:
        if text is None:
            assert open_data(settings, rundir, session).spec.action == session.spec.action
            return
        with pytest.raises(InputError, match=text):
            open_data(settings, rundir, session)
    assert not rundir.journal()


def test_a_part_that_is_not_there(folder: Path) -> None:
    settings = config(folder, data={"mixture": {"parts": [{"path": str(folder / "a")}, {"path": str(folder / "nowhere")}]}})
    with pytest.raises(InputError, match=re.escape(f"{folder / 'nowhere'}: no store there")):
        train(settings)
    newer = config(folder, data={"mixture": {"parts": [{"path": str(folder / "a"), "version": 7}]}})
    with pytest.raises(InputError, match="no version 7; there is 1 to 1"):
        train(newer)


def test_from_the_command_line(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(folder)
    recipe = config(folder).model_dump(mode="json")
    del recipe["data"], recipe["runs"]
    Path("mine.yaml").write_text(json.dumps(recipe))
    words = ["train", "mine.yaml", "data.mixture.parts=[{path: a, weight: 2}, {path: b}]", "--json"]
    result = json.loads(CliRunner().invoke(cli, words, catch_exceptions=False, standalone_mode=False).output)
    assert result["budget/demonstrations"] == 7
    stored = validate(RunConfig, json.loads(json.dumps(config(folder).model_dump(mode="json"))))
    assert isinstance(stored.data.mixture, MixtureConfig)
    again = CliRunner().invoke(cli, ["train", f"{result['run']}/config.yaml", "--json"], catch_exceptions=False)
    assert json.loads(again.output)["train/loss"] == result["train/loss"]


def test_a_resumed_round_reports_what_it_had_collected(tmp_path: Path) -> None:
    own = config(tmp_path, data={"path": str(tmp_path / "own"), "episodes": 2}, expert={"kind": "scripted"})
    rundir = RunDir.create(Path(own.runs), own.name, to_yaml(own))
    todo = own.algorithm.build(own.budget()).next_round(None)
    assert todo is not None
    with Session(own) as session:
        first, again = (open_data(own, rundir, session).gather(todo, None).metrics for _ in range(2))  # type: ignore[arg-type]
    assert first["collect/return_mean"] == 40  # CartPole pays 1 a step
    assert dict(again) == dict(first)
