import json
import shutil
import sys
from contextlib import closing
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from distil import api
from distil import run as loop
from distil.config import load_recipe, to_yaml, validate
from distil.errors import InputError, RunError
from distil.plans import CollectPlan, RoundReport
from distil.policies.checkpoint import load_policy_ref
from distil.runconfig import RunConfig
from distil.rundir import RunDir
from distil.seeding import Purpose, episode_seeds
from distil.session import Session
from distil.store import Store
from distil.tracking import NullTracker


def config(folder: Path, **keys: Any) -> RunConfig:
    base = {
        "env": {"id": "CartPole-v1", "max_episode_steps": 40},
        "expert": {"kind": "scripted"},
        "data": {"path": str(folder / "demos"), "episodes": 3},
        "rollouts": {"num_workers": 0, "num_envs": 4},
        "policy": {"encoder": {"kind": "mlp", "hidden": [8]}},
        "learner": {"num_steps": 10, "batch_size": 16},
        "evaluation": {"episodes": 3},
        "tracking": {"enabled": False},
        "runs": str(folder / "runs"),
    }
    return validate(RunConfig, base | keys)


def start(settings: RunConfig) -> RunDir:
    return RunDir.create(Path(settings.runs), settings.name, to_yaml(settings))


def train(settings: RunConfig, rundir: RunDir | None = None) -> RunDir:
    rundir = rundir or start(settings)
    with Session(settings) as session:
        loop.train(settings, rundir, session)
    return rundir


def kinds(rundir: RunDir) -> list[str]:
    return [entry["kind"] for entry in rundir.journal() if entry["kind"] not in ("tracked", "given", "asked", "content")]


def weights(rundir: RunDir) -> dict[str, np.ndarray]:
    return dict(load_policy_ref(rundir.policy).arrays)


def results(rundir: RunDir) -> dict[str, float]:
    """What was learned and scored, without times; what was collected or asked is reported by who did it."""
    metrics = rundir.reports()[-1].metrics
    kinds = ("train/", "eval/", "budget/")
    return {n: value for n, value in metrics.items() if n.startswith(kinds) and not n.endswith(("_s", "/expert_queries"))}


def test_a_round_reports_what_it_did_in_the_shared_vocabulary(tmp_path: Path) -> None:
    rundir = train(config(tmp_path))
    (report,) = rundir.reports()
    assert kinds(rundir) == ["collected", "reported"]
    assert report.policy_version == load_policy_ref(rundir.policy).version == 1
    metrics = report.metrics
    assert metrics["budget/demonstrations"] == 3
    assert metrics["budget/env_steps"] == metrics["budget/expert_labels"] == 3 * 40
    assert metrics["budget/unlabelled_steps"] == 0
    low, high = metrics["eval/random_return_mean"], metrics["eval/expert_return_mean"]
    assert high == 40
    assert metrics["eval/normalised"] == pytest.approx((metrics["eval/return_mean"] - low) / (high - low))


def test_a_killed_round_reads_the_version_that_it_read_before(tmp_path: Path) -> None:
    """CORRECTNESS 14: killed before its report, its checkpoints lost, and meanwhile others have filled the store."""
    settings = config(tmp_path)
    rundir = train(settings)
    before, policy = results(rundir), weights(rundir)
    journal = rundir.path / "journal.jsonl"
    journal.write_text("".join(line for line in journal.read_text().splitlines(True) if '"reported"' not in line))
    for path in rundir.checkpoints.iterdir():
        path.unlink()
    others = config(tmp_path, seed=5)
    with Session(others) as session:
        session.collector(others, session.store(others)).collect(CollectPlan(num_episodes=4))
    assert Store.open(tmp_path / "demos").snapshot().num_episodes == 7
    train(settings, rundir)
    assert results(rundir) == before
    assert all(np.array_equal(values, policy[name]) for name, values in weights(rundir).items())


