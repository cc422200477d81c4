"""imitation's GAIL, AIRL and SQIL on CartPole, in a process and an environment of their own."""

from __future__ import annotations

import json
import os
import resource
import subprocess
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
from peers_environments import python_of

import distil
from distil import api
from distil.seeding import Purpose, episode_seeds
from distil.store import Store

PEERS = ("gail", "airl", "sqil")
NUM_DEMONSTRATIONS, NUM_EPISODES = 5, 50
_PROGRAM = Path(__file__).parent / "peer_programs" / "interact_with_imitation.py"


def peer_run(name: str, seed: int, num_steps: int, environments: Path) -> dict[str, Any]:
    """Run one algorithm on distil's demonstrations of a seed; return its curve and scores as `inverse_rl.run` does.

    Raises:
        subprocess.CalledProcessError: it failed; what it wrote is shown.
    """
    python = python_of("imitation", environments)
    with tempfile.TemporaryDirectory() as folder:
        demonstrations = _demonstrations(seed, Path(folder))
        spec = {
            "algorithm": name,
            "seed": seed,
            "num_steps": num_steps,
            "demonstrations": str(demonstrations),
            "episode_seeds": [int(value) for value in episode_seeds(Purpose.EVALUATE, NUM_EPISODES)],
        }
        before = resource.getrusage(resource.RUSAGE_CHILDREN)
        done = subprocess.run(
            [python, str(_PROGRAM), json.dumps(spec)],
            env=os.environ | {"OMP_NUM_THREADS": "1"},
            stdout=subprocess.PIPE,
            text=True,
            check=True,
            cwd=folder,
        )
        after = resource.getrusage(resource.RUSAGE_CHILDREN)
    found = json.loads(done.stdout.splitlines()[-1])
    baselines = api.evaluate_expert("cartpole-bc").baselines
    assert baselines is not None
    curve = [[steps, round(float(baselines.normalise(mean) or 0.0), 4)] for steps, mean in found["curve"]]
    return {
        "score": curve[-1][1],
        "return": found["curve"][-1][1],
        "demonstrations": NUM_DEMONSTRATIONS,
        "env_steps": found["curve"][-1][0],
        "curve": curve,
        "cpu_s": round(after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime, 1),
    }


def _demonstrations(seed: int, folder: Path) -> Path:
    """Collect the demonstrations of the recipes with this seed; return them as arrays in one file."""
    path = folder / "data"
    distil.collect("cartpole-bc", {"seed": seed, "data.path": str(path), "data.episodes": NUM_DEMONSTRATIONS})
    arrays = {}
    snapshot = Store.open(path).snapshot()
    for number, episode in enumerate(map(snapshot.episode, range(snapshot.num_episodes))):
        arrays[f"obs-{number}"] = np.asarray(episode.observations["obs"], np.float32)
        arrays[f"acts-{number}"] = np.asarray(episode.actions)
    np.savez(folder / "demonstrations.npz", **arrays)
    return folder / "demonstrations.npz"
