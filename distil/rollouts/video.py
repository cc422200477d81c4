"""Videos of a policy: one rendered episode."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from distil.envs import GymEnvConfig, ImportEnvConfig, make
from distil.errors import InputError, RunError
from distil.experts.base import Expert
from distil.policies.predict import Predictor
from distil.policies.spec import PolicyRef
from distil.report import captioned, video
from distil.spaces import SpaceSpec
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


@dataclass(frozen=True, kw_only=True)
class Look:
    """How a video looks."""

    max_frames: int | None = None  # of an episode that has more, frames at equal distances are shown; None: all
    width: int | None = None  # in pixels; None: as rendered
    crf: int = 20  # of H.264: higher is smaller and worse


def record_video(
    env: GymEnvConfig | ImportEnvConfig,
    policy: PolicyRef,
    seed: int,
    path: Path,
    *,
    name: str = "policy",
    look: Look | None = None,
) -> Path:
    """Write an MP4 of a policy's episode that is reset with `seed`, and return its path. A caption has name, step and return.

    Raises:
        InputError: the environment doesn't render.
        RunError: rendering or writing failed.
    """
    predictor = Predictor(policy)
    predictor.reset(seed)
    return _record(env, lambda observation, _: predictor.predict(observation), seed, path, name, look or Look())


def record_expert(
    env: GymEnvConfig | ImportEnvConfig, expert: Expert, spec: SpaceSpec, seed: int, path: Path, *, look: Look | None = None
) -> Path:
    """Write an MP4 of an expert's episode; see `record_video`. `spec` is of the observations."""

    def act(observation: Any, world: Any) -> Any:
        rows = {name: value[None] for name, value in spec.flatten(observation).items()}
        return expert.act(rows, envs=[world]).actions[0]

    expert.begin(0, seed)
    return _record(env, act, seed, path, "expert", look or Look())


def _record(
    env: GymEnvConfig | ImportEnvConfig, act: Callable[[Any, Any], Any], seed: int, path: Path, name: str, look: Look
) -> Path:
    _off_screen()
    world = make(env, render_mode="rgb_array")
    try:
        fps = float(world.metadata.get("render_fps") or _FPS)
        frames: Iterable[Array] = _frames(world, act, seed, name, look)
        if look.max_frames is not None:
            shown = list(frames)
            frames = shown[:: -(-len(shown) // look.max_frames)]
        return video(frames, path, fps, crf=look.crf)
    except (RunError, OSError):
        raise
    except Exception as error:  # the environment's renderer may raise anything
        text = " ".join(str(error).split())
        raise RunError(f"{env.name} can't be rendered: {type(error).__name__}: {text}; turn the video off") from error
    finally:
        world.close()


def _frames(env: Any, act: Callable[[Any, Any], Any], seed: int, name: str, look: Look) -> Iterator[Array]:
    observation, _ = env.reset(seed=seed)
    total, step, ended = 0.0, 0, False
    while not ended and step < _MAX_FRAMES:
        yield captioned(env.render(), f"{name}   step {step}   return {total:.1f}", look.width)
        observation, reward, terminated, truncated, _ = env.step(act(observation, env))
        total, step, ended = total + float(reward), step + 1, terminated or truncated
    yield captioned(env.render(), f"{name}   step {step}   return {total:.1f}", look.width)
