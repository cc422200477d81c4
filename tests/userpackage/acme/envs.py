"""An environment: a cart on a rail that should come to rest in the middle."""

import gymnasium as gym
import numpy as np


class Cart(gym.Env):
    """The observation is (position, velocity), the action a force in [-1, 1]; an episode takes `num_steps` steps."""

    observation_space = gym.spaces.Box(-np.inf, np.inf, (2,), np.float32)
    action_space = gym.spaces.Box(-1, 1, (1,), np.float32)

    def __init__(self, num_steps=30):
        self.num_steps = num_steps

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        self.count = 0
        self.state = self.np_random.uniform(-1, 1, 2).astype(np.float32)
        return self.state.copy(), {}

    def step(self, action):
        position, velocity = self.state
        velocity += 0.3 * float(action[0])
        self.state = np.array([position + 0.3 * velocity, velocity], np.float32)
        self.count += 1
        return self.state.copy(), -float(abs(self.state).sum()), False, self.count == self.num_steps, {}
