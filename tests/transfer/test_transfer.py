"""From a grid world whose gap is on the left to one where it is on the right; small, by planning."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import gymnasium as gym
import pytest
from interactionbed import config

from distil import api
from distil.config import to_yaml
from distil.errors import InputError
from distil.fence import hold
from distil.policies.checkpoint import load_policy_ref, save_policy
from distil.spaces import observation_spec
from distil.transfer.transfer import CLONE, LEARNED, SOURCE, TRUE, Transfer, default_out, transfer

FAST: dict[str, Any] = {
    "rollouts.num_workers": 0,
    "rollouts.num_envs": 4,
    "tracking.enabled": False,
    "data.episodes": 4,
    "evaluation.episodes": 4,
    "evaluation.baselines": False,
}
MOVED = {"env.kwargs.gap": "right"}


def source(folder: Path, name: str = "source", **more: Any) -> Path:
    where = {"runs": str(folder / "runs"), "data.path": str(folder / "demos")}
    return api.train("gridworld-mce-irl", FAST | where | more, run=name).path


def carried(folder: Path, *runs: Path, **keys: Any) -> Transfer:
    return transfer(runs, MOVED, out=folder / "out", clone_steps=60, **keys)


def test_a_reward_of_the_state_carries_over_where_policies_do_not(tmp_path: Path) -> None:
    run = source(tmp_path)
    found = carried(tmp_path, run)
    scores = {score.name: score for score in found.scores}
    assert list(scores) == ["expert", TRUE, LEARNED, SOURCE, CLONE, "random"]
    normalised = {name: score.normalised or 0.0 for name, score in scores.items()}
    assert normalised[LEARNED] > 0.9
    assert max(normalised[SOURCE], normalised[CLONE]) < 0.1
    assert max(normalised.values()) == 1
    assert json.loads((tmp_path / "out" / "transfer.json").read_text()) == json.loads(json.dumps(found.to_json()))
    assert found.plot.read_bytes().startswith(b"\x89PNG")
    assert "of the state) is what the expert wants" in found.text()
    names = ("clone-source-seed-0", "learned-source-seed-0", "true-seed-0")
    before = {name: (tmp_path / "out" / "runs" / name / "journal.jsonl").stat().st_mtime_ns for name in names}
    assert carried(tmp_path, run) == found, "nothing is trained again"
    assert {name: (tmp_path / "out" / "runs" / name / "journal.jsonl").stat().st_mtime_ns for name in names} == before


def test_several_runs_and_seeds_give_intervals(tmp_path: Path) -> None:
    """And a policy that can't see the other environment's observations stays behind."""
    runs = [source(tmp_path, name, seed=seed) for seed, name in enumerate(("a", "b"))]
    ref = load_policy_ref(runs[1] / "policy")
    other = replace(ref.spec, observation=observation_spec(gym.spaces.Discrete(9)))
    save_policy(replace(ref, spec=other, arrays={**ref.arrays}), runs[1] / "policy")
    found = carried(tmp_path, *runs, num_seeds=2)
    scores = {score.name: score for score in found.scores}
    assert SOURCE not in scores
    assert any(text.startswith(f"{SOURCE}: it can't act there, since obs nvec is 9") for text in found.notes)
    assert {name: len(score.runs) for name, score in scores.items()} == {
        "expert": 0,
        TRUE: 2,
        LEARNED: 2,
        CLONE: 2,
        "random": 0,
    }
    assert any(text.startswith(f"{LEARNED}: a value for each of the 2 runs, the mean over 2 seeds") for text in found.notes)
    assert len(list((tmp_path / "out" / "runs").glob("*/results.json"))) == 2 + 2 * 2 + 2 * 2


def test_of_several_trainings_the_best_by_the_reward_that_they_learned_from_counts(tmp_path: Path) -> None:
    settings = tmp_path / "airl.yaml"
    settings.write_text(to_yaml(config(tmp_path, "airl", evaluation={"episodes": 4, "baselines": False})))
    run, heavy = api.train(settings, {"tracking.enabled": False}, run="source").path, {"env.kwargs.g": 20.0}
    few = heavy | {"algorithm.tuning_episodes": 2, "algorithm.tune_every": 1}
    found = transfer([run], few, out=tmp_path / "out", restarts=3, clone_steps=5)
    scores, first = {score.name: score for score in found.scores}, 0
    for name, runs, by in (("learned-source", LEARNED, "tune/learned_return_mean"), ("true", TRUE, "tune/return_mean")):
        trainings = [api.open_run(tmp_path / "out" / "runs" / f"{name}-seed-{number}") for number in range(3)]
        best = [max(report.metrics.get(by, -1e9) for report in training.reports) for training in trainings]
        held_out = [training.metrics["eval/return_mean"] for training in trainings]
        chosen = best.index(max(best))
        assert len(set(held_out)) == 3, "the trainings can be told apart"
        assert scores[runs].runs == (held_out[chosen],)
        first += chosen == 0
    assert first < 2, "nor is it always the first"
    assert any(text.startswith("RL: of 3 trainings each, the one with the highest return") for text in found.notes)
    with pytest.raises(InputError, match="has no score to choose it by, which --restarts needs"):
        transfer([run], few | {"algorithm.tuning_episodes": 0}, out=tmp_path / "blind", restarts=2, clone_steps=5)


def test_what_cannot_be_carried_over_is_refused_before_anything_starts(tmp_path: Path) -> None:
    run = source(tmp_path)
    with pytest.raises(InputError, match=r"the reward reads obs \(Discrete\(64\)\), the environment shows obs \(Discrete\(25"):
        transfer([run], {"env.kwargs.size": 5}, out=tmp_path / "out")
    with pytest.raises(InputError, match="no run there"):
        transfer([tmp_path], MOVED, out=tmp_path / "out")
    bc = {"runs": str(tmp_path / "runs"), "data.path": str(tmp_path / "demos"), "learner.num_steps": 5}
    clone = api.train("gridworld-bc", FAST | bc, run="clone").path
    with pytest.raises(InputError, match=r"clone: the run has no reward: algorithm\.kind=bc: it imitates actions"):
        transfer([clone], MOVED, out=tmp_path / "out")
    assert not (tmp_path / "out").exists()
    with pytest.raises(InputError, match="--restarts: planning comes out the same each time; leave it out"):
        carried(tmp_path, run, restarts=2)
    assert not (tmp_path / "out" / "runs").exists()
    with hold(tmp_path / "out", "transfer"), pytest.raises(InputError, match="another process is running this transfer"):
        carried(tmp_path, run)


def test_the_default_folder_is_named_by_the_run() -> None:
    assert default_out(["runs/a-001", "runs/a-002"]) == Path("transfer/a-001")
    with pytest.raises(InputError, match="no run is given"):
        default_out([])
