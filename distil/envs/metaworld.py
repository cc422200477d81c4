"""MetaWorld's tasks with episodes that follow from their seeds: `distil.envs.metaworld:Meta-World/Seeded`.

MetaWorld's own `Meta-World/MT1` ignores the seed of `reset` and chooses among 50 starts that the process drew when it made the
environment: two workers would see different episodes, and no run could be repeated. Here each reset draws object and goal from
its seed, over the task's whole range, and the goal is in the observation. `metaworld` is imported when one is made.
"""

from __future__ import annotations

from typing import Any

import gymnasium as gym

from distil.config import nearest
from distil.errors import InputError

ID = "Meta-World/Seeded"
MAX_EPISODE_STEPS = 500  # MetaWorld's own; its environments refuse further steps


class SeededStarts(gym.Wrapper[Any, Any, Any, Any]):  # type: ignore[misc]
    """Resets to the start that the seed names; without a seed, to the next one of the stream that the last seed began.

    Args:
        env: one of MetaWorld's environments, as its class makes it: no task set, goal hidden.
    """

    def __init__(self, env: Any) -> None:
        super().__init__(env)
        # What set_task() would do, but for freezing one start. The flags have no public setters.
        env._set_task_called = True
        env._freeze_rand_vec = False
        env.seeded_rand_vec = True
        env._partially_observable = False
        del env.sawyer_observation_space  # cached, with bounds of 0 for the goal; observations are clipped to it
        env.observation_space = env.sawyer_observation_space

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[Any, dict[str, Any]]:
        """Begin an episode."""
        if seed is not None:
            self.unwrapped.seed(seed)
        return self.env.reset(options=options)  # type: ignore[no-any-return]


def make_seeded(env_name: str, render_mode: str | None = None) -> SeededStarts:
    """Return a MetaWorld task, such as `pick-place-v3`.

    Raises:
        InputError: MetaWorld has no such task.
        ModuleNotFoundError: the extra isn't installed.
    """
    from metaworld.env_dict import ALL_V3_ENVIRONMENTS

    if env_name not in ALL_V3_ENVIRONMENTS:
        raise InputError(f"MetaWorld has no task {env_name!r}{nearest(env_name, list(ALL_V3_ENVIRONMENTS))}")
    return SeededStarts(ALL_V3_ENVIRONMENTS[env_name](render_mode=render_mode))


gym.register(ID, entry_point=make_seeded, max_episode_steps=MAX_EPISODE_STEPS)
