from pathlib import Path
from typing import Any

import pytest
from interactionbed import config
from learnedbed import learned

from distil.config import validate
from distil.errors import InputError
from distil.runconfig import RunConfig, load_config
from distil.transfer.settings import clone, on_reward, require_alike, there

LONGER = {"env.max_episode_steps": 30}


def made(folder: Path, kind: str, recipe: str | None = None, path: Path | None = None, **changes: Any) -> RunConfig:
    source = config(folder, kind)
    shared = there(source, LONGER | changes, folder / "out")
    spec = learned("gail" if kind == "bc" else kind).spec
    return on_reward(source, spec, shared, changes, recipe, "name", 3, path)


def test_the_other_environment_has_workers_and_evaluation_of_the_run(tmp_path: Path) -> None:
    source = config(tmp_path, "airl")
    found = there(source, LONGER | {"evaluation.episodes": 7, "algorithm.steps": 5}, tmp_path / "out")
    assert found.env is not None
    assert source.env is not None
    assert (found.env.max_episode_steps, found.env.id, found.evaluation.episodes) == (30, source.env.id, 7)
    assert (found.rollouts, found.expert, found.runs) == (source.rollouts, source.expert, str(tmp_path / "out"))


@pytest.mark.parametrize(
    ("changes", "fault"),
    [
        ({"env.max_episode_steps": 20}, "the environment is that of the run: say what is different"),
        (LONGER | {"seed": 3}, "seed: can't be changed for a transfer; the groups of keys that can are env, expert"),
        (LONGER | {"env.kwarg": 3}, "unknown key env.kwarg"),
    ],
)
def test_changes_that_change_nothing_or_too_much(tmp_path: Path, changes: dict[str, Any], fault: str) -> None:
    with pytest.raises(InputError, match=fault):
        there(config(tmp_path, "airl"), changes, tmp_path)


def test_a_run_without_an_environment_has_no_other_one() -> None:
    source = validate(RunConfig, {"data": {"path": "x", "episodes": None}})
    with pytest.raises(InputError, match="the run has no environment"):
        there(source, LONGER, Path("out"))


@pytest.mark.parametrize("kind", ["airl", "gail", "dac", "ml_irl", "csil", "iq"])
def test_the_runs_own_step_learns_from_a_reward_alone(tmp_path: Path, kind: str) -> None:
    source, found = config(tmp_path, kind), made(tmp_path, kind, path=tmp_path / "run", **{"algorithm.steps": 90})
    step, old = found.algorithm.step.model_dump(), source.algorithm.parts[0].model_dump()
    assert {name for name in step if step[name] != old[name]} <= {"loss", "anchor", "actor_from"}
    assert (step.get("loss", "td"), step.get("anchor", 0), step.get("actor_from", 0)) == ("td", 0, 0)
    assert (found.algorithm.kind, found.algorithm.reward.path) == ("rl", str(tmp_path / "run"))
    assert (found.algorithm.steps, found.algorithm.tuning_episodes, found.seed) == (90, 10, 3), "the learned return chooses"
    assert (found.learner, found.policy) == (source.learner, source.policy)
    assert made(tmp_path, kind).algorithm.reward.kind == "environment"


def test_a_recipe_takes_its_place(tmp_path: Path) -> None:
    found, recipe = made(tmp_path, "gail", "cartpole-ppo"), load_config("cartpole-ppo")
    assert (found.algorithm, found.learner, found.policy) == (recipe.algorithm, recipe.learner, recipe.policy)
    with pytest.raises(InputError, match=r"--recipe cartpole-bc: algorithm\.kind=bc is no reinforcement learning"):
        made(tmp_path, "gail", "cartpole-bc")


def test_a_clone_sees_the_demonstrations_alone(tmp_path: Path) -> None:
    source = config(tmp_path, "airl")
    found = clone(source, there(source, LONGER, tmp_path / "out"), "c", 2, 40)
    assert (found.env, found.expert, found.algorithm.kind, found.learner.num_steps) == (None, None, "bc", 40)
    assert (found.store_path, found.data.episodes, found.runs) == (source.store_path, 2, str(tmp_path / "out"))


def test_runs_that_are_no_repetitions_are_named(tmp_path: Path) -> None:
    one, two = config(tmp_path, "gail"), config(tmp_path, "gail", seed=4)
    require_alike([one, two], ["a", "b"])
    with pytest.raises(InputError, match="b and a have other environments or algorithms"):
        require_alike([one, config(tmp_path, "iq")], ["a", "b"])
