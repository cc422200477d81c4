"""Small datasets made by LeRobot itself: run in an environment that has it to renew tests/interchange/data/lerobot_v3."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np

FPS, LENGTHS = 10, (5, 3, 4)


def state(episode: int, step: int) -> np.ndarray:
    return np.array([100 * episode + step, -step], np.float32)


def picture(episode: int, step: int) -> np.ndarray:
    """A flat colour that says which frame this is."""
    return np.full((64, 96, 3), (40 * episode + 20, 15 * step + 20, 100), np.uint8)


def make(root: Path, dtype: str) -> None:
    """Write three episodes with the real library; `dtype`: video or image."""
    from lerobot.datasets.lerobot_dataset import LeRobotDataset

    features = {
        "observation.state": {"dtype": "float32", "shape": (2,), "names": ["a", "b"]},
        "observation.images.top": {"dtype": dtype, "shape": (64, 96, 3), "names": ["height", "width", "channels"]},
        "action": {"dtype": "float32", "shape": (2,), "names": ["x", "y"]},
        "next.reward": {"dtype": "float32", "shape": (1,), "names": None},
        "next.done": {"dtype": "bool", "shape": (1,), "names": None},
        "next.success": {"dtype": "bool", "shape": (1,), "names": None},
    }
    dataset = LeRobotDataset.create("made/small", FPS, features, root=root, use_videos=dtype == "video")
    for episode, length in enumerate(LENGTHS):
        for step in range(length):
            last = step == length - 1
            dataset.add_frame(
                {
                    "observation.state": state(episode, step),
                    "observation.images.top": picture(episode, step),
                    "action": np.array([step, episode], np.float32),
                    "next.reward": np.array([float(last)], np.float32),
                    "next.done": np.array([last]),
                    "next.success": np.array([last and episode == 0]),
                    "task": "lift" if episode else "push",
                }
            )
        dataset.save_episode()
    dataset.finalize()


if __name__ == "__main__":
    make(Path(sys.argv[1]), sys.argv[2])
