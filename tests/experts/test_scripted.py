import pickle

import numpy as np
import pytest

from distil.envs import GymEnvConfig, ImportEnvConfig, describe
from distil.errors import InputError
from distil.experts.scripted import ScriptedExpertConfig


def build(env_id, name="auto", **kwargs):
    env = GymEnvConfig(id=env_id, kwargs=kwargs)
    return ScriptedExpertConfig(name=name).build(env, describe(env))


@pytest.mark.parametrize(
    ("env_id", "kwargs", "name", "shape", "dtype"),
    [
        ("LunarLander-v3", {}, "scripted lunarlander", (5,), "int64"),
        ("LunarLander-v3", {"continuous": True}, "scripted lunarlander", (5, 2), "float32"),
        ("LunarLanderContinuous-v3", {}, "scripted lunarlander", (5, 2), "float32"),
        ("CartPole-v1", {}, "scripted cartpole", (5,), "int64"),
        ("Pendulum-v1", {}, "scripted pendulum", (5, 1), "float32"),
        ("MountainCarContinuous-v0", {}, "scripted mountaincar-continuous", (5, 1), "float32"),
    ],
)
def test_auto_selects_by_the_environment(env_id, kwargs, name, shape, dtype):
    env = GymEnvConfig(id=env_id, kwargs=kwargs)
    spec = describe(env)
    expert = ScriptedExpertConfig().build(env, spec)
    assert (expert.name, expert.needs_env, expert.stateful) == (name, False, False)
    obs = {"obs": np.random.default_rng(0).normal(size=(5, *spec.observation.leaves[0].shape)).astype(np.float32)}
    labels = expert.act(obs)
    assert labels.actions.shape == shape
    assert labels.actions.dtype == dtype
    assert labels.mask.all()
    np.testing.assert_array_equal(pickle.loads(pickle.dumps(expert)).act(obs).actions, labels.actions)


def test_an_environment_without_a_script():
    with pytest.raises(
        InputError,
        match=r"none for Acrobot-v1, only for Avoiding, CarRacing, CartPole, CliffWalking.*choose another expert.kind",
    ):
        build("Acrobot-v1")


def test_spaces_that_do_not_fit():
    with pytest.raises(InputError, match=r"scripted pendulum: made for observations Box\(3\).*environment has Box\(4\)"):
        build("CartPole-v1", name="pendulum")


def test_an_imported_environment_needs_a_name():
    env = ImportEnvConfig(target="gymnasium.envs.classic_control:PendulumEnv")
    spec = describe(env)
    with pytest.raises(InputError, match=r"kind import has no id to select by; set expert.name"):
        ScriptedExpertConfig().build(env, spec)
    assert ScriptedExpertConfig(name="pendulum").build(env, spec).act({"obs": np.zeros((1, 3))}).actions.shape == (1, 1)
