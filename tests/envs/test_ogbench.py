import sys

import numpy as np
import pytest

from distil.envs import GymEnvConfig, describe, make
from distil.envs.ogbench import TASKS
from distil.errors import InputError
from distil.experts.scripted import ScriptedExpertConfig


def config(env_name):
    return GymEnvConfig(id="distil.envs.ogbench:OGBench/Targets", kwargs={"env_name": env_name})


class Missing:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] == "ogbench":
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)


def test_without_the_extra_it_says_how_to_install(monkeypatch):
    for name in [name for name in sys.modules if name.partition(".")[0] == "ogbench"]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setattr(sys, "meta_path", [Missing(), *sys.meta_path])
    with pytest.raises(InputError, match=r"environment .*Targets needs a package .*pip install 'distil\[ogbench\]'"):
        make(config("cube-single-v0"))


def test_an_unknown_one_is_named():
    pytest.importorskip("ogbench", reason="the ogbench extra isn't installed")
    with pytest.raises(InputError, match=r"no environment 'cube-singel-v0'; did you mean cube-single-v0"):
        make(config("cube-singel-v0"))
    with pytest.raises(InputError, match=r"no environment 'puzzle-3x3-v0'.*one of cube-single-v0, .*, scene-v0"):
        make(config("puzzle-3x3-v0"))


@pytest.fixture(scope="module")
def scene():
    pytest.importorskip("ogbench", reason="the ogbench extra isn't installed")
    made = make(config("scene-v0"))
    yield made
    made.close()


def play(env, seed, num_steps):
    rng = np.random.default_rng(seed)
    first, _ = env.reset(seed=seed)
    return np.array([first] + [env.step(rng.uniform(-1, 1, 5).astype(np.float32))[0] for _ in range(num_steps)])


def test_an_episode_depends_only_on_its_seed(scene):
    """Whatever the earlier ones' targets were, and the global random state is: OGBench keeps the one, draws from the other."""
    found = {seed: play(scene, seed, 5) for seed in (0, 1, 2, 3)}
    state = np.random.get_state()[1].copy()  # noqa: NPY002
    for seed in (3, 1, 0, 2):
        np.testing.assert_array_equal(play(scene, seed, 5), found[seed])
    np.testing.assert_array_equal(np.random.get_state()[1], state)  # noqa: NPY002


def test_the_target_is_shown(scene):
    targets, size = {}, 40  # OGBench's own numbers come first
    for seed in range(12):
        observation, info = scene.reset(seed=seed)
        assert info == {"success": False}
        assert observation in scene.observation_space
        targets.setdefault(scene.unwrapped._target_task, []).append(observation[size:])
    assert set(targets) == set(TASKS)
    start = 0
    for task, length in {"cube": 10, "button": 7, "drawer": 5, "window": 5}.items():
        for other, rows in targets.items():
            shown = np.array(rows)[:, start : start + length]
            assert (shown[:, 0] == (other == task)).all()
            assert shown.any() == (other == task)
        start += length
    places = np.array(targets["cube"])[:, 2:5]
    assert len(np.unique(places[:, 0])) == len(places) > 1


def test_cube_and_target_are_shown_as_seen_from_the_gripper(scene):
    places = {"cube": "target_block_pos", "button": "target_button_top_pos"}
    places |= {task: f"{task}_handle_pos" for task in ("drawer", "window")}
    starts, seen = {"cube": 47, "button": 54, "drawer": 59, "window": 64}, set()
    for seed in range(12):
        observation = play(scene, seed, 3)[-1]
        info, task = scene.unwrapped.compute_ob_info(), scene.unwrapped._target_task
        hand, turn = info["proprio/effector_pos"], info["proprio/effector_yaw"][0]
        target = 10 * (info[f"privileged/{places[task]}"] - hand)
        np.testing.assert_allclose(observation[starts[task] :][:3], target, atol=1e-5)
        np.testing.assert_allclose(observation[-5:-2], 10 * (info["privileged/block_0_pos"] - hand), atol=1e-5)
        quarter = np.cos(4 * (info["privileged/block_0_yaw"][0] - turn + np.pi / 2))
        np.testing.assert_allclose(observation[-2], quarter, atol=1e-5)
        seen.add(task)
    assert seen == set(TASKS)


def test_the_scripted_expert_succeeds_at_each_kind_of_target(scene):
    spec = describe(config("scene-v0"))
    expert = ScriptedExpertConfig().build(config("scene-v0"), spec)
    assert (spec.observation.describe(), spec.max_episode_steps) == ("Box(72) float32", 200)
    assert (expert.name, expert.needs_env, expert.stateful) == ("scripted ogbench", True, False)
    done = set()
    for seed in range(12):
        observation, _ = scene.reset(seed=seed)
        if scene.unwrapped._target_task in done:
            continue
        over, total = False, 0.0
        while not over:
            action = expert.act({"obs": observation[None]}, envs=[scene]).actions[0]
            observation, reward, terminated, truncated, info = scene.step(action)
            over, total = terminated or truncated, total + reward
        assert (terminated, total, info) == (True, 1.0, {"success": True})
        done.add(scene.unwrapped._target_task)
    assert done == set(TASKS)
