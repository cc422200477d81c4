"""What the tests of clusters/ share."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

POLE = """
import time
import gymnasium

class Slow(gymnasium.Wrapper):
    def step(self, action):
        time.sleep(0.001)
        return super().step(action)

def make():
    return Slow(gymnasium.make("CartPole-v1", max_episode_steps=100))
"""
POLE_RECIPE: dict[str, Any] = {
    "name": "pole",
    "env": {"kind": "import", "target": "pole:make"},
    "expert": {"kind": "scripted", "name": "cartpole"},
    "data": {"episodes": 6},
    "policy": {"encoder": {"kind": "mlp", "hidden": [16]}},
    "algorithm": {"kind": "dagger", "rounds": 12, "episodes_per_round": 12, "check_episodes": 0},
    "learner": {"num_steps": 40, "checkpoint_every": 20},
    "rollouts": {"num_workers": 2, "num_envs": 3},
    "evaluation": {"episodes": 4, "baselines": False},
    "tracking": {"enabled": False},
}


def shellcheck(text: str) -> str:
    """Return what shellcheck says of a bash script; empty: nothing."""
    found = shutil.which("shellcheck", path=f"{Path(sys.executable).parent}:{os.environ['PATH']}")
    command = [str(found), "--shell=bash", "-"]
    done = subprocess.run(command, input=text, capture_output=True, text=True, check=False)
    assert done.returncode in (0, 1), done.stderr
    return done.stdout
