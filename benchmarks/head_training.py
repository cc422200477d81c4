"""Training with each head relative to a bare torch loop of the same network and loss: the median of interleaved ratios.

    python benchmarks/head_training.py [--heads flow ...] [--steps 200] [--repetitions 5]

The data, networks and batches are those of multimodal.py's task avoiding. The bare loop has all windows of the data as tensors,
random `index_select` batches, the loss of the same policy and fused AdamW; no clipping, averages, schedule, metrics or
checkpoints, all of which distil has on. One thread for both. Writes
benchmarks/results/head_training.json.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from pathlib import Path
from typing import Any, cast

import torch
from common import machine, write_result
from learner import medians, ratios
from multimodal import HEADS, settings
from multimodal_tasks import Avoiding

import distil
from distil.config import apply_overrides, validate
from distil.learners import make_learner
from distil.learners.data import demos
from distil.objectives.statistics import fit_policy
from distil.objectives.tensors import to_torch
from distil.policies.policy import Policy
from distil.runconfig import RunConfig
from distil.store import Sampler, Snapshot
from distil.types import Batch


class Bare:
    """The hand-written loop around a policy's loss."""

    def __init__(self, config: RunConfig, snapshot: Snapshot) -> None:
        spec = snapshot.spec
        windows = Sampler(snapshot, obs_horizon=config.policy.obs_horizon, chunk=config.policy.chunk)
        self.policy = Policy(config.policy, spec.observation, spec.action)
        fit_policy(self.policy, windows, imitates=True)
        everything = cast("Batch", next(windows.scan(windows.num_samples)))
        self.windows, self.size = to_torch(everything, torch.device("cpu")), config.learner.batch_size
        self.optimiser = torch.optim.AdamW(self.policy.parameters(), lr=1e-3, fused=True)
        self.generator = torch.Generator()

    def run(self, num_steps: int) -> float:
        """Take the steps; return samples/s."""
        rows, start_s = self.windows, time.perf_counter()
        for _ in range(num_steps):
            index = torch.randint(len(rows.actions), (self.size,))
            batch = Batch(
                observations={name: values.index_select(0, index) for name, values in rows.observations.items()},
                actions=rows.actions.index_select(0, index),
                is_pad=rows.is_pad.index_select(0, index),
            )
            loss = self.policy.loss(batch, generator=self.generator).mean()
            self.optimiser.zero_grad(set_to_none=True)
            loss.backward()
            self.optimiser.step()
        return num_steps * self.size / (time.perf_counter() - start_s)


def measure(head: str, snapshot: Snapshot, folder: Path, steps: int, repetitions: int) -> dict[str, Any]:
    """Return the figures of a head."""
    config = validate(RunConfig, apply_overrides(cast("Any", Avoiding.recipe), settings(head, "avoiding"), RunConfig))
    learner = make_learner(config.learner, config.policy, snapshot.spec, folder, seed=0)
    rows = ratios(Bare(config, snapshot).run, learner, demos(snapshot), steps, repetitions)
    learner.close()
    return medians(rows)


def main() -> None:
    """Measure, print the figures, write them."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--heads", nargs="*", choices=list(HEADS), default=[head for head in HEADS if "," not in head])
    parser.add_argument("--steps", type=int, default=200, help="gradient steps a repetition")
    parser.add_argument("--repetitions", type=int, default=5)
    parser.add_argument("--out", type=Path, default=Path(__file__).parent / "results" / "head_training.json")
    args = parser.parse_args()
    torch.set_num_threads(1)
    results = dict[str, Any]()
    with tempfile.TemporaryDirectory() as folder:
        snapshot = distil.collect("avoiding-bc", {"data.path": f"{folder}/data", "rollouts.num_workers": 0}).snapshot()
        for head in args.heads:
            results[head] = measure(head, snapshot, Path(folder, head), args.steps, args.repetitions)
            print(f"{head:<14} {results[head]['ratio_median']:.3f}", flush=True)
    write_result(args.out, {"machine": machine(), "steps": args.steps, "results": results})


if __name__ == "__main__":
    main()