def test_a_store_of_ones_own_is_learned_from_without_an_expert(tmp_path: Path) -> None:
    train(config(tmp_path))
    rundir = train(config(tmp_path, expert=None, name="own"))
    metrics = rundir.reports()[-1].metrics
    assert Store.open(tmp_path / "demos").snapshot().version == rundir.reports()[-1].snapshot
    assert metrics["budget/demonstrations"] == 3
    assert "eval/return_mean" in metrics
    assert not metrics.keys() & {"eval/normalised", "eval/expert_return_mean"}  # nothing to compare with


def test_the_held_out_score_comes_once_and_decides_nothing(tmp_path: Path) -> None:
    dagger = {"kind": "dagger", "rounds": 3, "episodes_per_round": 2, "tuning_episodes": 2, "check_episodes": 2}
    rundir = train(config(tmp_path, algorithm=dagger))
    reports = rundir.reports()
    assert [report.index for report in reports] == list(range(len(reports)))
    assert ["eval/return_mean" in report.metrics for report in reports] == [False] * (len(reports) - 1) + [True]
    assert all("tune/return_mean" in report.metrics for report in reports[:-1])
    assert kinds(rundir)[:3] == ["checked", "collected", "reported"]
    assert kinds(rundir).count("checked") == 1
    walls = [report.metrics["budget/wall_s"] for report in reports]
    assert walls == sorted(walls)


def test_a_second_look_ends_a_run_only_if_its_lower_bound_reaches_the_target(tmp_path: Path) -> None:
    """On tuning episodes, not on the held-out ones; what the expert is asked for it is counted."""

    def reports(name: str, target: float) -> list[RoundReport]:
        stop = {"normalised": target, "confirm_episodes": 20}
        dagger = {
            "kind": "dagger",
            "rounds": 3,
            "episodes_per_round": 2,
            "tuning_episodes": 4,
            "check_episodes": 0,
            "stop": stop,
        }
        return train(config(tmp_path / name, algorithm=dagger)).reports()

    confirmed, final = reports("reached", -1.0)
    assert (confirmed.num_looks, confirmed.is_final, final.is_final) == (1, False, True)
    low, score = confirmed.score_low, confirmed.score
    assert low is not None
    assert score is not None
    assert low == confirmed.metrics["tune/normalised_low"] < score
    assert confirmed.metrics["expert/queries_tune"] == (4 + 20) * 40
    first, second, *_ = reports("not confirmed", (low + score) / 2)
    assert (first.score, first.num_looks, first.score_low) == (score, 1, low)
    assert second.score is not None  # it went on
    never = reports("not reached", 1e9)
    assert [(report.num_looks, report.score_low) for report in never] == [(0, None)] * 4


def test_one_process_holds_a_run(tmp_path: Path) -> None:
    settings = config(tmp_path)
    rundir = start(settings)
    with rundir.lock(), pytest.raises(InputError, match="another process is running this run"):
        train(settings, rundir)
    assert not rundir.journal()


def test_a_failure_keeps_what_is_complete_and_reports_nothing(tmp_path: Path) -> None:
    """CORRECTNESS 4."""
    seeds = episode_seeds(Purpose.COLLECT, 9, root=0, names=(0,))
    kwargs = {"fault": "raise", "bad_seed": seeds[8], "bad_step": 2}
    env = {"kind": "import", "target": "testbed:Toy", "kwargs": kwargs}
    settings = config(tmp_path, env=env, expert={"kind": "random"}, data={"path": str(tmp_path / "demos"), "episodes": 9})
    rundir = start(settings)
    with pytest.raises(RunError, match=f"the wheel fell off .*seed {seeds[8]} step 2"):
        train(settings, rundir)
    kept = Store.open(tmp_path / "demos").snapshot().episodes
    assert 4 <= len(kept.seed) < 9
    assert set(kept.seed.tolist()) <= set(seeds[:8])
    assert not rundir.reports()
    assert not rundir.policy.exists()


