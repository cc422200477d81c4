"""An environment for the tests of RLlib, which its actors import."""

import gymnasium as gym
import numpy as np


class Stuck(gym.Env):
    """Each step raises."""

    observation_space = gym.spaces.Box(-1, 1, (2,), np.float32)
    action_space = gym.spaces.Discrete(2)

    def reset(self, *, seed=None, options=None):
        return np.zeros(2, np.float32), {}

    def step(self, action):
        raise ValueError("the arm is stuck")
