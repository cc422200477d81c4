"""The main job on real Ray, real environments and real killed processes."""

import json
import os
import shutil
import signal
import sqlite3
import subprocess
import sys
import time
from contextlib import closing
from pathlib import Path

import numpy as np
import pytest

import distil
from distil.demo import run_demo

FAST = {"evaluation.episodes": 4, "tracking.enabled": False, "data.episodes": 3, "learner.num_steps": 60}


@pytest.mark.ray
def test_the_demo_on_ray_workers(tmp_path: Path, ray_session: object, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    overrides = {"learner.num_steps": 50, "evaluation.episodes": 4, "rollouts.num_workers": 2, "rollouts.num_envs": 4}
    told: list[str] = []
    result = run_demo(
        Path("demo"),
        num_seeds=2,
        episodes=(2, 4),
        steps=400,
        overrides=overrides,
        progress=lambda what, *_, **__: told.append(what),
    )
    assert "root seeds" not in told  # one process trains: several would each start Ray
    assert [score.name for score in result.scores] == [
        "random",
        "expert",
        "BC, 2 episodes",
        "BC, 4 episodes",
        "DAgger, 2 episodes",
        "DAgger, 4 episodes",
        "BC with noise, 4 episodes",
        "DAC, 2 episodes",
    ]
    assert result.plot.stat().st_size > 10_000
    assert result.video.stat().st_size > 1_000
    assert Path("mlflow.db").exists()
    assert "BC, 4 episodes" in result.text()
    store = distil.Store.open("demo/demos")
    assert np.bincount(store.snapshot().episodes.round).tolist() == [16, 4, 2, 2]  # one store, nested demonstrations
    assert store.verify() == []


def weights(run: distil.Run) -> dict[str, np.ndarray]:
    return dict(run.policy().ref.arrays)


def test_the_saved_configuration_repeats_the_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    first = distil.train("cartpole-bc", FAST | {"rollouts.num_workers": 0})
    second = distil.train(first.path / "config.yaml")
    assert second.path != first.path
    assert first.metrics["eval/return_mean"] == second.metrics["eval/return_mean"]
    for name, values in weights(first).items():
        assert np.array_equal(values, weights(second)[name]), name


def test_learning_from_pixels_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The observation is one image and nothing else: collected, trained on, checkpointed, scored, loaded, and acted with."""
    monkeypatch.chdir(tmp_path)
    tiny = {"env.max_episode_steps": 8, "rollouts.num_workers": 0, "learner.num_steps": 4, "learner.batch_size": 8}
    run = distil.train("carracing-bc", FAST | tiny | {"learner.checkpoint_every": 2})
    assert run.metrics["budget/expert_labels"] == 3 * 8
    assert np.isfinite(run.metrics["eval/return_mean"])
    action = distil.load_policy(run.path).predict(np.zeros((96, 96, 3), np.uint8))
    assert action.shape == (3,)


def test_a_policy_is_loaded_and_used_in_three_lines(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    run = distil.train("cartpole-bc", FAST | {"rollouts.num_workers": 0})
    policy = distil.load_policy(run.path)
    assert policy.predict(np.zeros(4, np.float32)) in (0, 1)
    assert policy.predict(np.zeros((5, 4), np.float32)).shape == (5,)
    result = distil.evaluate(policy, env="CartPole-v1", episodes=4)
    assert result.mean == run.metrics["eval/return_mean"]  # the same held-out episodes


RESUMED = {
    "learner.num_steps": 3000,
    "learner.batch_size": 64,
    "learner.checkpoint_every": 200,
    "policy.encoder.hidden": [32],
    "data.episodes": 3,
    "evaluation.episodes": 4,
    "rollouts.num_workers": 0,
    "tracking.enabled": False,
}


def start_training(folder: Path, **changes: object) -> subprocess.Popen[str]:
    overrides = [f"{key}={json.dumps(value)}" for key, value in (RESUMED | changes).items()]
    command = [sys.executable, "-m", "distil", "train", "cartpole-bc", *overrides]
    env = os.environ | {"OMP_NUM_THREADS": "1"}
    return subprocess.Popen(command, cwd=folder, env=env, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def wait_for_checkpoint(folder: Path, process: subprocess.Popen[str]) -> None:
    deadline = time.monotonic() + 240
    while not list(folder.glob("runs/cartpole-bc-001/checkpoints/*.safetensors")):
        assert process.poll() is None, process.communicate()
        assert time.monotonic() < deadline
        time.sleep(0.01)  # polls a real process, decides nothing


def test_a_killed_run_resumes_to_the_same_policy(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """CORRECTNESS 11 and 14: a process killed in the middle of learning, resumed: bit for bit the undisturbed result."""
    undisturbed, killed = tmp_path / "undisturbed", tmp_path / "killed"
    for folder in (undisturbed, killed):
        folder.mkdir()
    process = start_training(killed)
    wait_for_checkpoint(killed, process)
    process.send_signal(signal.SIGKILL)
    process.communicate(timeout=30)
    assert not (killed / "runs/cartpole-bc-001/policy").exists()
    for folder, resume in ((killed, True), (undisturbed, False)):
        monkeypatch.chdir(folder)
        distil.train("cartpole-bc", RESUMED, resume=resume)
    assert not (killed / "runs/cartpole-bc-002").exists()
    one, two = (distil.open_run(folder / "runs/cartpole-bc-001") for folder in (undisturbed, killed))
    assert one.metrics["budget/env_steps"] == two.metrics["budget/env_steps"]
    assert one.metrics["eval/return_mean"] == two.metrics["eval/return_mean"]
    for name, values in weights(one).items():
        assert np.array_equal(values, weights(two)[name]), name


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
@pytest.mark.parametrize("workers", [0, pytest.param(1, marks=pytest.mark.ray)])
def test_ctrl_c_and_a_jobs_stop_end_in_time_and_the_run_continues(tmp_path: Path, number: signal.Signals, workers: int) -> None:
    """Issue 8, number 31: SIGTERM lost what was under way. Ray's own handler for it must not stay."""
    more = {"learner.num_steps": 10**6, "rollouts.num_workers": workers, "tracking.enabled": True}
    process = start_training(tmp_path, **more)
    wait_for_checkpoint(tmp_path, process)
    process.send_signal(number)
    _, stderr = process.communicate(timeout=60)
    assert process.returncode == 130
    assert stderr.splitlines()[-1].startswith("distil: interrupted")
    assert "Traceback" not in stderr
    with closing(sqlite3.connect(tmp_path / "mlflow.db")) as database:
        assert database.execute("SELECT status FROM runs").fetchall() == [("KILLED",)]
    assert distil.Store.open(tmp_path / "data/cartpole-bc").snapshot().num_episodes == 3


def test_resuming_with_another_setting_is_refused_by_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    distil.train("cartpole-bc", FAST | {"rollouts.num_workers": 0})
    with pytest.raises(ValueError, match=r"learner\.batch_size \(256 then, 128 now\)"):
        distil.train("cartpole-bc", FAST | {"rollouts.num_workers": 0, "learner.batch_size": 128}, resume=True)


def test_a_finished_run_is_not_run_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    run = distil.train("cartpole-bc", FAST | {"rollouts.num_workers": 0})
    lines = (run.path / "journal.jsonl").read_text()
    shutil.rmtree("data")
    again = distil.train("cartpole-bc", FAST | {"rollouts.num_workers": 0}, resume=True)
    assert again.path == run.path
    assert (run.path / "journal.jsonl").read_text() == lines
    assert not Path("data").exists(), "nothing is opened, and no learner starts"
    assert json.loads(lines.splitlines()[-1])["kind"] == "reported"


def test_only_the_selected_demonstrations_are_trained_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    noisy = {"data.noise.kind": "epsilon", "data.noise.level": 0.9, "data.episodes": 10}  # returns differ
    run = distil.train("cartpole-bc", FAST | noisy | {"rollouts.num_workers": 0, "data.select.top_percent": 20})
    assert run.metrics["train/episodes"] == 2
    assert run.metrics["budget/demonstrations"] == 10
    with pytest.raises(ValueError, match=r"none of its 10 episodes fits \(min_return=1000.0\)"):
        distil.train("cartpole-bc", FAST | noisy | {"rollouts.num_workers": 0, "data.select.min_return": 1000})
