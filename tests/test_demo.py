import json
import shlex
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from distil import api
from distil.config import parse_override
from distil.demo import DemoResult, run_demo
from distil.errors import InputError
from distil.fence import hold
from distil.report import Score
from distil.stats import mean_interval
from distil.store import Store

FAST: dict[str, Any] = {
    "env.max_episode_steps": 20,
    "rollouts.num_workers": 0,
    "rollouts.num_envs": 10,
    "tracking.enabled": False,
    "learner.num_steps": 9,
    "learner.batch_size": 16,
    "evaluation.episodes": 2,
}


def small_demo(out: Path, **options: Any) -> DemoResult:
    return run_demo(out, overrides=FAST, **{"steps": 60, **options})


@pytest.fixture(scope="module")
def result(tmp_path_factory: pytest.TempPathFactory) -> DemoResult:
    return small_demo(tmp_path_factory.mktemp("demo") / "out", seed=3, num_seeds=3, episodes=(4, 2))


def runs_of(result: DemoResult, name: str) -> list[api.Run]:
    return [api.open_run(path) for path in sorted(result.best.parent.glob(f"{name}-seed-*"))]


def test_it_needs_neither_ray_nor_mlflow(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    told: list[str] = []
    result = small_demo(Path("demo"), num_seeds=1, episodes=(2,), progress=lambda what, *_, **__: told.append(what))
    assert {"collect", "update", "evaluate policy"} <= set(told)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["demo"]  # all that it writes
    assert [score.low for score in result.scores] == [None] * 6  # one run has no spread


def test_both_methods_get_equal_labels_and_gradient_steps(result: DemoResult) -> None:
    names = ["random", "expert"] + [f"{name}, {n} episodes" for name in ("BC", "DAgger") for n in (2, 4)]
    names += ["BC with noise, 4 episodes", "DAC, 2 episodes"]
    assert [score.name for score in result.scores] == names
    assert [score.num_transitions for score in result.scores] == [None, None, 40, 80, 40, 80, 80, 40]
    assert [score.num_own_steps for score in result.scores] == [None] * 7 + [60]
    for number in (2, 4):
        clones, mixed = (runs_of(result, f"{name}-{number}-episodes") for name in ("bc", "dagger"))
        seeds = [3, 4, 5] if number == 4 else [3, 4]  # the middle number has them all, the others a third, two at least
        assert [run.config.seed for run in mixed] == [run.config.seed for run in clones] == seeds
        assert {run.metrics["budget/gradient_steps"] for run in clones} == {9}
        assert {run.metrics["budget/gradient_steps"] for run in mixed} == {9 // number * number}
    noisy = runs_of(result, "bc-with-noise-4-episodes")
    assert [(run.config.seed, run.config.data.noise.kind) for run in noisy] == [(3, "gaussian"), (4, "gaussian")]


def test_imitation_by_interaction_has_the_fewest_labels_and_can_be_left_out(result: DemoResult, tmp_path: Path) -> None:
    runs = runs_of(result, "dac-2-episodes")
    assert [(run.config.seed, run.metrics["budget/expert_labels"]) for run in runs] == [(3, 40), (4, 40)]
    others = small_demo(tmp_path / "demo", num_seeds=1, episodes=(2,), steps=0)
    assert [score.name for score in others.scores if score.name.startswith("DAC")] == []


def test_one_store_has_nested_demonstrations(result: DemoResult) -> None:
    store = Store.open(result.best.parents[1] / "demos")
    all_seeds, few = 3, 2
    # for each seed: 4 demonstrations, 4 with noise, and of DAgger one a round, in 4 rounds and in 2
    rounds = [all_seeds * 4 + few * 4, all_seeds + few, all_seeds, all_seeds]
    assert np.bincount(store.snapshot().episodes.round).tolist() == rounds


def test_a_row_is_the_mean_over_training_runs_with_its_interval(result: DemoResult) -> None:
    score = next(score for score in result.scores if score.name == "DAgger, 4 episodes")
    returns = [run.metrics["eval/return_mean"] for run in runs_of(result, "dagger-4-episodes")]
    assert list(score.runs) == returns
    assert score.mean == pytest.approx(np.mean(returns))
    assert (score.low, score.high) == mean_interval(returns)


def test_the_video_is_of_the_best_policy(result: DemoResult) -> None:
    assert api.open_run(result.best).metrics["eval/return_mean"] == max(value for s in result.scores for value in s.runs)
    assert result.video.stat().st_size > 1_000
    assert result.plot.stat().st_size > 10_000


def test_its_commands_repeat_its_runs(result: DemoResult, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    names = ("bc-4-episodes", "dagger-4-episodes", "bc-with-noise-4-episodes", "dac-2-episodes")
    for command, name in zip(result.commands, names, strict=True):
        _, verb, recipe, *overrides = shlex.split(command)
        assert verb == "train"
        again = api.train(recipe, dict(parse_override(text) for text in overrides))
        assert again.metrics["eval/return_mean"] == runs_of(result, name)[0].metrics["eval/return_mean"]


def test_an_override_of_no_key_is_refused_before_anything_is_written(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"learner\.num_step"):
        run_demo(tmp_path / "demo", overrides={"learner.num_step": 4})
    assert not (tmp_path / "demo").exists()


def test_a_second_demo_in_the_same_folder_is_refused(tmp_path: Path) -> None:
    with hold(tmp_path, "demo"), pytest.raises(InputError, match="another process is running this demo"):
        small_demo(tmp_path)
    assert not (tmp_path / "runs").exists()


def test_a_result_is_told_as_text_and_as_json() -> None:
    score = Score(name="BC, 2 episodes", mean=1.0, low=0.5, high=1.5, num_demonstrations=9, runs=(0.9, 1.1))
    files = {name: Path(f"out/{name}") for name in ("plot", "video", "best")}
    result = DemoResult(title="Pendulum", scores=[score], commands=["distil train x"], wall_s=12.4, **files)
    data = json.loads(json.dumps(result.to_json()))
    assert data["scores"][0]["runs"] == [0.9, 1.1]
    assert (data["video"], data["commands"]) == ("out/video", ["distil train x"])
    for words in (
        "Pendulum",
        "BC, 2 episodes",
        "out/plot",
        "out/video",
        "12 seconds",
        "distil train x",
        "distil compare out ",
        "distil sweep pendulum",
        "distil ui",
    ):
        assert words in result.text()
