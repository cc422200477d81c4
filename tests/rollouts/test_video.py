import os
import subprocess
from pathlib import Path
from typing import Any

import gymnasium as gym
import imageio_ffmpeg
import numpy as np
import pytest

from distil.envs import GymEnvConfig, ImportEnvConfig, describe
from distil.errors import InputError, RunError
from distil.policies.config import PolicyConfig
from distil.policies.policy import Policy
from distil.policies.spec import PolicyRef
from distil.rollouts.video import Look, check_video, record_expert, record_video
from distil.runconfig import load_config
from distil.setting import Setting


class Screen(gym.Env):
    """A grey screen that brightens as the episode goes on; four steps."""

    observation_space = gym.spaces.Box(-1, 1, (2,), np.float32)
    action_space = gym.spaces.Discrete(2)
    closed = 0

    def __init__(self, render_mode: str | None = None, fps: float | None = None, fault: str = "") -> None:
        self.metadata = {"render_modes": ["rgb_array"]} | ({"render_fps": fps} if fps else {})
        self.render_mode, self.fault = render_mode, fault

    def reset(self, *, seed: int | None = None, options: Any = None) -> Any:
        self.count = 0
        return np.zeros(2, np.float32), {}

    def step(self, action: Any) -> Any:
        self.count += 1
        return np.zeros(2, np.float32), 1.0, self.count == 4, False, {}

    def render(self) -> Any:
        if self.fault == "never" or (self.fault and self.count == 2):
            raise ValueError("no\nscreen")
        if self.fault == "grey":
            return np.zeros((32, 32), np.uint8)
        return np.full((32, 32, 3), 40 * self.count, np.uint8)

    def close(self) -> None:
        Screen.closed += 1


@pytest.fixture
def screen(monkeypatch: pytest.MonkeyPatch) -> Any:
    """Make the configuration of a `Screen`."""
    import testbed

    monkeypatch.setattr(testbed, "Screen", Screen, raising=False)
    monkeypatch.setattr(Screen, "closed", 0)
    return lambda **kwargs: ImportEnvConfig(target="testbed:Screen", kwargs=kwargs)


def policy_for(env: GymEnvConfig | ImportEnvConfig) -> PolicyRef:
    spec = describe(env)
    return Policy(PolicyConfig(), spec.observation, spec.action).ref(0)


def film(path: Path, height: int, width: int) -> np.ndarray:
    """Return the frames [F, height, width, 3]."""
    command = [imageio_ffmpeg.get_ffmpeg_exe(), "-v", "error", "-i", str(path), "-f", "rawvideo", "-pix_fmt", "rgb24", "-"]
    done = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, check=True)
    return np.frombuffer(done.stdout, np.uint8).reshape(-1, height, width, 3)


def test_every_state_is_shown_also_the_last(tmp_path: Path, screen: Any) -> None:
    env = screen(fps=10)
    path = record_video(env, policy_for(env), 0, tmp_path / "out" / "video.mp4")
    frames = film(path, 256 + 22, 256)[:, :256]  # enlarged, with a caption below
    assert imageio_ffmpeg.count_frames_and_secs(str(path)) == (5, 0.5)  # the environment's own frames a second
    assert [round(float(frame.mean()) / 40) for frame in frames] == [0, 1, 2, 3, 4]
    assert Screen.closed == 2  # the one described, the one filmed


def test_a_real_environment_on_the_seed_it_was_given(tmp_path: Path) -> None:
    env = GymEnvConfig(id="CartPole-v1", max_episode_steps=5)
    policy = policy_for(env)
    first, again, other = (
        film(record_video(env, policy, seed, tmp_path / f"{name}.mp4"), 422, 600)
        for name, seed in (("a", 3), ("b", 3), ("c", 4))
    )
    assert len(first) == 6
    assert np.array_equal(first, again)
    assert not np.array_equal(first[0], other[0])


def test_an_expert_is_filmed_at_a_small_size(tmp_path: Path) -> None:
    config = load_config("cartpole-bc", {"env.max_episode_steps": 50})
    assert config.env is not None
    setting = Setting.of(config)
    assert setting.team is not None
    (expert,) = setting.team.members.values()
    look = Look(max_frames=10, width=200, crf=32)
    path = record_expert(config.env, expert, setting.spec.observation, 5, tmp_path / "expert.mp4", look=look)
    assert len(film(path, 132 + 22 + (132 + 22) % 2, 200)) == 9  # every sixth of 51
    assert path.stat().st_size < 20_000


def test_a_renderer_that_fails_is_one_line_and_leaves_no_file(tmp_path: Path, screen: Any) -> None:
    env = screen(fault="raise")
    policy = policy_for(env)
    with pytest.raises(RunError, match=r"^testbed:Screen can't be rendered: ValueError: no screen; turn the video off$"):
        record_video(env, policy, 0, tmp_path / "video.mp4")
    assert not list(tmp_path.iterdir())
    assert Screen.closed == 2


def test_an_environment_without_pictures_is_bad_input(tmp_path: Path) -> None:
    env = ImportEnvConfig(target="testbed:Toy")
    with pytest.raises(InputError, match=r"testbed:Toy.*render_mode"):
        record_video(env, policy_for(env), 0, tmp_path / "video.mp4")


def test_what_cannot_be_filmed_is_refused_before_it_is_needed(screen: Any) -> None:
    check_video(screen())
    check_video(GymEnvConfig(id="CartPole-v1"))
    for env, text in (
        (screen(fault="never"), r"^testbed:Screen can't be rendered: ValueError: no screen; turn the video off$"),
        (screen(fault="grey"), r"^testbed:Screen renders no RGB frames"),
        (ImportEnvConfig(target="testbed:Toy"), r"testbed:Toy.*render_mode.*turn the video off$"),
        (ImportEnvConfig(target="testbed:vector", vectorised=True), r"is vectorised.*turn the video off$"),
    ):
        with pytest.raises(InputError, match=text):
            check_video(env)
    assert Screen.closed == 3


def test_neither_screen_nor_sound_card_is_needed(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("SDL_VIDEODRIVER", "SDL_AUDIODRIVER"):
        monkeypatch.setenv(name, "")  # so that it is restored
        monkeypatch.delenv(name)
    check_video(GymEnvConfig(id="Pendulum-v1"))
    assert (os.environ["SDL_VIDEODRIVER"], os.environ["SDL_AUDIODRIVER"]) == ("dummy", "dummy")
