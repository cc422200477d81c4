"""What the programs of all libraries share: the words to the clock, the server of a saved policy. Needs NumPy alone.

Each program runs in its own library's environment, as `PROGRAM train SPEC` or `PROGRAM act SPEC POLICY`. SPEC is a JSON file:
algorithm, env_id, observation and action (spaces), demonstrations (.npz or the library's own), expert (.npz), budgets, cap_s,
out, seed, settings.
"""

from __future__ import annotations

import json
import os
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np


class Clock:
    """Tells `peers_clock.py` what happens. Each word is answered once the CPU time is read."""

    def __init__(self) -> None:
        self._tells, self._hears = (int(os.environ[name]) for name in ("PEER_TELLS", "PEER_HEARS"))
        self._began_s: float | None = None

    def say(self, word: str, **facts: Any) -> None:
        """Send a word and wait for the answer."""
        os.write(self._tells, json.dumps({"say": word, **facts}).encode() + b"\n")
        assert os.read(self._hears, 1) == b"\n"
        if word == "train" and self._began_s is None:
            self._began_s = time.process_time()

    def mark(self, save: Callable[[str], object], out: str, budget: int, **facts: Any) -> None:
        """Save a policy with `save(path)` and report it."""
        self.say("save")
        path = f"{out}/policy-{budget}"
        save(path)
        self.say("mark", path=path, budget=budget, **facts)

    def training_s(self) -> float:
        """Return this process's CPU-seconds since training began."""
        assert self._began_s is not None
        return time.process_time() - self._began_s


class Enough(Exception):  # noqa: N818
    """The last budget, or the limit on CPU-seconds, is reached."""


class Schedule:
    """Marks the policy at each budget of samples, and ends the training after the last one or after `cap_s`."""

    def __init__(self, clock: Clock, spec: dict[str, Any], batch_size: int, save: Callable[[str], object]) -> None:
        self._clock, self._spec, self._batch_size, self._save = clock, spec, batch_size, save
        self._left = list(spec["budgets"])
        self._num_batches = 0

    def step(self, num_batches: int = 1) -> None:
        """Count batches; raise Enough at the end."""
        self._num_batches += num_batches
        num_samples = self._num_batches * self._batch_size
        is_due = num_samples >= self._left[0]
        is_over = self._num_batches % 50 == 0 and self._clock.training_s() >= self._spec["cap_s"]
        if is_due or is_over:
            self._clock.mark(self._save, self._spec["out"], num_samples, samples=num_samples)
            self._left = [budget for budget in self._left if budget > num_samples]
        if is_over or not self._left:
            raise Enough


class Expert:
    """The expert in NumPy: a network whose weights distil has read from the file, and what its outputs mean."""

    def __init__(self, path: str) -> None:
        data = np.load(path)
        self._arrays = {name: data[name] for name in data.files}
        self._num_layers = sum(name.startswith("weight") for name in data.files)

    def __call__(self, observations: np.ndarray) -> np.ndarray:
        """Return the actions [N, A] for observations [N, D]."""
        arrays, x = self._arrays, observations
        if "mean" in arrays:
            x = np.clip((x - arrays["mean"]) / arrays["scale"], -arrays["clip"], arrays["clip"])
        x = x.astype(np.float32)
        for layer in range(self._num_layers):
            x = x @ arrays[f"weight{layer}"] + arrays[f"bias{layer}"]
            if layer < self._num_layers - 1:
                x = np.tanh(x) if arrays["hidden"] == "tanh" else np.maximum(x, 0)
        low, high = arrays["low"], arrays["high"]
        if arrays["output"] == "tanh":
            if "mean_clip" in arrays:
                x = np.clip(x, -arrays["mean_clip"], arrays["mean_clip"])
            x = low + 0.5 * (np.tanh(x) + 1) * (high - low)
        return np.clip(x, low, high).astype(np.float32)


def steps(path: str) -> dict[str, np.ndarray]:
    """Return obs, actions, next_obs, rewards, terminated and ends (of an episode), [N, ...] each, of all demonstrations."""
    data = np.load(path)
    return {name: data[name] for name in data.files}


def main(train: Callable[[dict[str, Any], Clock], None], load: Callable[[dict[str, Any], str], Callable[..., Any]]) -> None:
    """Train, or answer each batch of observations with actions until the pipe is closed."""
    spec = json.loads(Path(sys.argv[2]).read_text())
    if sys.argv[1] == "train":
        train(spec, Clock())
        return
    tells, hears = (int(os.environ[name]) for name in ("PEER_TELLS", "PEER_HEARS"))
    with os.fdopen(hears, "rb") as requests, os.fdopen(tells, "wb") as answers:
        act = load(spec, sys.argv[3])
        while line := requests.readline():
            head = json.loads(line)
            size = int(np.prod(head["shape"])) * np.dtype(head["dtype"]).itemsize
            actions = np.ascontiguousarray(act(np.frombuffer(requests.read(size), head["dtype"]).reshape(head["shape"])))
            head = {"shape": actions.shape, "dtype": str(actions.dtype)}
            answers.write(json.dumps(head).encode() + b"\n" + actions.tobytes())
            answers.flush()
