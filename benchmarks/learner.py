"""Behavioural cloning in this process relative to a bare torch loop: samples/s, as the median of interleaved ratios.

The bare loop is a minimal hand-written one: preloaded tensors, random `index_select` batches, the same network, mean squared
error, fused AdamW; no normalisation, clipping, schedule, metrics or checkpoints, all of which are on in distil (its defaults).
Both use the same number of threads.

    python benchmarks/learner.py
"""

from __future__ import annotations

import argparse
import statistics
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from common import machine, write_result
from gymnasium import spaces
from torch import nn

from distil.learners import Learner, LearnerConfig, make_learner
from distil.learners.data import Streams, demos
from distil.plans import UpdatePlan
from distil.policies.config import PolicyConfig
from distil.spaces import action_spec, observation_spec
from distil.store.schema import StoreSpec
from distil.store.snapshot import Snapshot
from distil.store.store import Store
from distil.types import Episode

NUM_OBS, NUM_ACT, WIDTH, BATCH = 17, 6, 256, 256  # HalfCheetah's sizes
SPEC = StoreSpec(
    observation=observation_spec(spaces.Box(-np.inf, np.inf, (NUM_OBS,), np.float64)),
    action=action_spec(spaces.Box(-1, 1, (NUM_ACT,), np.float32)),
)


def episode(number: int, length: int) -> Episode:
    """Return an episode whose labels a network can learn."""
    rng = np.random.default_rng(number)
    obs = rng.normal(size=(length + 1, NUM_OBS))
    actions = np.tanh(obs[:-1, :NUM_ACT] - obs[:-1, -NUM_ACT:]).astype(np.float32)
    return Episode(
        observations={"obs": obs},
        actions=actions,
        rewards=np.zeros(length),
        terminated=False,
        truncated=True,
        expert_actions=actions,
        labelled=np.ones(length, np.uint8),
        acted_by_expert=np.ones(length, np.uint8),
        uid=f"benchmark-{number:04d}",
    )


def make_snapshot(folder: Path, num_episodes: int, length: int = 1000) -> Snapshot:
    """Write a store of `num_episodes` and return its snapshot."""
    store = Store.create(folder, SPEC)
    writer = store.writer("benchmark")
    for number in range(num_episodes):
        writer.add(episode(number, length))
    entry = writer.seal()
    assert entry is not None
    return store.commit([entry])


class Bare:
    """The hand-written loop."""

    def __init__(self, snapshot: Snapshot) -> None:
        columns = snapshot.columns(["obs", "expert_action", "labelled"], {"obs": np.float32})
        keep = columns["labelled"] == 1
        self.obs, self.actions = (torch.from_numpy(columns[name][keep]) for name in ("obs", "expert_action"))
        layers = [
            nn.Linear(NUM_OBS, WIDTH),
            nn.ReLU(),
            nn.Linear(WIDTH, WIDTH),
            nn.ReLU(),
            nn.Linear(WIDTH, NUM_ACT),
            nn.Tanh(),
        ]
        self.net = nn.Sequential(*layers)
        self.optimiser = torch.optim.AdamW(self.net.parameters(), lr=1e-3, fused=True)

    def run(self, num_steps: int) -> float:
        """Take the steps; return samples/s."""
        start_s = time.perf_counter()
        for _ in range(num_steps):
            index = torch.randint(len(self.obs), (BATCH,))
            loss = nn.functional.mse_loss(self.net(self.obs.index_select(0, index)), self.actions.index_select(0, index))
            self.optimiser.zero_grad(set_to_none=True)
            loss.backward()
            self.optimiser.step()
        return num_steps * BATCH / (time.perf_counter() - start_s)


def ratios(
    bare: Callable[[int], float], learner: Learner, streams: Streams, num_steps: int, repetitions: int
) -> list[dict[str, float]]:
    """Interleave the repetitions of a bare loop and of distil's; return the figures of each. A first one warms up."""
    rows: list[dict[str, float]] = []
    for number in range(-1, repetitions):
        steps = num_steps if number >= 0 else num_steps // 10
        figures: dict[str, float] = {}
        for which in ("bare", "distil") if number % 2 else ("distil", "bare"):
            if which == "bare":
                figures["bare"] = bare(steps)
                continue
            metrics = learner.update(UpdatePlan(num_steps=steps, round=number + 1), streams)
            figures["distil"] = metrics["train/samples_per_s"]
            figures["data_wait"] = metrics["time/data_wait_s"] / metrics["time/update_s"]
        if number >= 0:
            rows.append(figures | {"ratio": figures["distil"] / figures["bare"]})
    return rows


def medians(rows: Sequence[Mapping[str, float]]) -> dict[str, Any]:
    """Return the figures of interleaved repetitions as a result's."""
    return {
        "bare_samples_per_s": round(statistics.median(row["bare"] for row in rows)),
        "distil_samples_per_s": round(statistics.median(row["distil"] for row in rows)),
        "ratio_median": round(statistics.median(row["ratio"] for row in rows), 3),
        "ratios": [round(row["ratio"], 3) for row in rows],
        "data_wait_fraction": round(statistics.median(row["data_wait"] for row in rows), 4),
    }


def measure(args: argparse.Namespace, folder: Path) -> dict[str, Any]:
    """Interleave the repetitions; return the figures."""
    snapshot = make_snapshot(folder / "store", args.episodes)
    config = LearnerConfig(batch_size=BATCH, threads=args.threads)
    learner = make_learner(config, PolicyConfig(), SPEC, folder / "checkpoints", seed=0)
    bare = Bare(snapshot)
    rows = ratios(bare.run, learner, demos(snapshot), args.steps, args.repetitions)
    learner.close()
    return medians(rows)


def main() -> None:
    """Measure, print a table, write the figures."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--steps", type=int, default=2500, help="gradient steps a repetition")
    parser.add_argument("--repetitions", type=int, default=11)
    parser.add_argument("--episodes", type=int, default=200, help="of 1000 transitions, in the store")
    parser.add_argument("--threads", type=int, default=1, help="of torch, for both")
    parser.add_argument("--out", type=Path, default=Path(__file__).parent / "results" / "learner.json")
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    with tempfile.TemporaryDirectory() as folder:
        figures = measure(args, Path(folder))
    setting = {
        "network": f"{NUM_OBS}-{WIDTH}-{WIDTH}-{NUM_ACT}",
        "batch_size": BATCH,
        "threads": args.threads,
        "steps": args.steps,
    }
    print(f"{'loop':<8} {'samples/s':>10}")
    print(f"{'bare':<8} {figures['bare_samples_per_s']:>10,}")
    print(f"{'distil':<8} {figures['distil_samples_per_s']:>10,}")
    wait = 100 * figures["data_wait_fraction"]
    print(f"ratio {figures['ratio_median']:.3f} (wanted: at least 0.9), data wait {wait:.2f} % (wanted: below 2)")
    write_result(args.out, {"machine": machine(), "setting": setting} | figures)


if __name__ == "__main__":
    main()