def test_loss_curve_and_video_stay_in_the_folder(tmp_path: Path) -> None:
    settings = config(tmp_path, evaluation={"episodes": 2, "video": True, "baselines": False})
    rundir = train(settings)
    assert (rundir.path / "video.mp4").stat().st_size > 500
    assert "eval/normalised" not in rundir.reports()[-1].metrics


def test_losses_of_several_updates_share_the_axis_of_the_runs_gradient_steps(tmp_path: Path) -> None:
    from mlflow.tracking import MlflowClient

    uri = f"sqlite:///{tmp_path / 'mlflow.db'}"
    algorithm = {"kind": "dagger", "rounds": 3, "episodes_per_round": 1, "check_episodes": 0, "tuning_episodes": 0}
    settings = config(tmp_path, algorithm=algorithm, tracking={"uri": uri})
    rundir = train(settings)
    client = MlflowClient(tracking_uri=uri)
    (run,) = client.search_runs([client.get_experiment_by_name(settings.name).experiment_id])
    history = client.get_metric_history(run.info.run_id, "train/steps")
    assert [point.step for point in history] == [10, 20, 30]
    assert [point.step for point in client.get_metric_history(run.info.run_id, "budget/expert_labels")] == [10, 20, 30, 30]
    assert [point.value for point in client.get_metric_history(run.info.run_id, "train/total_steps")] == [10, 20, 30, 30]
    assert [report.metrics["budget/gradient_steps"] for report in rundir.reports()] == [10, 20, 30, 30]
    assert (rundir.path / "loss.png").stat().st_size > 0


def lonely(folder: Path, **keys: Any) -> RunConfig:
    """A run on stored data, without an environment; `env` and `expert` are None."""
    return config(folder, **{"env": None, "expert": None, "evaluation": {}, "data": {"path": str(folder / "demos")}, **keys})


class Told:
    def __init__(self) -> None:
        self.said: list[str] = []

    def __call__(self, what: str, done: int, total: int, /, **figures: float) -> None: ...

    def say(self, text: str) -> None:
        self.said.append(text)


def test_stored_data_are_learned_from_without_an_environment(tmp_path: Path) -> None:
    train(config(tmp_path))
    settings = lonely(tmp_path, learner={"num_steps": 10, "batch_size": 16, "validation_fraction": 0.4, "validate_every": 5})
    rundir, told = start(settings), Told()
    with Session(settings, told) as session:
        loop.train(settings, rundir, session)
        with pytest.raises(InputError, match=r"demos: the configuration has no environment .*: set env\.id"):
            session.evaluate("random", 1)
    assert told.said == ["no env is set: the policy is trained on the stored episodes, and can't be evaluated"]
    metrics = rundir.reports()[-1].metrics
    assert metrics["train/episodes"] == 3
    assert "train/validation_loss" in metrics
    assert not [name for name in metrics if name.startswith(("eval/", "tune/"))]
    before, journal = results(rundir), rundir.path / "journal.jsonl"
    journal.write_text("".join(line for line in journal.read_text().splitlines(True) if '"reported"' not in line))
    again = train(validate(RunConfig, load_recipe(rundir.config)), RunDir(rundir.path))
    assert results(again) == before
    assert api.load_policy(rundir.path).predict(np.zeros(4, np.float32)) in (0, 1)
    assert api.evaluate(api.load_policy(rundir.path), env="CartPole-v1", episodes=2).returns.shape == (2,)
    with pytest.raises(InputError, match="the run has no environment"):
        api.evaluate_run(rundir.path)


def test_a_mixture_is_learned_from_without_an_environment(tmp_path: Path) -> None:
    train(config(tmp_path))
    settings = lonely(tmp_path, data={"mixture": {"parts": [{"path": str(tmp_path / "demos")}]}})
    assert train(settings).reports()[-1].metrics["train/episodes"] == 3


