import json
import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from click.testing import CliRunner
from rundatabed import Listening, config, fill, own, train

from distil import api
from distil import run as loop
from distil.cli.main import cli
from distil.config import to_yaml, validate
from distil.errors import InputError
from distil.plans import UpdatePlan
from distil.rollouts.stream import episode_uids
from distil.runconfig import RunConfig
from distil.rundata import open_data
from distil.rundir import RunDir
from distil.session import Session
from distil.store import MixtureConfig, Store


@pytest.mark.parametrize(
    ("env", "text"),
    [
        (
            {"id": "Pendulum-v1"},
            r"/a: the store has observations Box\(4\) float32, the environment Box\(3\) float32: obs shape is 4",
        ),
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
        first, again = (open_data(own, rundir, session).collect(todo, None) for _ in range(2))  # type: ignore[arg-type]
    assert first["collect/return_mean"] == 40  # CartPole pays 1 a step
    assert dict(again) == dict(first)


def bring(folder: Path, name: str, episodes: int, **facts: Any) -> None:
    """Put episodes into a store that no run has collected there: another store's, with uids of their own."""
    fill(folder, f"{name}-source", episodes, seed=77)
    source = Store.open(folder / f"{name}-source").snapshot()
    store = Store.open_or_create(folder / name, replace(source.spec, env=facts.pop("env", source.spec.env)))
    writer = store.writer("import")
    for number in range(episodes):
        writer.add(replace(source.episode(number), uid=f"mine-{number}", **{"source": "parquet", **facts}))
    entry = writer.seal()
    assert entry is not None
    store.commit([entry])


def used(rundir: RunDir) -> list[str]:
    """Uids of what a run has trained on in its first round."""
    line = rundir.find("collected", 0)
    assert line is not None
    return [*line["uids"], *episode_uids(str(line["stream"]), 0, line["num_episodes"])]


def test_without_an_expert_as_many_episodes_are_trained_on_as_wanted(tmp_path: Path) -> None:
    fill(tmp_path, "own", 3)
    fill(tmp_path, "own", 2, seed=1)  # without an expert, it doesn't matter who has collected them
    uids = sorted(Store.open(tmp_path / "own").snapshot().episodes.uid.tolist())
    for num in (1, 4):
        rundir = train(own(tmp_path, expert=None, data={"episodes": num}))
        metrics = rundir.reports()[0].metrics
        assert metrics["train/episodes"] == metrics["budget/demonstrations"] == num
        assert used(rundir) == uids[:num]
    everything = train(own(tmp_path, expert=None)).reports()[0].metrics
    assert everything["train/episodes"] == 5


def test_fewer_demonstrations_than_wanted_are_refused_without_an_expert(tmp_path: Path) -> None:
    fill(tmp_path, "own", 3)
    text = r"own: data\.episodes=4, but the store has 3 demonstrations: set data\.episodes=3, or expert\.kind to collect"
    with pytest.raises(InputError, match=text):
        train(own(tmp_path, expert=None, data={"episodes": 4}))
    with pytest.raises(InputError, match=r"none of its 3 episodes fits \(min_return=99\.0\); widen it"):
        train(own(tmp_path, expert=None, data={"episodes": 1, "select": {"min_return": 99.0}}))
    with pytest.raises(InputError, match=r"has 2 demonstrations that data\.select takes \(top_percent=50\.0\): set data\.ep"):
        train(own(tmp_path, expert=None, data={"episodes": 3, "select": {"top_percent": 50}}))


def test_without_an_expert_the_selection_comes_first_and_the_number_second(tmp_path: Path) -> None:
    fill(tmp_path, "own", 6)
    rundir = train(own(tmp_path, expert=None, data={"episodes": 2, "select": {"top_percent": 50}}))
    episodes = Store.open(tmp_path / "own").snapshot().episodes
    best = np.sort(np.argsort(-episodes.total_reward, kind="stable")[:3])
    assert used(rundir) == episodes.uid[best[:2]].tolist()
    assert rundir.reports()[0].metrics["train/episodes"] == 2


def test_an_expert_adds_only_the_demonstrations_that_are_missing(tmp_path: Path) -> None:
    bring(tmp_path, "own", 3)
    rundir = train(own(tmp_path, data={"episodes": 5}))
    assert used(rundir)[:3] == ["mine-0", "mine-1", "mine-2"]
    assert rundir.reports()[0].metrics["train/episodes"] == 5
    assert Store.open(tmp_path / "own").snapshot().num_episodes == 5
    assert used(train(own(tmp_path, data={"episodes": 2}))) == ["mine-0", "mine-1"]
    assert used(train(own(tmp_path, data={"episodes": 5}))) == used(rundir)
    store, report = api.collect_with_report(RunDir(rundir.path).config, {"data.episodes": 6})
    assert (report.num_episodes, store.snapshot().num_episodes) == (1, 6)


def test_another_seed_has_demonstrations_of_its_own_and_shares_the_imported_ones(tmp_path: Path) -> None:
    bring(tmp_path, "own", 2)
    first, second = (used(train(own(tmp_path, seed=seed, data={"episodes": 4}))) for seed in (0, 1))
    assert first[:2] == second[:2] == ["mine-0", "mine-1"]
    assert not set(first[2:]) & set(second[2:])


@pytest.mark.parametrize(
    ("facts", "select"),
    [
        ({"policy_version": 3}, {}),
        ({"labelled": np.zeros(40, np.uint8)}, {}),
        ({}, {"sources": ["expert:*"]}),
    ],
    ids=["a policy's", "unlabelled", "not selected"],
)
def test_what_is_no_demonstration_or_not_selected_does_not_count(
    tmp_path: Path, facts: dict[str, Any], select: dict[str, Any]
) -> None:
    bring(tmp_path, "own", 2, **facts)
    rundir = train(own(tmp_path, data={"episodes": 2, "select": select}))
    assert not set(used(rundir)) & {"mine-0", "mine-1"}
    assert len(used(rundir)) == 2


def test_a_resumed_run_uses_the_demonstrations_that_it_began_with(tmp_path: Path) -> None:
    """Killed while it collects; meanwhile others have imported what would count too."""
    settings = own(tmp_path, data={"episodes": 3})
    rundir = train(settings)
    (rundir.path / "journal.jsonl").write_text(json.dumps({"kind": "given", "round": 0, "uids": []}) + "\n")
    bring(tmp_path, "own", 2)
    assert used(train(settings, RunDir(rundir.path))) == used(rundir)
    assert used(train(settings))[:2] == ["mine-0", "mine-1"]


def test_later_rounds_add_to_the_demonstrations_that_were_there(tmp_path: Path) -> None:
    bring(tmp_path, "own", 2)
    dagger = {"kind": "dagger", "rounds": 3, "episodes_per_round": 2, "tuning_episodes": 0, "check_episodes": 0}
    rundir = train(own(tmp_path, algorithm=dagger, data={"episodes": 3}))
    assert [report.metrics.get("train/episodes") for report in rundir.reports()] == [3, 5, 7, None]
    assert used(rundir)[:2] == ["mine-0", "mine-1"]
    last = train(own(tmp_path, algorithm={**dagger, "last_rounds": 1}, data={"episodes": 3}))
    assert [report.metrics.get("train/episodes") for report in last.reports()] == [3, 2, 2, None]


def test_the_best_are_chosen_among_a_runs_demonstrations(tmp_path: Path) -> None:
    bring(tmp_path, "own", 4)
    settings = own(tmp_path, expert={"kind": "scripted"}, data={"episodes": 4, "select": {"top_percent": 50.0}})
    rundir, listening = RunDir.create(Path(settings.runs), settings.name, to_yaml(settings)), Listening()
    with Session(settings, listening) as session:
        loop.train(settings, rundir, session)
    assert rundir.reports()[0].metrics["train/episodes"] == 2
    assert listening.said == ["data.select (top_percent=50.0) takes 2 of 4 episodes"]


def test_the_journal_of_an_older_run_is_read(tmp_path: Path) -> None:
    fill(tmp_path, "own", 3)
    settings = own(tmp_path, expert=None)
    rundir = RunDir.create(Path(settings.runs), settings.name, to_yaml(settings))
    rundir.append("collected", round=0, snapshot=1, stream=None, num_episodes=0, metrics={})
    assert train(settings, rundir).reports()[0].metrics["train/episodes"] == 3


def test_a_store_with_infos_is_trained_on(tmp_path: Path) -> None:
    """Case of a store made with other infos than the run asks for: only who collects needs them."""
    bring(tmp_path, "own", 2, infos=None)
    with pytest.raises(InputError, match=r"keeps infos \[\], without \['x'\]"):
        train(own(tmp_path, data={"episodes": 3}, rollouts={"num_workers": 0, "infos": ["x"]}))
    train(own(tmp_path, data={"episodes": 2}, rollouts={"num_workers": 0, "infos": ["x"]}))
    train(own(tmp_path, expert=None, rollouts={"num_workers": 0, "infos": ["x"]}))
    fill(tmp_path, "told", 2, rollouts={"num_workers": 0, "num_envs": 4, "infos": ["x"]})
    for expert in (None, {"kind": "scripted"}):
        rundir = train(config(tmp_path, expert=expert, data={"path": str(tmp_path / "told"), "episodes": 2}))
        assert rundir.reports()[0].metrics["train/episodes"] == 2


def test_episodes_of_another_environment_are_not_added_but_may_be_learned_from(tmp_path: Path) -> None:
    fill(tmp_path, "own", 2)
    other = {"kind": "import", "target": "gymnasium.envs.classic_control:CartPoleEnv", "max_episode_steps": 40}
    with pytest.raises(InputError, match=r"episodes of CartPole-v1, this run's environment is .*:CartPoleEnv; set data\.path"):
        train(own(tmp_path, env=other, expert={"kind": "random"}, data={"episodes": 2}))
    listening = Listening()
    settings = own(tmp_path, env=other, expert=None)
    with Session(settings, listening) as session:
        assert open_data(settings, RunDir.create(tmp_path / "runs", "x", ""), session).spec.env["id"] == "CartPole-v1"
    assert listening.said == [f"the data are of CartPole-v1, the run's environment is {other['target']}"]


def test_stored_demonstrations_cost_the_budget_nothing(tmp_path: Path) -> None:
    """CORRECTNESS 16: what is limited is what the run asks for, however many demonstrations there are already."""
    bring(tmp_path, "own", 3)
    dagger = {"kind": "dagger", "rounds": 9, "episodes_per_round": 1, "tuning_episodes": 0, "check_episodes": 0}
    rundir = train(own(tmp_path, algorithm={**dagger, "stop": {"expert_labels": 80}}, data={"episodes": 3}))
    last = rundir.reports()[-1].metrics
    assert rundir.reports()[0].metrics["train/episodes"] == 3
    assert (last["budget/given_expert_labels"], last["budget/given_env_steps"]) == (120, 120)
    assert 40 < last["budget/expert_labels"] - 120 == last["expert/queries_collect"] <= 80
    short = train(own(tmp_path, algorithm={**dagger, "stop": {"expert_labels": 80}}, data={"episodes": 9}))
    assert short.reports()[0].metrics["train/episodes"] == 3 + 2  # two more are all that the budget allows


def test_an_algorithm_that_learns_from_no_demonstrations_opens_no_store(tmp_path: Path) -> None:
    settings = own(tmp_path, algorithm={"kind": "rl"}, expert=None, learner={"batch_size": 16})
    rundir = RunDir.create(tmp_path / "runs", "x", "")
    with Session(settings) as session:
        data = open_data(settings, rundir, session)
        assert data.spec.action == session.spec.action
        with pytest.raises(InputError, match="round 3 trains on demonstrations"):
            data.streams(UpdatePlan(num_steps=1, round=3))
        assert data.spent().demonstrations == 0
        data.release()
        data.close()
    assert rundir.find("content", 0) is not None  # a changed environment is noticed
    assert not (tmp_path / "own").exists()
