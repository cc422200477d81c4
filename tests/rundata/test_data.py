from pathlib import Path
from typing import Any

import numpy as np
import pytest
from rundatabed import config, fill, own, train, untrained, weights

from distil.errors import InputError
from distil.plans import CollectPlan, Round, StreamPlan, UpdatePlan
from distil.rundata import describe, open_data
from distil.rundir import RunDir
from distil.session import Session
from distil.store import Store
from distil.tracking import DatasetInfo, NullTracker


class Watching(NullTracker):
    def __init__(self) -> None:
        self.datasets: list[DatasetInfo] = []

    def log(self, metrics: Any, step: int, *, dataset: DatasetInfo | None = None) -> None:
        self.datasets += [dataset] if dataset else []


def test_a_run_on_a_mixture_counts_all_parts_and_collects_nothing(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    tracker = Watching()
    monkeypatch.setattr("distil.tracking.TrackingConfig.build", lambda *_, **__: tracker)
    rundir = train(config(folder))
    (report,) = rundir.reports()
    assert report.snapshot is None
    assert [entry["kind"] for entry in rundir.journal()] == ["content", "pinned", "reported"]
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
        assert todo.update is not None
        assert data.collect(todo, None) == {}  # type: ignore[arg-type]
        streams = data.streams(todo.update)
    assert data.spent().demonstrations == describe(streams)[1] == 4
    assert streams["demos"].shares == (1.0, 3.0)


BOTH = UpdatePlan(
    num_steps=1, round=1, streams={"expert": StreamPlan(num_rounds=1), "own": StreamPlan(source="agent", num_rounds=1)}
)
PLAY = CollectPlan(num_episodes=2, round=1, agent="policy", into="agent")


@pytest.mark.parametrize("mixed", [False, True], ids=["own store", "mixture"])
def test_streams_draw_from_demonstrations_and_from_what_the_policies_did(folder: Path, mixed: bool) -> None:
    settings = config(folder) if mixed else own(folder, data={"episodes": 3})
    rundir = RunDir.create(folder / "runs", "x", "")
    first = Round(index=0, collect=None if mixed else CollectPlan(num_episodes=3))
    with Session(settings) as session:
        data, policy = open_data(settings, rundir, session), untrained(session, settings)
        data.collect(first, policy)
        before = data.spent()
        brought = data.collect(Round(index=1, collect=PLAY, update=BOTH), policy)
        assert "collect/return_mean" in brought
        streams = data.streams(BOTH)
        again = open_data(settings, rundir, session).streams(BOTH)  # resumed
    assert {name: data.digest for name, data in streams.items()} == {name: data.digest for name, data in again.items()}
    assert [len(streams[name].parts) for name in ("expert", "own")] == [2 if mixed else 1, 1]
    (own_part,) = streams["own"].parts
    assert set(own_part.episodes.policy_version) == {0}
    after, steps = data.spent(), int(own_part.episodes.length.sum())
    assert (after.agent_episodes, after.agent_steps, after.env_steps) == (2, steps, before.env_steps + steps)
    assert (after.demonstrations, after.expert_labels) == (before.demonstrations, before.expert_labels)
    assert (own_part.path, data.version) == ((rundir.path / "agent").resolve(), None if mixed else 1)
    datasets, num_episodes = describe(streams)
    assert (len(datasets), num_episodes) == ((3, 9) if mixed else (2, 5))


def test_without_an_environment_nothing_is_played(folder: Path) -> None:
    settings = config(folder, env=None, expert=None, evaluation={})
    with Session(settings) as session:
        data = open_data(settings, RunDir.create(folder / "runs", "x", ""), session)
        with pytest.raises(InputError, match=r"stream 'own' reads the agent's episodes, and there is no env: set env\.id"):
            data.streams(BOTH)
