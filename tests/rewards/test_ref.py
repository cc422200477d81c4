import json
import re
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import gymnasium as gym
import numpy as np
import pytest
from learnedbed import learned
from powercut import PowerCut
from safetensors.numpy import save_file

from distil.errors import InputError, RunError, SupersededError
from distil.rewards.ref import RewardSpec, copy_reward, load_reward_ref, require_leaves, save_reward
from distil.spaces import action_spec, observation_spec


@pytest.mark.parametrize("kind", ["airl", "csil", "iq", "iq-sac"])
def test_it_is_read_as_it_was_written(tmp_path: Path, kind: str) -> None:
    ref = learned(kind)
    save_reward(ref, tmp_path / "reward")
    again = load_reward_ref(tmp_path / "reward")
    assert (again.version, again.spec) == (ref.version, ref.spec)
    assert all(np.array_equal(again.arrays[name], value) for name, value in ref.arrays.items())
    copy_reward(tmp_path / "reward", tmp_path / "copy")
    assert load_reward_ref(tmp_path / "copy").spec == ref.spec
    shown = json.loads((tmp_path / "copy" / "reward.json").read_text())
    assert shown["nature"] == ref.spec.nature


def test_the_reward_of_a_run_that_was_taken_over_stays(tmp_path: Path) -> None:
    def check() -> None:
        raise SupersededError("taken over")

    path = save_reward(learned("airl"), tmp_path)
    before = path.read_bytes()
    for late in (lambda: save_reward(learned("dac"), tmp_path, check), lambda: copy_reward(tmp_path, tmp_path, check)):
        with pytest.raises(SupersededError):
            late()
    assert path.read_bytes() == before


def test_a_power_cut_loses_no_reward(tmp_path: Path, power_cut: PowerCut) -> None:
    for version in range(2):
        save_reward(replace(learned("airl"), version=version), tmp_path / "run" / "reward")
        assert power_cut.lost(tmp_path) == []


def test_damage_is_found(tmp_path: Path) -> None:
    path = save_reward(learned("airl"), tmp_path)
    whole = path.read_bytes()
    for data in (whole[:100], whole[:-4], b"", whole[:-8] + b"\x01" * 8):
        path.write_bytes(data)
        with pytest.raises(InputError, match=r"reward.safetensors: "):
            load_reward_ref(tmp_path)


def test_no_reward_and_no_place_for_one(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no reward here; give the folder of a run that learned one"):
        load_reward_ref(tmp_path)
    (tmp_path / "file").write_text("")
    with pytest.raises(RunError, match="can't write the reward"):
        save_reward(learned("airl"), tmp_path / "file")


def _altered(folder: Path, change: Callable[[Any], Any], kind: str = "airl") -> None:
    save_reward(learned(kind), folder)
    header = json.loads((folder / "reward.json").read_text())
    change(header)
    save_file(dict(learned(kind).arrays), folder / "reward.safetensors", metadata={"distil": json.dumps(header)})


@pytest.mark.parametrize(
    ("change", "fault"),
    [
        (lambda h: h.update(format=2), "reward format 2, this distil reads 1; update distil"),
        (lambda h: h.update(version="1"), "its header lacks spec or version"),
        (lambda h: h.update(spec=[]), "its header lacks spec or version"),
        (lambda h: h["spec"]["config"].update(hidden=[10**6, 10**6]), "its network asks for 1000001000000 numbers"),
        (lambda h: h["spec"]["config"].update(kind="pickle"), "its spec: config.kind: no kind 'pickle'"),
        (lambda h: h["spec"].update(discount=1.5), "its spec: discount"),
        (lambda h: h["spec"].update(more=1), "its spec: unknown key more"),
        (lambda h: h["spec"].pop("observation"), "its observation space makes no sense"),
        (
            lambda h: h["spec"]["observation"]["leaves"][0].update(shape=[10**9]),
            "its observation obs asks for 1000000000 numbers",
        ),
        (lambda h: h["spec"]["action"]["leaves"][0].update(shape=[10**9]), "its action asks for 1000000000 numbers"),
        (lambda h: h["spec"].update(policy={}), "its policy and its kind don't fit each other"),
    ],
)
def test_a_header_that_makes_no_sense_or_asks_for_more_than_there_is(tmp_path: Path, change: Any, fault: str) -> None:
    _altered(tmp_path, change)
    with pytest.raises(InputError, match=re.escape(fault)):
        load_reward_ref(tmp_path)


def test_code_that_it_names_is_imported_only_if_it_is_trusted(tmp_path: Path) -> None:
    encoder = {"kind": "import", "target": "mine.nets:Net", "kwargs": {}}
    _altered(tmp_path, lambda h: h["spec"]["policy"].update(encoder=encoder), "csil")
    with pytest.raises(
        InputError, match=r"names code to import, 'mine.nets:Net'; .* load the reward with trust=\['mine.nets'\]"
    ):
        load_reward_ref(tmp_path)
    load_reward_ref(tmp_path, trust=["mine"])


def _spec(kind: str, **config: Any) -> RewardSpec:
    spec = learned(kind).spec
    return replace(spec, config=spec.config.model_copy(update=config))


def test_an_environment_may_show_more_than_the_reward_reads() -> None:
    spec = _spec("airl")
    box = gym.spaces.Box(-9, 9, (3,), np.float64)  # bounds and dtype play no part
    require_leaves(spec, observation_spec(box), spec.action, "here")
    with pytest.raises(
        InputError, match=r"here: the reward reads obs \(Box\(3\) float32\), the environment shows obs \(Box\(4\)"
    ):
        require_leaves(spec, observation_spec(gym.spaces.Box(-9, 9, (4,))), spec.action, "here")
    with pytest.raises(InputError, match=r"the environment shows obs/a \(Box\(3\) float64\): use an environment with it"):
        require_leaves(spec, observation_spec(gym.spaces.Dict(a=box)), spec.action, "here")


def test_a_reward_of_the_state_alone_fits_other_actions() -> None:
    other = action_spec(gym.spaces.Box(-2, 2, (2,), np.float32))
    spec = _spec("airl")
    with pytest.raises(
        InputError, match="here: the reward sees actions, and action low is -1 in the reward, -2 in the environment"
    ):
        require_leaves(spec, spec.observation, other, "here")
    require_leaves(_spec("airl", sees="state"), spec.observation, other, "here")
