import sys
from pathlib import Path

import numpy as np
import pytest

from distil.envs import GymEnvConfig, describe, make
from distil.envs.pusht import corners
from distil.errors import InputError
from distil.runconfig import load_config

CONFIG = load_config("pusht-bc").env
DEMONSTRATION = np.load(Path(__file__).parent / "data" / "pusht.npz")


class Missing:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] == "gym_pusht":
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)


def test_without_the_extra_it_says_how_to_install(monkeypatch):
    for name in [name for name in sys.modules if name.partition(".")[0] == "gym_pusht"]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setattr(sys, "meta_path", [Missing(), *sys.meta_path])
    with pytest.raises(InputError, match=r"environment .*PushT-v0 needs a package .*pip install 'distil\[pusht\]'"):
        make(CONFIG)


def test_the_corners_of_a_turned_t():
    state = np.array([[1, 2, 100, 200, 0], [1, 2, 100, 200, np.pi / 2]])
    found = corners(state)
    assert found.shape == (2, 18)
    assert found.dtype == np.float32
    assert found[0].tolist() == [1, 2, 40, 200, 160, 200, 160, 230, 40, 230, 85, 230, 115, 230, 115, 320, 85, 320]
    np.testing.assert_allclose(found[1, 2:6], [100, 140, 100, 260], atol=1e-4)
    np.testing.assert_array_equal(corners(state[1]), found[1])


@pytest.fixture
def env():
    pytest.importorskip("gym_pusht", reason="the pusht extra isn't installed")
    made = make(CONFIG)
    yield made
    made.close()


def begin(env, state):
    """Put the environment into a state. The angle turns the T about its centre of gravity, so it comes before the position."""
    env.reset(seed=0)
    inner = env.unwrapped
    inner.agent.position, inner.block.angle, inner.block.position = state[:2].tolist(), float(state[4]), state[2:4].tolist()
    inner.space.reindex_shapes_for_body(inner.block)


def test_a_demonstration_s_actions_lead_through_its_states(env):
    """So its states and actions are this environment's, and the observations made of them are its observations."""
    begin(env, DEMONSTRATION["state"][0])
    seen = np.array([env.step(action)[0] for action in DEMONSTRATION["action"]])
    moved = np.abs(seen[-1] - seen[0])
    assert moved[:2].max() > 100  # px
    assert moved[2:].max() > 40  # the T, too
    np.testing.assert_allclose(seen, corners(DEMONSTRATION["state"][1:]), atol=1e-3)


def test_observations_are_the_environment_s_own_corners(env):
    first, _ = env.reset(seed=3)
    assert first in env.observation_space
    for action in np.random.default_rng(0).uniform(0, 512, (50, 2)):
        observation, *_ = env.step(action)
        inner = env.unwrapped
        own = [*inner.agent.position, *inner.get_keypoints(inner._block_shapes).reshape(-1)]
        np.testing.assert_allclose(observation, own, atol=1e-4)


def test_an_episode_depends_only_on_its_seed_and_has_the_published_score(env):
    actions = np.random.default_rng(1).uniform(100, 412, (300, 2)).astype(np.float32)

    def play():
        first, _ = env.reset(seed=0)
        steps = [env.step(action) for action in actions]
        assert [step[3] for step in steps] == [False] * 299 + [True]
        score = max(step[4]["coverage"] for step in steps) / 0.95
        assert sum(step[1] for step in steps) == pytest.approx(score)
        assert not any(step[4]["is_success"] for step in steps)
        return first.tolist(), [step[0].tolist() for step in steps], score

    played = play()
    assert played[2] > 0
    env.reset(seed=6)
    env.step(actions[0])
    assert play() == played


def test_its_spec(env):
    spec = describe(CONFIG)
    assert (spec.observation.describe(), spec.action.describe(), spec.max_episode_steps) == (
        "Box(18) float32",
        "Box(2) float32",
        300,
    )
    assert spec.action.leaf.bounds()[1].tolist() == [512, 512]
    assert GymEnvConfig.model_validate(CONFIG.model_dump()) == CONFIG
