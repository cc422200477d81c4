import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from distil import api
from distil.demo import DemoResult, run_demo
from distil.errors import InputError
from distil.report import Score
from distil.store import Store

FAST: dict[str, Any] = {
    "rollouts.num_workers": 0,
    "rollouts.num_envs": 10,
    "tracking.enabled": False,
    "learner.num_steps": 4,
    "learner.batch_size": 16,
    "evaluation.episodes": 2,
}


def test_it_needs_neither_ray_nor_mlflow(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    told: list[str] = []
    result = run_demo(Path("demo"), seed=3, episodes=(2,), overrides=FAST, progress=lambda what, *_, **__: told.append(what))
    assert {"collect", "update", "evaluate policy"} <= set(told)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["demo"]  # all that it writes
    clone, mixed = result.scores[2:]
    episodes = Store.open("demo/demos").snapshot().episodes
    assert np.bincount(episodes.round).tolist() == [2, 1]  # DAgger's first episode is one of the clone's
    by_expert = episodes.length[episodes.round == 0]
    assert clone.num_demonstrations == by_expert.sum()  # labels, as the plot's axis says
    assert mixed.num_demonstrations == by_expert[0] + episodes.length[episodes.round == 1].sum()
    assert np.isfinite([clone.mean, mixed.mean]).all()
    assert api.open_run(result.best).metrics["eval/return_mean"] == max(clone.mean, mixed.mean)
    assert result.video.read_bytes() == (result.best / "video.mp4").read_bytes()
    assert api.open_run(result.best).config.seed == 3


def test_an_override_of_no_key_is_refused_before_anything_is_written(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"learner\.num_step"):
        run_demo(tmp_path / "demo", overrides={"learner.num_step": 4})
    assert not (tmp_path / "demo").exists()


def test_a_result_is_told_as_text_and_as_json() -> None:
    score = Score(name="BC, 2 episodes", mean=1.0, low=0.5, high=1.5, num_demonstrations=9)
    files = {name: Path(f"out/{name}") for name in ("plot", "video", "best")}
    result = DemoResult(scores=[score], wall_s=12.4, **files)
    data = json.loads(json.dumps(result.to_json()))
    assert data["scores"][0]["mean"] == 1.0
    assert data["video"] == "out/video"
    for words in ("BC, 2 episodes", "out/plot", "out/video", "12 seconds", "distil ui"):
        assert words in result.text()
