"""A user's own head and backbone through the main job: trained, resumed, saved, loaded, evaluated, played as an expert."""

from pathlib import Path

import numpy as np
import pytest

import distil
from distil.api import evaluate_run
from distil.errors import InputError
from distil.policies.acting import acting
from distil.policies.restore import policy_of

SMALL = {
    "rollouts.num_workers": 0,
    "rollouts.num_envs": 4,
    "tracking.enabled": False,
    "evaluation.episodes": 3,
    "evaluation.baselines": False,
    "expert": {"kind": "scripted"},
    "env.id": "Pendulum-v1",
    "env.max_episode_steps": 40,
    "data.episodes": 3,
    "learner.num_steps": 40,
    "learner.checkpoint_every": 20,
    "policy.head": {"kind": "import", "target": "headbed:Laplace", "kwargs": {"width": 0.2}},
}
TOKENS = {
    "policy.obs_horizon": 2,
    "policy.chunk": 2,
    "policy.encoder": {"kind": "import", "target": "headbed:Frames", "kwargs": {"width": 8}},
    "policy.head": {"kind": "import", "target": "headbed:OfTokens", "kwargs": {}},
}


@pytest.mark.parametrize("changes", [{}, TOKENS, {"policy.ensemble": 2}], ids=["head", "backbone and head", "ensemble"])
def test_own_parts_go_the_whole_way(changes: dict[str, object]) -> None:
    run = distil.train("pendulum-bc", SMALL | changes)
    assert run.metrics["train/error"] > 0  # the head's own figure
    ref = run.policy().ref
    observations = {"obs": np.random.default_rng(0).normal(size=(4, 3)).astype(np.float32)}
    assert acting(ref, 4, act="sample").act(observations).shape == (4, 1)
    assert set(policy_of(ref).state_dict()) == set(ref.arrays)
    again = distil.train(run.path, resume=True)
    assert all(np.array_equal(value, again.policy().ref.arrays[name]) for name, value in ref.arrays.items())
    assert evaluate_run(run.path, episodes=3).results["policy"].mean == run.metrics["eval/return_mean"]
    with pytest.raises(InputError, match=r"policy.safetensors: it names code to import, 'headbed:\w+'; if you trust it"):
        distil.load_policy(run.path)
    assert distil.load_policy(run.path, trust=["headbed"]).predict(observations["obs"][0]).shape == (1,)


def test_an_update_that_was_killed_continues_to_the_same_policy(tmp_path: Path) -> None:
    whole = distil.train("pendulum-bc", SMALL | {"data.path": str(tmp_path / "demos")}, run="whole")
    cut = distil.train("pendulum-bc", SMALL | {"data.path": str(tmp_path / "demos")}, run="cut")
    (done,) = (cut.path / "checkpoints").glob("*-done.safetensors")
    done.unlink()
    journal = cut.path / "journal.jsonl"
    journal.write_text("".join(line + "\n" for line in journal.read_text().splitlines() if '"reported"' not in line))
    again = distil.train(cut.path, resume=True)
    assert all(np.array_equal(v, again.policy().ref.arrays[name]) for name, v in whole.policy().ref.arrays.items())


def test_sampled_evaluation_is_repeatable_and_differs_from_the_point() -> None:
    run = distil.train("pendulum-bc", SMALL | {"evaluation.act": "sample"}, run="sampled")
    point = distil.train("pendulum-bc", SMALL, run="point")
    assert run.metrics["train/loss"] == point.metrics["train/loss"]
    assert run.metrics["eval/return_mean"] != point.metrics["eval/return_mean"]
    assert evaluate_run(run.path, episodes=3).results["policy"].mean == run.metrics["eval/return_mean"]
    with pytest.raises(InputError, match=r"evaluation.act=sample: policy.head.kind=deterministic has one action a state"):
        distil.train("pendulum-bc", SMALL | {"evaluation.act": "sample", "policy.head": {"kind": "deterministic"}})


def test_an_own_policy_as_the_expert() -> None:
    run = distil.train("pendulum-bc", SMALL)
    expert = {"expert": {"kind": "policy", "path": str(run.path)}, "data.path": "second", "policy.head": {"kind": "auto"}}
    with pytest.raises(InputError, match="names code to import, 'headbed:Laplace'"):
        distil.train("pendulum-bc", SMALL | expert)
    expert["expert"] = expert["expert"] | {"trust": ["headbed"]}
    assert distil.train("pendulum-bc", SMALL | expert).metrics["train/loss"] > 0
