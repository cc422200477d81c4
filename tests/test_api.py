import io
import json
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from interactionbed import config

from distil import api
from distil.config import to_yaml
from distil.console import Console
from distil.envs import EnvSpec
from distil.errors import InputError
from distil.rewards.ref import save_reward
from distil.rollouts import Baselines, EvalResult, Fleet
from distil.runconfig import RunConfig, load_config
from distil.rundir import RunDir
from distil.session import Session
from distil.store import Store

FAST: dict[str, Any] = {
    "env.max_episode_steps": 40,
    "rollouts.num_workers": 0,
    "rollouts.num_envs": 4,
    "tracking.enabled": False,
    "data.episodes": 3,
    "learner.num_steps": 10,
    "evaluation.episodes": 3,
}


@pytest.fixture
def overrides(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    monkeypatch.chdir(tmp_path)
    return dict(FAST)


def result(*returns: float) -> EvalResult:
    num = len(returns)
    return EvalResult(seeds=tuple(range(num)), returns=np.array(returns), lengths=np.full(num, 7), successes=None)


def test_a_score_lies_between_random_and_expert() -> None:
    score = api.score_of("clone", result(10.0, 20.0), Baselines(random=5.0, expert=25.0), num_demonstrations=3)
    assert (score.name, score.mean, score.normalised, score.num_demonstrations) == ("clone", 15.0, 0.5, 3)
    assert score.low <= score.mean <= score.high
    assert api.score_of("clone", result(10.0), None).normalised is None


def test_an_outcome_is_a_table_and_json(tmp_path: Path) -> None:
    outcome = api.Outcome(
        results={"policy": result(1.0, 3.0), "expert": result(4.0, 4.0)}, baselines=Baselines(random=0, expert=4)
    )
    assert json.loads(json.dumps(outcome.to_json()))["policy"]["eval/normalised"] == 0.5
    assert "2 held-out episodes" in outcome.text()
    assert "video" not in outcome.text()
    filmed = api.Outcome(results=outcome.results, baselines=None, video=tmp_path / "video.mp4")
    assert filmed.text().endswith("video.mp4")


def test_demonstrations_are_collected_once_and_added_to(overrides: dict[str, Any]) -> None:
    told: list[str] = []
    store, report = api.collect_with_report("cartpole-bc", overrides, progress=lambda what, *_, **__: told.append(what))
    assert (report.num_episodes, report.env_steps, store.snapshot().num_episodes) == (3, 120, 3)
    assert "collect" in told
    more, report = api.collect_with_report("cartpole-bc", overrides | {"data.episodes": 5})
    assert (report.num_episodes, more.snapshot().num_episodes) == (2, 5)
    assert api.collect("cartpole-bc", overrides).snapshot().num_episodes == 5  # fewer: nothing goes
    first, all_five = store.snapshot(1).episodes, more.snapshot().episodes
    assert set(first.uid.tolist()) <= set(all_five.uid.tolist())


@pytest.mark.parametrize("call", [api.collect, api.evaluate_expert])
def test_what_needs_an_expert_says_so(call: Any, overrides: dict[str, Any], tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"cartpole-bc: .*set expert\.kind"):
        call("cartpole-bc", overrides | {"expert": None})
    assert not list(tmp_path.iterdir())


def test_a_run_is_opened_scored_and_filmed(overrides: dict[str, Any]) -> None:
    run = api.open_run(str(api.train("cartpole-bc", overrides).path))
    assert run.config.learner.num_steps == 10
    assert len(run.reports) == 1
    outcome = api.evaluate_run(run.path, video=True)
    assert list(outcome.results) == ["policy", "expert", "random"]
    assert outcome.results["policy"].mean == run.metrics["eval/return_mean"]  # the same episodes again
    assert outcome.results["expert"].mean == 40
    assert outcome.video == run.path / "video.mp4"
    assert outcome.video.is_file()
    fewer = api.evaluate_run(run.path, episodes=2)
    assert fewer.results["policy"].seeds == outcome.results["policy"].seeds[:2]
    assert fewer.video is None


def test_a_policy_is_loaded_from_its_run_or_its_own_folder(overrides: dict[str, Any]) -> None:
    run = api.train("cartpole-bc", overrides)
    for predictor in (run.policy(), api.load_policy(str(run.path)), api.load_policy(run.path / "policy")):
        assert predictor.ref.version == 1
    limited = {"id": "CartPole-v1", "max_episode_steps": 40}
    assert api.evaluate(run.policy(), env=limited, episodes=3).mean == run.metrics["eval/return_mean"]
    with pytest.raises(InputError, match="Pendulum-v1"):
        api.evaluate(run.policy(), env="Pendulum-v1", episodes=1)


def test_an_ensemble_is_trained_loaded_and_acts(overrides: dict[str, Any]) -> None:
    run = api.train("cartpole-bc", overrides | {"policy.ensemble": 3})
    policy = api.load_policy(run.path)
    assert any(name.startswith("members.2.") for name in policy.ref.arrays)
    assert policy.predict(np.zeros(4, np.float32)) in (0, 1)
    limited = {"id": "CartPole-v1", "max_episode_steps": 40}
    assert api.evaluate(policy, env=limited, episodes=3).mean == run.metrics["eval/return_mean"]


def test_the_expert_is_scored_beside_a_random_policy(overrides: dict[str, Any]) -> None:
    outcome = api.evaluate_expert("cartpole-bc", overrides)
    figures = outcome.to_json()
    assert (figures["expert"]["eval/normalised"], figures["random"]["eval/normalised"]) == (1, 0)


def test_the_scores_of_runs_experts_and_later_evaluations_are_measured_once(
    overrides: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also where the run is looked at from another folder."""
    told: list[str] = []

    def listen(what: str, done: int, total: int, /, **figures: float) -> None:
        told.append(what)

    run = api.train("cartpole-bc", overrides)
    api.evaluate_expert("cartpole-bc", overrides, progress=listen)
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path / "elsewhere")
    outcome = api.evaluate_run(tmp_path / run.path, progress=listen)
    assert list(outcome.results) == ["policy", "expert", "random"]
    assert set(told) == {"evaluate policy"}
    assert not list((tmp_path / "elsewhere").iterdir())
    shutil.rmtree(tmp_path / "runs" / "baselines")  # measured again
    api.evaluate_run(tmp_path / run.path, progress=listen)
    assert {"evaluate expert", "evaluate random"} < {what.replace("scripted cartpole", "expert") for what in told}


def test_a_paid_expert_is_not_evaluated(overrides: dict[str, Any], tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"expert\.paid=true, so it is not asked for scores: set expert\.paid=false"):
        api.evaluate_expert("cartpole-bc", overrides | {"expert.paid": True})
    assert not list(tmp_path.iterdir())


def test_a_run_of_another_environment_does_not_share_a_session(overrides: dict[str, Any], tmp_path: Path) -> None:
    """It ran in the session's environment and was scored against that one's expert."""
    with (
        Session(load_config("cartpole-bc", overrides)) as session,
        pytest.raises(InputError, match="session: made for another env than the run's"),
    ):
        api.train("cartpole-bc", overrides | {"env.max_episode_steps": 30}, session=session)
    assert not list(tmp_path.iterdir())


def test_before_its_first_report_a_run_has_no_metrics(tmp_path: Path) -> None:
    path = RunDir.create(tmp_path, "new", "env: {id: CartPole-v1}\n").path
    run = api.open_run(path)
    assert (run.reports, run.metrics) == ([], {})
    with pytest.raises(InputError):
        run.policy()
    with pytest.raises(InputError, match="no run there"):
        api.open_run(tmp_path / "elsewhere")


def test_where_a_resumed_run_runs_may_change_and_what_it_computes_may_not(overrides: dict[str, Any]) -> None:
    run = api.train("cartpole-bc", overrides)
    elsewhere = {"rollouts.start_timeout_s": 5.0, "evaluation.video": True}
    assert api.train("cartpole-bc", overrides | elsewhere, resume=True).path == run.path
    with pytest.raises(InputError, match=r"rollouts\.num_envs \(4 then, 8 now\), seed \(0 then, 1 now\)"):
        api.train("cartpole-bc", overrides | {"rollouts.num_envs": 8, "seed": 1}, resume=True)


def test_a_run_is_named_and_continued_by_name(overrides: dict[str, Any], tmp_path: Path) -> None:
    run = api.train("cartpole-bc", overrides, run="mine", resume=True)  # started: it did not exist
    assert run.path == Path("runs/mine")
    assert RunDir(run.path).is_finished
    journal = (run.path / "journal.jsonl").read_bytes()
    assert api.train("cartpole-bc", overrides, run="mine", resume=True).path == run.path
    assert api.train(run.path, resume=True).path == run.path
    assert (run.path / "journal.jsonl").read_bytes() == journal
    with pytest.raises(InputError, match=r"runs/mine: exists already; continue it with --resume"):
        api.train("cartpole-bc", overrides, run="mine")
    assert api.train(run.path, {"seed": 3}).path == Path("runs/cartpole-bc-001")  # a folder as recipe repeats the run


def test_a_run_that_another_process_starts_at_the_same_time_is_continued(
    overrides: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    def other_is_faster(config: RunConfig, spec: EnvSpec) -> None:
        RunDir.create(Path(config.runs), config.name, to_yaml(config), folder="mine")

    monkeypatch.setattr(api, "check_new_run", other_is_faster)
    assert RunDir(api.train("cartpole-bc", overrides, run="mine", resume=True).path).is_finished
    shutil.rmtree("runs/mine")
    with pytest.raises(InputError, match="exists already"):
        api.train("cartpole-bc", overrides, run="mine")


def test_a_video_that_cannot_be_made_is_refused_before_training(overrides: dict[str, Any]) -> None:
    dark = {"env": {"kind": "import", "target": "testbed:Toy"}, "expert": {"kind": "random"}, "evaluation.video": True}
    with pytest.raises(InputError, match="turn the video off"):
        api.train("cartpole-bc", {**overrides, **dark, "env.max_episode_steps": None})
    assert not Path("runs").exists()
    assert not Path("data").exists()


def test_a_password_is_in_no_file_of_a_run_and_resuming_says_where_to_give_it(
    overrides: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Issue 8, number 23: it was written to config.yaml and MLflow's parameters."""
    uri = f"sqlite:///file:{tmp_path}/mlflow.db?uri=true&token=hunter22"
    tracked = overrides | {"tracking.enabled": True, "tracking.uri": uri}
    run = api.train("cartpole-bc", tracked)
    files = [path for path in tmp_path.rglob("*") if path.is_file()]
    assert tmp_path / "mlflow.db" in files
    assert [path for path in files if b"hunter22" in path.read_bytes()] == []
    assert api.train("cartpole-bc", tracked, resume=True).path == run.path
    with pytest.raises(InputError, match=r"passwords are not saved: give the whole address"):
        api.train(run.path, resume=True)
    monkeypatch.setenv("MLFLOW_TRACKING_URI", uri)
    assert api.train(run.path, resume=True).path == run.path
    assert api.evaluate_run(run.path, episodes=1).results["policy"].lengths.size == 1


@pytest.mark.parametrize(
    ("refused", "words"),
    [
        ({"data.path": "other"}, r"other.*Box\(8\)"),
        ({"data.path": "file/demos"}, "file is a file; choose another folder with data.path"),
        ({"learner.device": "cuda"}, "torch sees no GPU"),
        ({"tracking.enabled": True, "tracking.uri": "nonsense://x"}, "MLflow at nonsense"),
        ({"expert": None}, "no store there"),
        ({"run": "not a name"}, "not a name of letters"),
    ],
)
def test_a_refused_run_leaves_nothing_behind(
    overrides: dict[str, Any], tmp_path: Path, refused: dict[str, Any], words: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Issue 8, number 43: it left a folder and an empty store."""
    monkeypatch.setattr("torch.cuda.is_available", lambda: False)
    api.collect("lunarlander-bc", overrides | {"data.path": "other", "data.episodes": 1})
    Path("file").touch()
    before = sorted(tmp_path.rglob("*"))
    with pytest.raises(InputError, match=words):
        api.train("cartpole-bc", {**overrides, **{k: v for k, v in refused.items() if k != "run"}}, run=refused.get("run"))
    assert sorted(tmp_path.rglob("*")) == before


def test_a_session_stays_open_for_its_owner(overrides: dict[str, Any], monkeypatch: pytest.MonkeyPatch) -> None:
    """Issue 8, number 28: `train(session=...)` closed it, and the next run started its workers again."""
    closed = []
    monkeypatch.setattr(Fleet, "close", lambda self: closed.append(self))
    with Session(load_config("cartpole-bc", overrides)) as session:
        for seed in range(2):
            api.train("cartpole-bc", overrides | {"seed": seed}, session=session)
            assert not closed
    assert len(closed) == 1


def test_too_few_demonstrations_are_refused_before_anything_is_made(overrides: dict[str, Any]) -> None:
    api.collect("cartpole-bc", overrides)
    with pytest.raises(InputError, match=r"data\.episodes=4, but the store has 3 demonstrations"):
        api.train("cartpole-bc", {**overrides, "expert": None, "data.episodes": 4})
    assert not Path("runs").exists()


def test_progress_says_which_run_which_round_and_what(overrides: dict[str, Any]) -> None:
    out = io.StringIO()
    more = {"algorithm.rounds": 2, "algorithm.episodes_per_round": 1, "algorithm.check_episodes": 2}
    api.train("cartpole-dagger", overrides | more, run="mine", progress=Console(out))
    places = [line.partition(": ")[0] for line in out.getvalue().splitlines() if " update" in line or "evaluate policy" in line]
    assert list(dict.fromkeys(places)) == ["mine, round 1 of 2", "mine, round 2 of 2", "mine, final evaluation"]
    out.truncate(0)
    api.train("cartpole-bc", overrides, run="other", progress=Console(out))
    assert "other: update 10/10 in" in out.getvalue()  # there is one round


def _recipe(folder: Path, kind: str, **keys: Any) -> Path:
    path = folder / f"{kind}.yaml"
    path.write_text(to_yaml(config(folder, kind, **keys)))
    return path


def test_the_reward_of_a_run_is_kept_and_is_one_to_train_on(tmp_path: Path) -> None:
    """From another environment's data on, in a run that continues only with that reward."""
    tracking = {"tracking.enabled": True, "tracking.uri": f"sqlite:///{tmp_path}/m.db"}
    source = api.train(_recipe(tmp_path, "ml_irl"), tracking, parent="another's")
    reward = source.reward()
    assert reward.ref.version == source.policy().ref.version
    episode = Store.open(source.config.store_path).snapshot().episode(0)
    assert np.isfinite(reward.of_episode(episode)).all()
    assert np.array_equal(api.load_reward(source.path / "reward").of_episode(episode), reward.of_episode(episode))
    records = [json.loads(line) for line in (source.path / "outbox.jsonl").read_text().splitlines()]
    assert ("reward", "reward") in {(record["path"], record["folder"]) for record in records if record["kind"] == "artifact"}

    algorithm = {"kind": "rl", "step": {"kind": "sac", "hidden": [8]}, "reward": {"kind": "learned", "path": str(source.path)}}
    longer = {"id": "Pendulum-v1", "max_episode_steps": 30}
    recipe = _recipe(
        tmp_path, "dac", name="on-it", env=longer, algorithm={"stop": {"wall_s": 1e-6}, "reward": None} | algorithm
    )
    run = api.train(recipe)
    assert run.config.algorithm.reward.digest is not None
    assert np.array_equal(run.reward().of_episode(episode), reward.of_episode(episode)), "its copy is what it learned from"
    source.path.rename(tmp_path / "moved")
    with pytest.raises(InputError, match="no reward there"):
        api.train(recipe, resume=True)
    there = {"algorithm.reward.path": str(tmp_path / "moved")}
    (run.path / "results.json").unlink()
    assert api.train(recipe, there, resume=True).path == run.path
    header = json.loads((tmp_path / "moved" / "reward" / "reward.json").read_text())
    assert (header["nature"], header["version"]) == ("reward", reward.ref.version)
    save_reward(replace(reward.ref, version=99), tmp_path / "moved" / "reward")
    with pytest.raises(InputError, match=r"algorithm\.reward\.digest"):
        api.train(recipe, there, resume=True)
    with pytest.raises(InputError, match="the reward is not the one that the run began with"):
        api.train(run.path, there, resume=True)


@pytest.mark.parametrize(
    ("kind", "reason"),
    [("rl", "the environment's own reward"), ("sqil", "1 for demonstrations and 0"), ("pwil", "the steps before it")],
)
def test_a_run_without_a_reward_says_why(tmp_path: Path, kind: str, reason: str) -> None:
    settings = config(tmp_path, kind)
    run = RunDir.create(tmp_path, kind, to_yaml(settings))
    with pytest.raises(InputError, match=rf"the run has no reward: algorithm\.kind={kind}: .*{reason}"):
        api.open_run(run.path).reward()


def test_a_clone_has_no_reward(overrides: dict[str, Any]) -> None:
    with pytest.raises(InputError, match=r"the run has no reward: algorithm\.kind=bc: it imitates actions"):
        api.train("cartpole-bc", overrides).reward()
