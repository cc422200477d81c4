"""What benchmarks/inverse_rl.py keeps of a run, and its table."""

from __future__ import annotations

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[2] / "benchmarks"))

import inverse_rl
import pytest

from distil.plans import RoundReport, Spent


def _report(index: int, steps: int, looked: int = 0, chosen: int | None = None, **metrics: float) -> RoundReport:
    spent = Spent(demonstrations=5, agent_steps=steps, gradient_steps=steps // 2, evaluation_steps=looked)
    named = {name.replace("_", "/", 1): value for name, value in metrics.items()}
    return RoundReport(index=index, snapshot=1, policy_version=index, spent=spent, chosen=chosen, metrics=named)


def test_a_run_s_curve_is_of_tuning_episodes_and_its_score_of_held_out_ones() -> None:
    reports = [
        _report(0, 0),
        _report(1, 1000, 2000, tune_normalised=0.25),
        _report(2, 2100, 2000, 1),
        _report(3, 3000, 4000, 1, tune_normalised=0.5),
        _report(4, 3000, 14_000, 1, eval_normalised=0.75, eval_return_mean=400.0, eval_episode_length=200.0),
    ]
    assert inverse_rl.summary(reports) == {
        "score": 0.75,
        "return": 400.0,
        "demonstrations": 5,
        "env_steps": 3000,
        "chosen_at": 1000,
        "tuning_steps": 4000,
        "gradient_steps": 1500,
        "curve": [[1000, 0.25], [3000, 0.5]],
    }


def test_cloning_has_as_many_demonstrations() -> None:
    assert inverse_rl.clone_name("cartpole-fixed-gail", 3) == "cartpole-bc 3"
    assert inverse_rl.clone_name("mine", 3) is None


def test_the_table_shows_the_spread_over_the_seeds() -> None:
    runs = {
        str(seed): {
            "score": 0.9 + seed / 100,
            "demonstrations": 5,
            "env_steps": 20_000,
            "cpu_s": 30.0,
            "tuning_steps": 400,
            "curve": [[9, 0.8]],
        }
        for seed in (1, 0, 2)
    }
    row = inverse_rl.table({"cartpole-sqil": runs}).splitlines()[-1]
    assert row == "| cartpole-sqil | 5 | 20,000 | 400 | 0.91 (0.89 to 0.93) | 0.90, 0.91, 0.92 | 0.80, 0.80, 0.80 | 30 |"


def test_a_curve_ends_where_the_shortest_run_does(tmp_path: Path) -> None:
    runs = [{"curve": [[10, 0.2], [20, 0.6], [30, 1.0]]}, {"curve": [[14, 0.4], [20, 0.6]]}]
    found = inverse_rl.curve(runs)
    assert (found.x, found.y) == ([12.0, 20.0], [pytest.approx(0.3), pytest.approx(0.6)])
    assert found.low is not None
    assert found.low[0] < 0.2
    assert found.low[1] == pytest.approx(0.6)
    inverse_rl.plot({"cartpole-sqil": {"0": runs[0]}, "other": {}}, tmp_path / "it.png")
    assert (tmp_path / "it.png").read_bytes().startswith(b"\x89PNG")
    inverse_rl.plot({"other": {}}, tmp_path / "none.png")
    assert not (tmp_path / "none.png").exists()


def test_results_are_added_to_those_of_the_file(tmp_path: Path) -> None:
    path = tmp_path / "results.json"
    inverse_rl.add(path, "a", 0, {"score": 1.0})
    inverse_rl.add(path, "a", 1, {"score": 0.5})
    found = inverse_rl.read(path)
    assert {seed: run["score"] for seed, run in found["a"].items()} == {"0": 1.0, "1": 0.5}
    assert all(run["commit"] for run in found["a"].values())
