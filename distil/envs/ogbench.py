"""OGBench's manipulation tasks, one target an episode: `distil.envs.ogbench:OGBench/Targets`.

OGBench (Park et al., 2025, arXiv:2410.20092) gives its tasks a goal that is an observation, among five fixed ones, and draws it
from numpy's global state. Here its mode for collecting data draws start and target of an episode from the seed of `reset`: a
place for a cube, or a button, drawer or window to move. What the target is, is part of the observation, and so is where it and
the cubes are as seen from the gripper: scripted policies act by these differences, and a network that has to find them in the
places needs many more demonstrations. `ogbench` is imported when one is made.
"""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from typing import Any

import gymnasium as gym
import numpy as np

from distil.config import nearest
from distil.errors import InputError
from distil.types import Array

ID = "OGBench/Targets"
TASKS = ("cube", "button", "drawer", "window")  # what a target may be of; environments without the others have cubes only
MAX_EPISODE_STEPS = 200
_CENTRE, _SCALE = np.array([0.425, 0.0, 0.0]), 10.0  # of places in OGBench's own observations
_DRAWER_SCALE, _WINDOW_SCALE = 18.0, 15.0  # of theirs


class Targets(gym.Wrapper[Any, Any, Any, Any]):  # type: ignore[misc]
    """Shows the target: [D] float32. Episodes end in success, or after the limit.

    Args:
        env: one of OGBench's environments with cubes, in its mode `data_collection`.
    """

    def __init__(self, env: Any) -> None:
        super().__init__(env)
        shown = self._with_target(*env.reset(seed=0))
        self.observation_space = gym.spaces.Box(-np.inf, np.inf, shown.shape, np.float32)
        self.action_space = gym.spaces.Box(-1, 1, (5,), np.float32)  # the same as OGBench's, without its warning

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[Array, dict[str, Any]]:
        """Begin an episode."""
        observation, info = self.env.reset(seed=seed, options=options)
        return self._with_target(observation, info), {"success": False}

    def step(self, action: Any) -> tuple[Array, float, bool, bool, dict[str, Any]]:
        """Step the environment."""
        observation, reward, terminated, truncated, info = self.env.step(action)
        shown = self._with_target(observation, info)
        return shown, float(reward), bool(terminated), bool(truncated), {"success": bool(info["success"])}

    def _with_target(self, observation: Array, info: Mapping[str, Any]) -> Array:
        return np.concatenate([observation, self._target(info), self._cubes(info)]).astype(np.float32)

    def _target(self, info: Mapping[str, Any]) -> Array:
        """Return the target's numbers. Those of other targets than this episode's are 0: they are of earlier episodes."""
        task = info["privileged/target_task"]
        turn, blocks = info["privileged/target_block_yaw"], np.eye(self.unwrapped._num_cubes)
        goal = info["privileged/target_block_pos"]
        place = (goal - _CENTRE) * _SCALE
        parts = {"cube": [blocks[info["privileged/target_block"]], place, np.cos(turn), np.sin(turn), _seen(goal, info)]}
        if "privileged/target_button" in info:
            buttons = np.eye(self.unwrapped._num_buttons)
            button = [buttons[info["privileged/target_button"]], [info["privileged/target_button_state"]]]
            parts["button"] = [*button, _seen(info["privileged/target_button_top_pos"], info)]
            for name, scale in (("drawer", _DRAWER_SCALE), ("window", _WINDOW_SCALE)):
                handle = _seen(info[f"privileged/{name}_handle_pos"], info)
                parts[name] = [info[f"privileged/target_{name}_pos"] * scale, handle]
            parts = {name: [[1.0], *numbers] for name, numbers in parts.items()}
        return np.concatenate([np.concatenate(numbers) * (name == task) for name, numbers in parts.items()])

    def _cubes(self, info: Mapping[str, Any]) -> Array:
        """Return each cube as seen from the gripper: its place, and its turn, which is the same after a quarter."""
        numbers = list[Array]()
        for cube in range(self.unwrapped._num_cubes):
            turn = 4 * (info[f"privileged/block_{cube}_yaw"] - info["proprio/effector_yaw"])
            numbers += [_seen(info[f"privileged/block_{cube}_pos"], info), np.cos(turn), np.sin(turn)]
        return np.concatenate(numbers)


def _seen(place: Array, info: Mapping[str, Any]) -> Array:
    """Return a place as seen from the gripper."""
    out: Array = (place - info["proprio/effector_pos"]) * _SCALE
    return out


def make_targets(env_name: str, render_mode: str | None = None) -> Targets:
    """Return an environment of OGBench's with cubes, such as `cube-single-v0` or `scene-v0`.

    Raises:
        InputError: OGBench has no such environment.
        ModuleNotFoundError: the extra isn't installed.
    """
    import ogbench.manipspace

    own = ogbench.manipspace.__name__
    known = [name for name, spec in gym.registry.items() if str(spec.entry_point).startswith(own) and _is_known(spec)]
    if env_name not in known:
        raise InputError(f"OGBench has no environment {env_name!r}{nearest(env_name, known)}; one of {', '.join(known)}")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # without a display, dm_control's search for a renderer warns
        env = gym.make(env_name, mode="data_collection", disable_env_checker=True, render_mode=render_mode)
    return Targets(env.unwrapped)


def _is_known(spec: Any) -> bool:
    """Return whether its observations are numbers, its goals aren't fixed, and it has cubes."""
    return spec.kwargs.keys() == {"env_type"} and not spec.id.startswith("puzzle")


gym.register(ID, entry_point=make_targets, max_episode_steps=MAX_EPISODE_STEPS)
