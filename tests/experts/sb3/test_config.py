"""The five downloaded experts, and the configuration of their files."""

import shutil
from pathlib import Path

import numpy as np
import pytest

from distil.envs import GymEnvConfig, WrapperConfig, describe, make
from distil.errors import InputError
from distil.experts.sb3.config import Sb3ExpertConfig

FOLDER = Path(__file__).parents[3].parent / "shared/experts"
needs_folder = pytest.mark.skipif(not FOLDER.is_dir(), reason="the folder of trained experts (../shared/experts) isn't there")


def build(env_id, **config):
    env = GymEnvConfig(id=env_id)
    return Sb3ExpertConfig(**config).build(env, describe(env))


@needs_folder
@pytest.mark.parametrize(
    ("env_id", "folder", "name", "shape"),
    [
        ("CartPole-v1", "ppo-CartPole-v1", "ppo", (6,)),
        ("Pendulum-v1", "sac-Pendulum-v1", "sac", (6, 1)),
        ("Acrobot-v1", "dqn-Acrobot-v1", "dqn", (6,)),
    ],
)
def test_real_files_are_read(env_id, folder, name, shape):
    expert = build(env_id, path=str(FOLDER / folder))
    assert expert.name.startswith(f"sb3 {name} ")
    rows = np.random.default_rng(0).normal(size=(6, *describe(GymEnvConfig(id=env_id)).observation.leaves[0].shape))
    assert expert.act({"obs": rows}).actions.shape == shape


@needs_folder
def test_another_environment():
    with pytest.raises(InputError, match=r"made for observations Box\(4\).*actions Discrete\(2\).*has observations Box\(3\)"):
        build("Pendulum-v1", path=str(FOLDER / "ppo-CartPole-v1"))


@needs_folder
def test_algo_is_checked():
    path = str(FOLDER / "ppo-CartPole-v1/CartPole-v1.zip")
    assert build("CartPole-v1", path=path, algo="a2c").name == "sb3 a2c CartPole-v1.zip"
    with pytest.raises(InputError, match=r"holds one of ppo, a2c, trpo, not sac; set expert.algo=auto"):
        build("CartPole-v1", path=path, algo="sac")


@needs_folder
def test_statistics_are_found_missed_and_left_out(tmp_path):
    pytest.importorskip("mujoco", reason="the mujoco extra isn't installed")
    source = FOLDER / "trpo-Hopper-v3"
    obs = {"obs": np.random.default_rng(0).normal(size=(4, 11))}
    normalised = build("Hopper-v5", path=str(source)).act(obs).actions
    for name in ("Hopper-v3.zip", "config.yml"):
        shutil.copyfile(source / name, tmp_path / name)
    with pytest.raises(
        InputError, match=r"config.yml says that observations were normalised, but there is no vecnormalize.pkl"
    ):
        build("Hopper-v5", path=str(tmp_path))
    plain = build("Hopper-v5", path=str(tmp_path), vecnormalize="none").act(obs).actions
    assert not np.allclose(plain, normalised)
    given = build("Hopper-v5", path=str(tmp_path), vecnormalize=str(source / "vecnormalize.pkl")).act(obs).actions
    np.testing.assert_array_equal(given, normalised)
    (tmp_path / "config.yml").write_text("normalize: \"{'norm_obs': False, 'norm_reward': True}\"\n")
    np.testing.assert_array_equal(build("Hopper-v5", path=str(tmp_path)).act(obs).actions, plain)
    (tmp_path / "Hopper-v3").mkdir()  # the zoo's architecture
    shutil.copyfile(source / "vecnormalize.pkl", tmp_path / "Hopper-v3/vecnormalize.pkl")
    np.testing.assert_array_equal(build("Hopper-v5", path=str(tmp_path)).act(obs).actions, normalised)


@needs_folder
@pytest.mark.slow
@pytest.mark.parametrize(
    ("env_id", "folder", "num_episodes", "least"),
    [
        ("CartPole-v1", "ppo-CartPole-v1", 5, 500),
        ("Pendulum-v1", "sac-Pendulum-v1", 20, -170),
        ("Acrobot-v1", "dqn-Acrobot-v1", 10, -90),
        ("Hopper-v5", "trpo-Hopper-v3", 3, 3600),
        ("HalfCheetah-v5", "tqc-HalfCheetah-v3", 2, 11700),
    ],
)
def test_real_experts_reach_their_returns(env_id, folder, num_episodes, least, tmp_path, monkeypatch):
    if env_id in ("Hopper-v5", "HalfCheetah-v5"):
        pytest.importorskip("mujoco", reason="the mujoco extra isn't installed")
    monkeypatch.chdir(tmp_path)  # MuJoCo writes its warnings into the current folder
    expert, env, returns = build(env_id, path=str(FOLDER / folder)), make(GymEnvConfig(id=env_id)), []
    for seed in range(num_episodes):
        obs, _ = env.reset(seed=seed)
        expert.begin(0, seed)
        total, ended = 0.0, False
        while not ended:
            action = expert.act({"obs": np.asarray(obs)[None]}).actions[0]
            obs, reward, terminated, truncated, _ = env.step(action)
            total, ended = total + float(reward), terminated or truncated
        returns.append(total)
    assert np.mean(returns) >= least, returns


def test_wrappers_of_the_training_are_not_ignored(made, tmp_path):
    env = make(GymEnvConfig(id="Pendulum-v1"))
    path = made.write_zip(tmp_path / "m.zip", made.settings(env, "linear ars"), {"action_net.weight": np.ones((1, 3))})
    wrapped = GymEnvConfig(id="Pendulum-v1", wrappers=(WrapperConfig(target="gymnasium.wrappers:Autoreset"),))
    config = Sb3ExpertConfig(path=str(path))
    for text in (
        "rl_zoo3.wrappers.MaskVelocityWrapper",
        "[a.MaskVelocityWrapper]",
        "[{a.MaskVelocityWrapper: {x: 1}}, b.Monitor]",
    ):
        (tmp_path / "config.yml").write_text(f"env_wrapper: {text}\n")
        with pytest.raises(InputError, match=r"was wrapped by MaskVelocityWrapper: add it to env.wrappers, or remove it"):
            config.build(GymEnvConfig(id="Pendulum-v1"), describe(GymEnvConfig(id="Pendulum-v1")))
        config.build(wrapped, describe(wrapped))
    for text in ("null", "[]", "a.Monitor"):
        (tmp_path / "config.yml").write_text(f"env_wrapper: {text}\n")
        config.build(GymEnvConfig(id="Pendulum-v1"), describe(GymEnvConfig(id="Pendulum-v1")))
