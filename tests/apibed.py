"""Environments with other APIs than Gymnasium's, and objects that are not environments."""

import gymnasium as gym
import numpy as np


class OldApi(gym.Env):
    """Breaks Gymnasium's API in the way that `fault` names; the observation has two numbers."""

    observation_space = gym.spaces.Box(-1, 1, (2,), np.float32)
    action_space = gym.spaces.Discrete(2)

    def __init__(self, fault):
        self.fault = fault

    def reset(self, **kwargs):
        if self.fault == "seed" and "seed" in kwargs:
            raise TypeError("OldApi.reset() got an unexpected keyword argument 'seed'")
        obs = np.zeros(2, np.float32)
        return {"reset": obs, "pair": (obs, obs)}.get(self.fault, (obs, {}))

    def step(self, action):
        reward = {"reward": np.ones(1), "none": None, "list": [1.0], "zero-d": np.array(1.0)}.get(self.fault, 1)
        flags = {"step": (True,), "flag": (np.array([True]), False), "no flag": (True, None)}.get(self.fault, (True, False))
        return np.zeros(2, np.float32), reward, *flags, {}


class OldGym:
    """An environment of the old package gym."""


OldGym.__module__ = "gym.core"


class NotAnEnv:
    pass
