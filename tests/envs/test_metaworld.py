import sys

import numpy as np
import pytest

from distil.envs import GymEnvConfig, describe, make
from distil.errors import InputError

CONFIG = GymEnvConfig(id="distil.envs.metaworld:Meta-World/Seeded", kwargs={"env_name": "pick-place-v3"}, max_episode_steps=150)


class Missing:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] == "metaworld":
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)


def test_without_the_extra_it_says_how_to_install(monkeypatch):
    for name in [name for name in sys.modules if name.partition(".")[0] == "metaworld"]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setattr(sys, "meta_path", [Missing(), *sys.meta_path])
    with pytest.raises(InputError, match=r"environment .*Seeded needs a package .*pip install 'distil\[metaworld\]'"):
        make(CONFIG)


@pytest.fixture
def env(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)  # MuJoCo writes its warnings into the current folder
    pytest.importorskip("metaworld", reason="the metaworld extra isn't installed")
    made = make(CONFIG)
    yield made
    made.close()


def play(env, seed, num_steps):
    """Return the first observation and the results of random actions, the same for each seed."""
    rng = np.random.default_rng(seed)
    first, _ = env.reset(seed=seed)
    steps = [env.step(rng.uniform(-1, 1, 4).astype(np.float32)) for _ in range(num_steps)]
    return first, np.array([np.append(step[0], step[1]) for step in steps])


@pytest.mark.filterwarnings("ignore")
def test_an_episode_depends_only_on_its_seed(env):
    first, steps = play(env, 7, 40)
    play(env, 8, 25)  # whatever was done in between
    again, same = play(env, 7, 40)
    np.testing.assert_array_equal(again, first)
    np.testing.assert_array_equal(same, steps)
    fresh, too = play(make(CONFIG), 7, 40)
    np.testing.assert_array_equal(fresh, first)
    np.testing.assert_array_equal(too, steps)


@pytest.mark.filterwarnings("ignore")
def test_object_and_goal_vary_and_are_observed(env):
    firsts = np.array([env.reset(seed=seed)[0] for seed in range(8)])
    assert len({tuple(row) for row in firsts[:, 4:6]}) == 8
    goals = firsts[:, -3:]
    assert len({tuple(row) for row in goals}) == 8
    assert env.observation_space.contains(firsts[0])
    env.reset(seed=3)
    for _ in range(3):
        later = env.step(np.zeros(4, np.float32))[0]
        np.testing.assert_allclose(later[-3:], goals[3])


@pytest.mark.filterwarnings("ignore")
def test_the_time_limit_truncates(env):
    assert describe(CONFIG).max_episode_steps == 150
    env.reset(seed=0)
    for _ in range(150):
        _, _, terminated, truncated, info = env.step(np.zeros(4, np.float32))
    assert truncated
    assert not terminated
    assert info["success"] == 0


@pytest.mark.filterwarnings("ignore")
def test_an_unknown_task_is_named(env):
    with pytest.raises(InputError, match=r"MetaWorld has no task 'pick-plce-v3'; did you mean pick-place-v3"):
        make(GymEnvConfig(id=CONFIG.id, kwargs={"env_name": "pick-plce-v3"}))