def test_without_an_environment_there_must_be_data(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no store there, and no environment to collect in"):
        train(lonely(tmp_path))


def test_every_question_to_an_expert_is_counted_by_what_it_was_for(tmp_path: Path) -> None:
    """CORRECTNESS 16: the check, the baselines and the score ask too; the labels are a part of what was asked."""
    dagger = {"kind": "dagger", "rounds": 2, "episodes_per_round": 2, "tuning_episodes": 4, "check_episodes": 5}
    settings = config(tmp_path, algorithm=dagger)
    rundir = train(settings)
    metrics = rundir.reports()[-1].metrics
    policy_steps = metrics["budget/env_steps"] - 3 * 40
    kinds = {"collect": 3 * 40 + policy_steps, "check": 5 * 40, "tune": 4 * 40, "eval": 3 * 40}
    assert {what: metrics[f"expert/queries_{what}"] for what in kinds} == kinds
    assert metrics["budget/expert_queries"] == sum(kinds.values())
    assert metrics["budget/expert_labels"] == kinds["collect"]
    assert rundir.reports()[0].metrics["expert/queries_check"] == 5 * 40
    before = results(rundir)
    journal = rundir.path / "journal.jsonl"
    lines = journal.read_text().splitlines(True)
    journal.write_text("".join(lines[:-1]))  # killed before the last report
    assert '"reported"' in lines[-1]
    again = train(settings, RunDir(rundir.path))
    assert results(again) == before
    assert again.reports()[-1].metrics["budget/expert_queries"] == sum(kinds.values())  # the score was kept
    metrics = train(settings).reports()[-1].metrics  # another run on the same demonstrations is given all scores
    assert {what: metrics.get(f"expert/queries_{what}", 0) for what in kinds} == {**kinds, "check": 0, "tune": 0, "eval": 0}
    assert metrics["eval/expert_return_mean"] == before["eval/expert_return_mean"]


def test_demonstrations_of_others_have_cost_no_question(tmp_path: Path) -> None:
    train(config(tmp_path))
    metrics = train(config(tmp_path, expert=None)).reports()[-1].metrics
    assert (metrics["budget/expert_labels"], metrics["budget/expert_queries"]) == (120, 0)


DAGGER = {"kind": "dagger", "rounds": 4, "episodes_per_round": 2, "tuning_episodes": 2, "check_episodes": 0, "overlap": 1}


def stop_after(settings: RunConfig, num: int) -> RunDir:
    """A run that the driver of its rounds left after `num` of them."""
    rundir = start(settings)
    with Session(settings) as session, rundir.lock(), closing(loop.rounds(settings, rundir, session, NullTracker())) as reports:
        assert [next(reports) for _ in range(num)] == rundir.reports()
    return rundir


def test_the_rounds_may_be_driven_one_by_one_and_left(tmp_path: Path) -> None:
    """As a trial of a sweep does: what was yielded is durable, and the run continues from there."""
    settings = config(tmp_path, algorithm=DAGGER)
    rundir = stop_after(settings, 2)
    assert not rundir.is_finished
    whole = train(config(tmp_path, algorithm=DAGGER, name="whole"))
    assert results(train(settings, rundir)) == results(whole)
    assert rundir.is_finished
    assert all(np.array_equal(values, weights(whole)[name]) for name, values in weights(rundir).items())


def test_a_run_of_version_0_1_0_continues_as_it_would_have(tmp_path: Path) -> None:
    """Its journal: reports without typed fields, plans that name an actor, and no note of content, gifts and questions."""
    settings = config(tmp_path, algorithm=DAGGER)
    rundir = stop_after(settings, 2)
    journal, old = rundir.path / "journal.jsonl", []
    for line in rundir.journal():
        if line["kind"] == "reported":
            names = ("index", "snapshot", "policy_version", "metrics")
            line = line | {"report": {name: line["report"][name] for name in names}}
        elif line["kind"] == "planned":
            line = line | {"plan": {"actor" if name == "agent" else name: value for name, value in line["plan"].items()}}
        if line["kind"] not in ("content", "given", "asked"):
            old.append(json.dumps(line))
    journal.write_text("\n".join(old) + "\n")
    whole = train(config(tmp_path, algorithm=DAGGER, name="whole"))
    resumed = results(train(settings, RunDir(rundir.path)))
    assert resumed == results(whole)
    assert all(np.array_equal(values, weights(whole)[name]) for name, values in weights(rundir).items())


def unfinished(rundir: RunDir) -> RunDir:
    """The run as if it had been killed before its report."""
    journal = rundir.path / "journal.jsonl"
    journal.write_text("".join(line for line in journal.read_text().splitlines(True) if '"reported"' not in line))
    return RunDir(rundir.path)


def test_a_run_is_not_continued_with_another_expert_file(tmp_path: Path) -> None:
    """CORRECTNESS 35."""
    shutil.copytree(train(config(tmp_path)).policy, tmp_path / "one")
    shutil.copytree(train(config(tmp_path, seed=1)).policy, tmp_path / "two")
    shutil.copytree(tmp_path / "one", tmp_path / "expert")
    settings = config(tmp_path, expert={"kind": "policy", "path": str(tmp_path / "expert")}, name="taught")
    rundir = unfinished(train(settings))
    before = rundir.journal("collected")
    shutil.copytree(tmp_path / "two", tmp_path / "expert", dirs_exist_ok=True)
    with pytest.raises(InputError, match=r"taught-001: .*policy.safetensors changed since the run began: restore it, or start"):
        train(settings, rundir)
    shutil.copytree(tmp_path / "one", tmp_path / "expert", dirs_exist_ok=True)
    assert train(settings, rundir).journal("collected") == before
    shutil.copytree(tmp_path / "two", tmp_path / "expert", dirs_exist_ok=True)
    other = train(settings)
    assert other.journal("collected")[0]["stream"] != before[0]["stream"]
    assert other.reports()[-1].metrics["budget/demonstrations"] == 3


def test_a_run_says_that_code_was_edited_and_continues(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(tmp_path))
    code = "from testbed import Balancer\n"
    (tmp_path / "own_balance.py").write_text(code)
    settings = config(tmp_path, expert={"kind": "import", "target": "own_balance:Balancer", "kwargs": {"num_envs": 4}})
    rundir = unfinished(train(settings))
    (tmp_path / "own_balance.py").write_text(code + "# fixed\n")
    for said in (1, 0):  # the second time, it is known
        told = Told()
        with Session(settings, told) as session:
            loop.train(settings, rundir, session)
        assert len([text for text in told.said if "own_balance changed since" in text]) == said
    assert rundir.is_finished
    old = unfinished(rundir)
    journal = old.path / "journal.jsonl"  # of a version that did not note it
    journal.write_text("".join(line for line in journal.read_text().splitlines(True) if '"content"' not in line))
    train(settings, RunDir(old.path))
    assert len(RunDir(old.path).journal("content")) == 1
    monkeypatch.delitem(sys.modules, "own_balance")


def test_a_paid_expert_is_asked_for_demonstrations_and_labels_alone(tmp_path: Path) -> None:
    dagger = {"kind": "dagger", "rounds": 2, "episodes_per_round": 2, "tuning_episodes": 4, "check_episodes": 5}
    free = train(config(tmp_path, algorithm=dagger)).reports()[-1].metrics
    expert = {"kind": "scripted", "paid": True}
    metrics = train(config(tmp_path, algorithm=dagger, expert=expert)).reports()[-1].metrics
    assert metrics["budget/expert_queries"] == metrics["budget/expert_labels"] == free["budget/expert_labels"]
    assert not metrics.keys() & {"eval/normalised", "eval/expert_return_mean", "expert/check_return_mean"}
    assert metrics["eval/return_mean"] == free["eval/return_mean"]
    assert Store.open(tmp_path / "demos").snapshot().num_episodes == 5  # what the expert costs doesn't tell its episodes apart
    outcome = api.evaluate_run(tmp_path / "runs" / "run-002", episodes=2)
    assert list(outcome.results) == ["policy"]
