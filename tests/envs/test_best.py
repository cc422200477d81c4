from typing import Any

import gymnasium as gym
import numpy as np
import pytest

from distil.envs.best import BestSoFar


class Rewards(gym.Env):
    """Gives the rewards that it is made with."""

    observation_space = action_space = gym.spaces.Box(-1, 1, (1,), np.float32)

    def __init__(self, rewards: list[float]) -> None:
        self.rewards, self.num = rewards, 0

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[Any, dict[str, Any]]:
        self.num = 0
        return np.zeros(1, np.float32), {"is_success": False}

    def step(self, action: Any) -> tuple[Any, float, bool, bool, dict[str, Any]]:
        self.num += 1
        return np.zeros(1, np.float32), self.rewards[self.num - 1], self.num == len(self.rewards), False, {"num": self.num}


@pytest.mark.parametrize("rewards", [[0.25, 0.5, 0.125, 0.75, 0.75], [0.0, 0.0], [-1.0, -0.5], [1.0, 0.0]])
def test_the_return_is_the_best_reward(rewards: list[float]) -> None:
    env = BestSoFar(Rewards(rewards))
    for _ in range(2):  # the second episode knows nothing of the first
        env.reset()
        steps = [env.step(env.action_space.sample()) for _ in rewards]
        assert sum(step[1] for step in steps) == max(0.0, *rewards)
        assert min(step[1] for step in steps) >= 0
        assert [step[2:] for step in steps][-1] == (True, False, {"num": len(rewards)})
