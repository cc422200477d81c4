import pickle
from pathlib import Path

import gymnasium as gym
import numpy as np
import pytest
from gymnasium import spaces

from distil.errors import InputError
from distil.experts.sb3.vecnormalize import read_statistics

REAL = Path(__file__).parents[3].parent / "shared/experts/trpo-Hopper-v3/vecnormalize.pkl"


def saved(path, env, **kwargs):
    vec_env = pytest.importorskip("stable_baselines3.common.vec_env", reason="the sb3 extra isn't installed")
    vec = vec_env.VecNormalize(vec_env.DummyVecEnv([lambda: env]), **kwargs)
    vec.seed(0)
    vec.reset()
    for _ in range(50):
        vec.step(np.array([vec.action_space.sample()]))
    vec.save(str(path))
    return vec


def test_equals_stable_baselines3(tmp_path):
    vec = saved(tmp_path / "v.pkl", gym.make("Pendulum-v1"), clip_obs=1.5)
    statistics = read_statistics(tmp_path / "v.pkl")
    obs = np.random.default_rng(0).normal(size=(20, 3)).astype(np.float32) * 5
    np.testing.assert_allclose(statistics.apply("obs", obs), vec.normalize_obs(obs), rtol=1e-6)
    assert np.abs(statistics.apply("obs", obs)).max() == 1.5


class Tree(gym.Env):
    observation_space = spaces.Dict(a=spaces.Box(-9, 9, (2,), np.float32), b=spaces.Box(-9, 9, (1,), np.float32))
    action_space = spaces.Discrete(2)

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        return {"a": self.np_random.normal(size=2).astype(np.float32), "b": np.ones(1, np.float32)}, {}

    def step(self, action):
        return self.reset()[0], 0.0, False, False, {}


def test_dictionaries_and_keys(tmp_path):
    vec = saved(tmp_path / "v.pkl", Tree(), norm_obs_keys=["a"])
    statistics = read_statistics(tmp_path / "v.pkl")
    obs = {"a": np.ones((3, 2), np.float32), "b": np.full((3, 1), 4, np.float32)}
    theirs = vec.normalize_obs(obs)
    np.testing.assert_allclose(statistics.apply("obs/a", obs["a"]), theirs["a"], rtol=1e-6)
    np.testing.assert_array_equal(statistics.apply("obs/b", obs["b"]), theirs["b"])


def test_observations_that_were_not_normalised(tmp_path):
    saved(tmp_path / "v.pkl", gym.make("Pendulum-v1"), norm_obs=False)
    assert read_statistics(tmp_path / "v.pkl") is None


@pytest.mark.skipif(not REAL.exists(), reason="the folder of trained experts is missing")
def test_a_real_file_of_old_gym():
    statistics = read_statistics(REAL)
    assert statistics.mean["obs"].shape == (11,)
    assert statistics.clip == 10.0
    assert np.all(statistics.scale["obs"] > 0)


def test_a_set_among_the_attributes(tmp_path):
    """Versions before 1.3 stored the keys to normalise as a set."""
    vec = saved(tmp_path / "v.pkl", Tree())
    vec.old_keys = set()
    for protocol in (3, 4):
        (tmp_path / "old.pkl").write_bytes(pickle.dumps(vec, protocol))
        statistics = read_statistics(tmp_path / "old.pkl")
        np.testing.assert_array_equal(statistics.mean["obs/a"], vec.obs_rms["a"].mean)


def test_bad_files(tmp_path):
    path = tmp_path / "v.pkl"
    with pytest.raises(InputError, match=r"no such file; set expert.vecnormalize"):
        read_statistics(path)
    path.write_bytes(pickle.dumps({"mean": 1}))
    with pytest.raises(InputError, match=r"holds no VecNormalize"):
        read_statistics(path)
    with path.open("wb") as file:
        file.truncate(1 << 40)  # sparse: nobody has the memory to read it
    with pytest.raises(InputError, match=r"1099511627776 bytes, too large for statistics"):
        read_statistics(path)
    path.write_bytes(b"cstable_baselines3.own\nVecNormalize\n)\x81}b.")
    with pytest.raises(InputError, match=r"holds no VecNormalize"):
        read_statistics(path)
    program = b"cstable_baselines3.common.vec_env.vec_normalize\nVecNormalize\n)\x81}%sb."
    for state, fault in (
        (b"", "damaged at 'obs_rms'"),
        (b"S'obs_rms'\nI1\nsS'epsilon'\nF1.0\ns", "in place of running statistics"),
    ):
        path.write_bytes(program.replace(b"%s", state))
        with pytest.raises(InputError, match=fault):
            read_statistics(path)
