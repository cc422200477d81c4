import subprocess
from pathlib import Path

import pytest
from jobbed import project

from distil.errors import InputError
from distil.jobs.inputs import expert_files, module_files, require_files, reward_files
from distil.jobs.package import pack
from distil.runconfig import load_config


@pytest.fixture
def mine(tmp_path: Path) -> Path:
    return project(tmp_path)


def test_a_module_needs_what_it_imports_and_its_packages(mine: Path) -> None:
    files, installed = module_files(load_config("recipe.yaml"), mine)
    assert set(files) == {"mine/__init__.py", "mine/env.py", "mine/words.py"}
    assert installed == set()
    require_files(pack(mine), mine, files)


def test_a_module_that_git_ignores_is_named(mine: Path) -> None:
    (mine / ".gitignore").write_text("words.py\n")
    subprocess.run(["git", "init", "-q"], cwd=mine, check=True)
    files, _ = module_files(load_config("recipe.yaml"), mine)
    with pytest.raises(
        InputError, match=r"target mine\.env:Talking: mine/words\.py does not travel .*`git add -f mine/words\.py`"
    ):
        require_files(pack(mine), mine, files)


def test_installed_modules_are_the_clusters_and_missing_ones_are_refused(mine: Path) -> None:
    wrapped = {
        "env.wrappers": [{"target": "gymnasium.wrappers:TimeAwareObservation"}, {"target": "distil.envs.horizon:FixedHorizon"}]
    }
    assert module_files(load_config("recipe.yaml", wrapped), mine)[1] == {"gymnasium"}
    with pytest.raises(InputError, match="no module named 'nowhere'"):
        module_files(load_config("recipe.yaml", {"env.target": "nowhere:Env"}), mine)
    with pytest.raises(InputError, match="no module named 'nowhere'"):
        module_files(load_config("cartpole-bc", {"env.id": "nowhere:Env-v0"}), mine)


def test_files_outside_and_absolute_paths_inside_are_refused(mine: Path) -> None:
    package = pack(mine)
    require_files(package, mine, {"/elsewhere/recipe.yaml": "the recipe", "./mine/../recipe.yaml": "the recipe"})
    with pytest.raises(InputError, match=r"the recipe: \.\./x\.yaml is outside of"):
        require_files(package, mine, {"../x.yaml": "the recipe"})
    with pytest.raises(InputError, match=r"has the relative path: write recipe\.yaml"):
        require_files(package, mine, {str(mine / "recipe.yaml"): "the recipe"})
    (mine / "store").mkdir()
    (mine / "store/store.json").touch()
    with pytest.raises(InputError, match=r"store/store\.json does not travel .*\(a store, a run or MLflow's\)"):
        require_files(pack(mine), mine, {"store/store.json": "expert.path"})


def test_the_files_of_experts_are_those_that_they_read(mine: Path) -> None:
    (mine / "policy").mkdir()
    (mine / "policy/policy.safetensors").write_bytes(b"1")
    policy = {"kind": "policy", "path": "policy"}
    assert expert_files(load_config("cartpole-bc", {"expert": policy})) == {"policy/policy.safetensors": "expert.path"}
    several = {
        "kind": "several",
        "members": {"a": policy, "b": {"kind": "policy", "path": "/shared/run"}, "c": {"kind": "random"}},
    }
    assert expert_files(load_config("cartpole-bc", {"expert": several})) == {
        "policy/policy.safetensors": "expert.members.a.path"
    }
    here = {"kind": "policy", "path": str(mine / "policy")}
    assert expert_files(load_config("cartpole-bc", {"expert": here})) == {str(mine / "policy"): "expert.path"}
    with pytest.raises(InputError, match="holds no policy"):
        expert_files(load_config("cartpole-bc", {"expert": {"kind": "policy", "path": "nowhere"}}))


def test_the_file_of_a_given_reward_travels(mine: Path) -> None:
    (mine / "run" / "reward").mkdir(parents=True)
    (mine / "run" / "reward" / "reward.safetensors").write_bytes(b"1")
    for path, files in (
        ("run", {"run/reward/reward.safetensors": "algorithm.reward.path"}),
        (str(mine / "run"), {str(mine / "run"): "algorithm.reward.path"}),
        ("/shared/run", {}),
    ):
        given = {"kind": "rl", "reward": {"kind": "learned", "path": path}}
        assert reward_files(load_config("cartpole-ppo", {"algorithm": given})) == files
    assert reward_files(load_config("cartpole-bc")) == {}
