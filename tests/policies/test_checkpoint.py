import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from powercut import PowerCut

from distil.errors import InputError, RunError, SupersededError
from distil.policies.acting import acting
from distil.policies.checkpoint import load_policy_ref, require_spaces, save_policy


@pytest.mark.parametrize("action", ["box", "unbounded", "discrete"])
@pytest.mark.parametrize("ensemble", [1, 3])
def test_a_reloaded_policy_gives_the_identical_action(world: Callable, tmp_path: Path, action: str, ensemble: int) -> None:
    """CORRECTNESS 8: statistics are saved with the policy."""
    made = world("nested", action, obs_horizon=2, chunk=2, ensemble=ensemble)
    ref = made.policy.ref(3)
    save_policy(ref, tmp_path / "policy")
    again = load_policy_ref(tmp_path / "policy")
    assert again.version == 3
    assert again.spec == ref.spec
    observations = made.observations(4)
    np.testing.assert_array_equal(acting(again, 4).act(observations), acting(ref, 4).act(observations))


def test_saving_replaces_and_leaves_nothing_else(world: Callable, tmp_path: Path) -> None:
    policy = world().policy
    save_policy(policy.ref(1), tmp_path)
    path = save_policy(policy.ref(2), tmp_path)
    assert load_policy_ref(path).version == 2
    assert sorted(p.name for p in tmp_path.iterdir()) == ["policy.json", "policy.safetensors"]
    assert json.loads((tmp_path / "policy.json").read_text())["version"] == 2


def test_the_policy_of_a_run_that_was_taken_over_stays(world: Callable, tmp_path: Path) -> None:
    def check():
        raise SupersededError("taken over")

    path = save_policy(world().policy.ref(1), tmp_path)
    before = path.read_bytes()
    with pytest.raises(SupersededError):
        save_policy(world().policy.ref(2), tmp_path, check)
    assert path.read_bytes() == before


def test_a_power_cut_loses_no_policy(world: Callable, tmp_path: Path, power_cut: PowerCut) -> None:
    """Issue 8, number 24: the folder of a policy was not flushed."""
    for version in range(2):
        save_policy(world().policy.ref(version), tmp_path / "run" / "policy")
        assert power_cut.lost(tmp_path) == []


def test_damage_is_found(world: Callable, tmp_path: Path) -> None:
    path = save_policy(world().policy.ref(1), tmp_path)
    whole = path.read_bytes()
    for data in (whole[:100], whole[:-4], b"", whole[:-8] + b"\x01" * 8):
        path.write_bytes(data)
        with pytest.raises(InputError, match=r"policy.safetensors: "):
            load_policy_ref(tmp_path)


def test_no_policy_and_no_place_for_one(world: Callable, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no policy here"):
        load_policy_ref(tmp_path)
    (tmp_path / "file").write_text("")
    with pytest.raises(RunError, match="can't write the policy"):
        save_policy(world().policy.ref(0), tmp_path / "file")


def test_other_spaces_are_named(world: Callable) -> None:
    made, other = world("vector", "box"), world("matrix", "discrete")
    ref = made.policy.ref(0)
    require_spaces(ref, made.observation, made.action, "CartPole-v1")
    with pytest.raises(InputError, match=r"observations are Box\(5\) float64, those of CartPole-v1 Box\(2, 3\) float32"):
        require_spaces(ref, other.observation, made.action, "CartPole-v1")
    with pytest.raises(InputError, match=r"actions are Box\(2\) float32, those of CartPole-v1 Discrete\(3\)"):
        require_spaces(ref, made.observation, other.action, "CartPole-v1")
