"""The tasks of benchmarks/multimodal.py, its scores and its table."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import numpy as np
import pytest

sys.path.insert(0, str(Path(__file__).parents[2] / "benchmarks"))

import multimodal
from multimodal_tasks import Avoiding, Bimodal, entropy, played_by, way_along

import distil
from distil.config import apply_overrides, load_recipe, validate
from distil.envs.avoiding import NUM_WAYS
from distil.envs.avoiding import Avoiding as Env
from distil.experts.avoiding import AvoidingPlanner
from distil.runconfig import RunConfig
from distil.seeding import Purpose

PLACES = np.linspace(-1, 1, 8)


def drawn(share: float, spread: float = 1.0) -> dict[str, float]:
    """Return the figures of samples: `share` times the first mode's weight are its, `spread` times its deviation wide."""
    task, rng = Bimodal(), np.random.default_rng(0)
    modes, weights = task.modes(PLACES), task.weights(PLACES)
    which = (rng.random((len(PLACES), 500)) >= share * weights[:, :1]).astype(int)
    at = modes[np.arange(len(PLACES))[:, None], which]
    return task.figures(PLACES, at + spread * task.sigma * rng.normal(size=at.shape))


def test_samples_of_the_density_itself_have_the_best_figures() -> None:
    found = drawn(1)
    assert found["coverage"] > 0.92
    assert found["between"] < 0.002
    assert found["mmd"] < 0.03


def test_a_missing_mode_and_samples_between_are_seen() -> None:
    missing, half, wide = drawn(0), drawn(0.5), drawn(1, spread=3)
    assert missing["coverage"] == 0
    assert half["coverage"] == pytest.approx(0.5, abs=0.05)
    assert missing["mmd"] > half["mmd"] > 0.1
    assert wide["between"] == pytest.approx(np.exp(-(4**2) / (2 * 3**2)), abs=0.02)  # the tail of a Gaussian in the plane
    middle = Bimodal().figures(PLACES, Bimodal().modes(PLACES).mean(1, keepdims=True).repeat(50, 1))
    assert (middle["coverage"], middle["between"]) == (0, 1)


def test_the_discrepancy_is_that_of_two_samples() -> None:
    """Its closed form, against samples of the density in place of it."""
    task, rng = Bimodal(), np.random.default_rng(1)
    modes, weights = task.modes(PLACES)[3], task.weights(PLACES)[3]
    true = modes[(rng.random(1000) >= weights[0]).astype(int)] + task.sigma * rng.normal(size=(1000, 2))
    other = rng.uniform(-1, 1, (1000, 2))
    means = [task._kernel(left, right, 0).mean() for left, right in ((other, other), (other, true), (true, true))]
    assert task._squared_mmd(other, modes, weights) == pytest.approx(means[0] - 2 * means[1] + means[2], abs=0.02)


def test_ways_are_read_from_where_an_episode_went() -> None:
    env, planner, seen = Env(), AvoidingPlanner(), set()
    for seed in range(12):
        places, over = [env.reset(seed=seed)[0]], False
        planner.begin(0, seed)
        while not over:
            place, _, terminated, truncated, info = env.step(planner.act({"obs": places[-1][None]}).actions[0])
            places.append(place)
            over = terminated or truncated
        assert way_along(np.array(places)) == info["way"]
        seen.add(info["way"])
    assert len(seen) > 6


def test_entropy_is_in_log_base_24() -> None:
    assert entropy(list(range(NUM_WAYS))) == pytest.approx(1)
    assert entropy([5, 5, 5]) == 0
    assert entropy([]) == 0


def test_a_run_is_measured_once_and_again_when_its_settings_change(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    learner = {"num_steps": 20, "batch_size": 16, "checkpoint_every": 10}
    recipe = {**Bimodal.recipe, "learner": learner}
    monkeypatch.setattr(Bimodal, "recipe", "a shipped one")
    monkeypatch.setattr(multimodal, "load_recipe", lambda name: recipe)
    out, words = tmp_path / "out.json", ["--tasks", "bimodal", "--heads", "deterministic", "--seeds", "0", "1"]
    words += ["--keep", str(tmp_path / "keep"), "--out", str(out)]
    multimodal.main(words)
    first = json.loads(out.read_text())["results"]["bimodal"]["deterministic"]
    assert set(first) == {"0", "1"}
    assert first["0"]["between"] != first["1"]["between"]  # the seeds' data differ
    assert {*Bimodal.scores, *multimodal.FIGURES, "settings", "commit"} == set(first["0"])
    assert first["0"]["parameters"] == 128 + 128 + 128 * 128 + 128 + 2 * 128 + 2
    monkeypatch.setattr(distil, "train", None)
    multimodal.main(words)
    with pytest.raises(TypeError):  # other episodes: measured again
        multimodal.main([*words, "--tune"])
    recipe["learner"] = {**learner, "num_steps": 30}
    with pytest.raises(TypeError):  # another recipe of the same name
        multimodal.main(words)


def test_the_table_shows_means_and_the_spread_of_scores() -> None:
    figures = {"parameters": 1000, "samples/s": 2000.4, "cpu_s": 31.2, "ms at 1": 0.125, "ms at 64": 1.5}
    by_seed = {str(seed): {"maximum": 0.9 + seed / 100, "success": 0.5, **figures} for seed in range(3)}
    row = multimodal.table(multimodal.PushT, {"flow": by_seed}).splitlines()[-1]
    assert row == "| flow | 3 | 0.910 (0.885 to 0.935) | 0.50 (0.50 to 0.50) | 1,000 | 2,000 | 31 | 0.12 | 1.50 |"


@pytest.mark.parametrize("task", multimodal.TASKS)
def test_every_head_fits_every_task(task: str) -> None:
    recipe = multimodal.TASKS[task].recipe
    data = load_recipe(recipe) if isinstance(recipe, str) else recipe
    for head in multimodal.HEADS:
        config = validate(RunConfig, apply_overrides(data, multimodal.settings(head, task), RunConfig))
        assert config.policy.head.kind == multimodal.HEADS[head]["policy.head"]["kind"]


_AVOIDING = [("avoiding", kind) for kind in ("mixture", "bins", "codes", "diffusion", "shortcut", "latent", "energy")]


@pytest.mark.parametrize(("task", "head"), [*_AVOIDING, ("pusht", "two_step")])
def test_a_heads_recipe_is_its_row(task: str, head: str) -> None:
    settings = multimodal.settings(head, task)
    row = validate(RunConfig, apply_overrides(load_recipe(f"{task}-bc"), settings, RunConfig))
    shipped = validate(RunConfig, load_recipe(f"{task}-{head.replace('_', '-')}-bc"))
    for name in ("env", "expert", "data", "policy", "algorithm", "learner"):
        assert shipped.model_dump()[name] == row.model_dump()[name], name
    assert shipped.evaluation.act == row.evaluation.act


def test_avoiding_is_scored_on_episodes_that_the_policy_played(tmp_path: Path) -> None:
    recipe = tmp_path / "avoiding.yaml"
    recipe.write_text(multimodal.yaml.safe_dump(Avoiding.recipe))
    settings = multimodal.settings("deterministic", "avoiding") | {"data.episodes": 2, "learner.num_steps": 5, "seed": 0}
    settings |= {"runs": str(tmp_path / "runs"), "data.path": str(tmp_path / "data")}
    run = distil.train(recipe, settings)
    result, played = played_by(run, "point", tmp_path, Purpose.TUNE, 4)
    assert (played.snapshot().num_episodes, len(result.seeds)) == (4, 4)
    assert multimodal.latency_s(run.policy().ref, 2, "point", repetitions=4) > 0
