"""What all contestants get: demonstrations, collected once per seed and exported, and the expert as plain arrays."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from peers_plan import TASKS, Task

import distil
from distil.envs.factory import describe
from distil.interchange import formats
from distil.interchange.transfer import export_store
from distil.runconfig import load_config
from distil.seeding import Purpose
from distil.session import Session
from distil.store import Snapshot


class Material:
    """The demonstrations, exports, expert and references of one task, below a folder."""

    def __init__(self, name: str, experts: Path, folder: Path, seeds: Sequence[int], purpose: Purpose) -> None:
        self.name, self.task = name, TASKS[name]
        self._experts, self._folder, self._purpose = experts, folder, purpose
        self.seeds = seeds

    def overrides(self, seed: int) -> dict[str, Any]:
        """Return what the recipe leaves to the user."""
        path = {"expert.path": str(self._experts / self.task.expert)} if self.task.expert else {}
        return {"seed": seed, **path, **self.task.overrides}

    def references(self) -> dict[str, float]:
        """Return the expert's and the random policy's mean returns on the episodes that all are scored on."""
        config = load_config(self.name, {**self.overrides(0), "runs": str(self._folder), "rollouts.num_workers": 0})
        with Session(config) as session:
            found = session.baselines(len(self.seeds), self._purpose)
        assert found is not None
        return {"expert": found.expert, "random": found.random}

    def store(self, seed: int) -> Path:
        """Return the store with the demonstrations of a seed, collected if they are missing."""
        path = self._folder / "stores" / f"{self.name}-{seed}"
        distil.collect(self.name, {**self.overrides(seed), "data.path": str(path), "rollouts.num_workers": 0})
        return path

    def demonstrations(self, seed: int, library: str) -> Path:
        """Return the demonstrations of a seed in the form that a library reads."""
        store = distil.Store.open(self.store(seed))
        num = load_config(self.name, self.overrides(seed)).data.episodes
        snapshot = store.snapshot() if num is None else store.snapshot().first(num)
        kind = library if library in ("rllib", "robomimic") else "arrays"
        target = self._folder / "exports" / f"{self.name}-{seed}-{kind}{'' if library == 'rllib' else _SUFFIX[kind]}"
        target.parent.mkdir(parents=True, exist_ok=True)
        if not target.exists():
            if kind == "arrays":
                np.savez(target, **arrays(snapshot))
            else:
                export_store(formats.exporter(kind, {}), snapshot, target)
        return target

    def expert(self) -> Path | None:
        """Return the expert's file for programs without distil; None where the recipe's is scripted."""
        if self.task.expert is None:
            return None
        config = load_config(self.name, self.overrides(0))
        assert config.env is not None
        assert config.expert is not None
        checked: Any = config.expert.build(config.env, describe(config.env))
        path = self._folder / f"{self.name}-expert.npz"
        path.parent.mkdir(parents=True, exist_ok=True)
        np.savez(path, **weights(checked._expert))
        return path


_SUFFIX = {"arrays": ".npz", "robomimic": ".hdf5"}


def arrays(snapshot: Snapshot) -> dict[str, Any]:
    """Return all steps as arrays [N, ...]."""
    parts: dict[str, list[Any]] = {}
    for number in range(snapshot.num_episodes):
        episode = snapshot.episode(number)
        observations = next(iter(episode.observations.values()))
        last = np.arange(episode.length) == episode.length - 1
        for name, values in {
            "obs": observations[:-1],
            "next_obs": observations[1:],
            "actions": episode.actions,
            "rewards": episode.rewards,
            "terminated": last & episode.terminated,
            "ends": last,
        }.items():
            parts.setdefault(name, []).append(values)
    return {name: np.concatenate(values) for name, values in parts.items()}


def weights(expert: Any) -> dict[str, Any]:
    """Return a Stable-Baselines3 expert as arrays, see `peer_programs/common.py`."""
    layout, network, statistics = expert._layout, expert._layout.network, expert._statistics
    out: dict[str, Any] = {
        "hidden": network._activation.lower(),
        "output": layout.output,
        "low": expert._low,
        "high": expert._high,
    }
    for number, (weight, bias) in enumerate(zip(network._weights_IO, network._biases_O, strict=True)):
        out |= {f"weight{number}": weight, f"bias{number}": bias}
    if layout.mean_clip is not None:
        out["mean_clip"] = layout.mean_clip
    if statistics is not None:
        (leaf,) = statistics.mean
        out |= {"mean": statistics.mean[leaf], "scale": statistics.scale[leaf], "clip": statistics.clip}
    return out


def spaces_of(task: Task) -> dict[str, Mapping[str, Any]]:
    """Return the environment's spaces as JSON data."""
    import gymnasium as gym

    env = gym.make(task.env_id)
    out = {}
    for name, space in (("observation", env.observation_space), ("action", env.action_space)):
        if isinstance(space, gym.spaces.Discrete):
            out[name] = {"kind": "discrete", "n": int(space.n)}
        else:
            assert isinstance(space, gym.spaces.Box)
            bounds = {"low": space.low.tolist(), "high": space.high.tolist()}
            out[name] = {"kind": "box", **bounds, "shape": space.shape, "dtype": str(space.dtype)}
    env.close()
    return out
