"""Videos of a policy: one rendered episode."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from distil.envs import GymEnvConfig, ImportEnvConfig, make
from distil.errors import InputError, RunError
from distil.policies.predict import Predictor
from distil.policies.spec import PolicyRef
from distil.report import video
from distil.types import Array

_MAX_FRAMES = 2000
_FPS = 30


def check_video(env: GymEnvConfig | ImportEnvConfig) -> None:
    """Render one frame of the environment, so that a video fails before anything is trained.

    Raises:
        InputError: the environment can't be rendered.
    """
    _off_screen()
    try:
        world = make(env, render_mode="rgb_array")
    except InputError as error:
        raise InputError(f"{error} (for a video, with render_mode='rgb_array'): turn the video off") from None
    try:
        world.reset(seed=0)
        frame = np.asarray(world.render())
    except Exception as error:  # of the environment's renderer: any kind
        text = " ".join(str(error).split())
        raise InputError(f"{env.name} can't be rendered: {type(error).__name__}: {text}; turn the video off") from error
    finally:
        world.close()
    if frame.ndim != 3 or frame.shape[2] != 3:
        raise InputError(
            f"{env.name} renders no RGB frames [height, width, 3] with render_mode='rgb_array'; turn the video off"
        )


def _off_screen() -> None:
    os.environ.setdefault("SDL_VIDEODRIVER", "dummy")  # no screen is needed
    os.environ.setdefault("SDL_AUDIODRIVER", "dummy")  # nor a sound card, whose absence ALSA reports on stderr
    os.environ.setdefault("MUJOCO_GL", "egl")


def record_video(env: GymEnvConfig | ImportEnvConfig, policy: PolicyRef, seed: int, path: Path) -> Path:
    """Write an MP4 of the episode reset with `seed`, and return its path.

    Raises:
        InputError: the environment doesn't render.
        RunError: rendering or writing failed.
    """
    _off_screen()
    world = make(env, render_mode="rgb_array")
    try:
        fps = float(world.metadata.get("render_fps") or _FPS)
        return video(_frames(world, Predictor(policy), seed), path, fps)
    except (RunError, OSError):
        raise
    except Exception as error:  # the environment's renderer may raise anything
        text = " ".join(str(error).split())
        raise RunError(f"{env.name} can't be rendered: {type(error).__name__}: {text}; turn the video off") from error
    finally:
        world.close()


def _frames(env: Any, predictor: Predictor, seed: int) -> Iterator[Array]:
    predictor.reset(seed)
    observation, _ = env.reset(seed=seed)
    for _ in range(_MAX_FRAMES):
        yield env.render()
        observation, _, terminated, truncated, _ = env.step(predictor.predict(observation))
        if terminated or truncated:
            break
    yield env.render()
