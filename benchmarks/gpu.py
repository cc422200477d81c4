"""Behavioural cloning on a GPU relative to a bare torch loop with a CUDA graph: samples/s, as the median of interleaved ratios.

Three policies: a perceptron on vectors, a convolutional network on images of 84 x 84, and a transformer on 16 frames of
vectors. The bare loops have the same networks, all data on the GPU, random batches, mean squared error and fused AdamW, with a
whole step in one CUDA graph; no normalisation, clipping, schedule, metrics or checkpoints, all of which are on in distil, which
keeps its data in the host's memory. It is measured as it is, compiled, and compiled in bf16.

    python benchmarks/gpu.py
"""

from __future__ import annotations

import argparse
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import torch
from common import machine, write_result
from gymnasium import spaces
from learner import NUM_ACT, NUM_OBS, WIDTH
from torch import Tensor, nn

from distil.config import validate
from distil.heads.base import Context
from distil.learners import LearnerConfig, make_learner
from distil.learners.data import demos
from distil.nn.cnn import Cnn
from distil.plans import UpdatePlan
from distil.policies.config import PolicyConfig
from distil.policies.encoder import Backbone
from distil.spaces import action_spec, observation_spec
from distil.store.schema import StoreSpec
from distil.store.snapshot import Snapshot
from distil.store.store import Store
from distil.types import Episode

sys.modules.setdefault("gpu", sys.modules[__name__])  # where the transformer's name points to
HORIZON, TOKEN, LENGTH = 16, 256, 500
CHANNELS, FEATURES = (32, 64, 64, 64), 256  # the convolutional encoder's defaults
ACTION = spaces.Box(-1, 1, (NUM_ACT,), np.float32)
VECTOR = spaces.Box(-np.inf, np.inf, (NUM_OBS,), np.float32)
SETTINGS: dict[str, dict[str, Any]] = {"distil": {}, "compiled": {"compile": True}}
SETTINGS["compiled, bf16"] = {"compile": True, "precision": "bf16"}


class Transformer(Backbone):
    """Four layers on one token a frame; the context is the last frame's."""

    num_out = TOKEN

    def __init__(self, num_features: int, images: Mapping[str, tuple[int, ...]], horizon: int) -> None:
        super().__init__()
        self.embed = nn.Linear(num_features, TOKEN)
        self.place = nn.Parameter(0.02 * torch.randn(horizon, TOKEN))
        layer = nn.TransformerEncoderLayer(TOKEN, 8, 4 * TOKEN, dropout=0.0, batch_first=True, norm_first=True)
        self.layers = nn.TransformerEncoder(layer, 4, enable_nested_tensor=False)

    def forward(self, features_BHF: Tensor, images: Mapping[str, Tensor]) -> Context:
        """Return the context of windows."""
        return Context(pooled_BD=self.layers(self.embed(features_BHF) + self.place)[:, -1])


class Perceptron(nn.Module):
    """The bare loop's, after `num_in` features; its output is an action."""

    def __init__(self, num_in: int, hidden: int = 2) -> None:
        super().__init__()
        sizes = [num_in, *[WIDTH] * hidden]
        layers = [layer for pair in pairwise(sizes) for layer in (nn.Linear(*pair), nn.ReLU())]
        self.layers = nn.Sequential(*layers, nn.Linear(sizes[-1], NUM_ACT), nn.Tanh())

    def forward(self, seen: Tensor) -> Tensor:
        """Return the actions of [B, ..., num_in]."""
        return self.layers(seen.flatten(1))


class Pixels(nn.Module):
    """The bare loop's convolutional network."""

    def __init__(self) -> None:
        super().__init__()
        self.cnn = Cnn((84, 84, 3), CHANNELS, FEATURES, "relu", torch.Generator().manual_seed(0))
        self.rest = Perceptron(FEATURES)

    def forward(self, seen: Tensor) -> Tensor:
        """Return the actions of images [B, 84, 84, 3]."""
        return self.rest(self.cnn(seen.float() / 255))


class Frames(nn.Module):
    """The bare loop's transformer."""

    def __init__(self) -> None:
        super().__init__()
        self.layers, self.rest = Transformer(NUM_OBS, {}, HORIZON), Perceptron(TOKEN, hidden=0)

    def forward(self, seen: Tensor) -> Tensor:
        """Return the actions of windows [B, H, F]."""
        return self.rest(self.layers(seen, {}).pooled_BD)


@dataclass(frozen=True)
class Case:
    """A policy, its data, and the bare loop's network."""

    observation: spaces.Box
    policy: Mapping[str, Any]
    bare: Callable[[], nn.Module]
    batch_size: int
    num_episodes: int
    num_steps: int  # a repetition
    horizon: int = 1


CASES = {
    "mlp": Case(VECTOR, {}, partial(Perceptron, NUM_OBS), 4096, 200, 2000),
    "cnn": Case(spaces.Box(0, 255, (84, 84, 3), np.uint8), {"encoder": {"kind": "cnn"}}, Pixels, 256, 20, 500),
    "transformer": Case(
        VECTOR,
        {"encoder": {"kind": "import", "target": "gpu:Transformer"}, "obs_horizon": HORIZON},
        Frames,
        512,
        200,
        500,
        HORIZON,
    ),
}


def make_snapshot(folder: Path, case: Case) -> Snapshot:
    """Write a store of random observations with actions that follow from them."""
    store = Store.create(folder, spec_of(case))
    writer = store.writer("benchmark")
    for number in range(case.num_episodes):
        rng = np.random.default_rng(number)
        shape = (LENGTH + 1, *case.observation.shape)
        seen = rng.integers(0, 256, shape, np.uint8) if len(shape) > 2 else rng.normal(size=shape).astype(np.float32)
        actions = np.tanh(seen[:-1].reshape(LENGTH, -1)[:, :NUM_ACT] / (128 if len(shape) > 2 else 1)).astype(np.float32)
        ones = np.ones(LENGTH, np.uint8)
        writer.add(
            Episode(
                observations={"obs": seen},
                actions=actions,
                rewards=np.zeros(LENGTH),
                terminated=False,
                truncated=True,
                expert_actions=actions,
                labelled=ones,
                acted_by_expert=ones,
                uid=f"benchmark-{number:04d}",
            )
        )
    entry = writer.seal()
    assert entry is not None
    return store.commit([entry])


def spec_of(case: Case) -> StoreSpec:
    """Return the spaces of a case."""
    return StoreSpec(observation=observation_spec(case.observation), action=action_spec(ACTION))


class Bare:
    """The hand-written loop; a whole step is one CUDA graph, where there is a GPU."""

    def __init__(self, case: Case, snapshot: Snapshot, device: torch.device) -> None:
        columns = snapshot.columns(["obs", "expert_action"])
        self._seen, self._actions = (torch.from_numpy(columns[name]).to(device) for name in ("obs", "expert_action"))
        self._case, self._device, self._net = case, device, case.bare().to(device)
        is_gpu = device.type == "cuda"
        self._adamw = torch.optim.AdamW(self._net.parameters(), lr=1e-3, fused=True, capturable=is_gpu)
        self._graph: torch.cuda.CUDAGraph | None = None
        if is_gpu:
            side = torch.cuda.Stream()
            side.wait_stream(torch.cuda.current_stream())
            with torch.cuda.stream(side):
                for _ in range(3):
                    self._step()
            torch.cuda.current_stream().wait_stream(side)
            self._graph = torch.cuda.CUDAGraph()
            with torch.cuda.graph(self._graph):
                self._step()

    def _step(self) -> None:
        num, horizon = self._case.batch_size, self._case.horizon
        last = torch.randint(horizon - 1, len(self._seen), (num,), device=self._device)
        rows = last if horizon == 1 else last[:, None] + torch.arange(1 - horizon, 1, device=self._device)
        loss = nn.functional.mse_loss(self._net(self._seen[rows]), self._actions[last])
        self._adamw.zero_grad(set_to_none=True)
        loss.backward()
        self._adamw.step()

    def run(self, num_steps: int) -> float:
        """Take the steps; return samples/s."""
        start_s = time.perf_counter()
        for _ in range(num_steps):
            if self._graph is not None:
                self._graph.replay()
            else:
                self._step()
        if self._graph is not None:
            torch.cuda.synchronize()
        return num_steps * self._case.batch_size / (time.perf_counter() - start_s)


def measure(case: Case, repetitions: int, device: torch.device, folder: Path, share: float) -> dict[str, Any]:
    """Interleave the repetitions of a case; return its figures."""
    snapshot, num_steps = make_snapshot(folder / "store", case), max(1, int(case.num_steps * share))
    policy = validate(PolicyConfig, case.policy)
    learners = {
        name: make_learner(
            LearnerConfig(batch_size=case.batch_size, device=device.type, checkpoint_every=10**6, **settings),
            policy,
            spec_of(case),
            folder / name,
            seed=0,
        )
        for name, settings in SETTINGS.items()
    }
    bare, rows = Bare(case, snapshot, device), list[dict[str, dict[str, float]]]()
    for number in range(-1, repetitions):  # the first one warms up, and compiles
        row = {"bare": {"samples_per_s": bare.run(num_steps)}}
        for name, learner in learners.items():
            metrics = learner.update(UpdatePlan(num_steps=num_steps, round=number + 1), demos(snapshot))
            wait = metrics["time/data_wait_s"] / metrics["time/update_s"]
            row[name] = {"samples_per_s": metrics["train/samples_per_s"], "data_wait": wait}
        if number >= 0:
            rows.append(row)
    for learner in learners.values():
        learner.close()
    found: dict[str, Any] = {"batch_size": case.batch_size, "steps": num_steps}
    for name in rows[0]:
        speeds = [row[name]["samples_per_s"] for row in rows]
        found[name] = {"samples_per_s": round(statistics.median(speeds))}
        if name != "bare":
            ratios = [speed / row["bare"]["samples_per_s"] for speed, row in zip(speeds, rows, strict=True)]
            found[name] |= {
                "ratio_median": round(statistics.median(ratios), 3),
                "ratios": [round(ratio, 3) for ratio in ratios],
                "data_wait_fraction": round(statistics.median(row[name]["data_wait"] for row in rows), 4),
            }
    return found


def main() -> None:
    """Measure each case, print a table, write the figures."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--repetitions", type=int, default=5)
    parser.add_argument("--only", nargs="+", choices=CASES, default=list(CASES))
    parser.add_argument("--device", choices=("cuda", "cpu"), default="cuda", help="cpu: to try the program, without a graph")
    parser.add_argument("--share", type=float, default=1.0, help="of the steps")
    parser.add_argument("--out", type=Path, default=Path(__file__).parent / "results" / "gpu.json")
    args = parser.parse_args()
    device = torch.device(args.device)
    if args.device == "cuda" and not torch.cuda.is_available():
        sys.exit("benchmarks/gpu.py: torch sees no GPU here; --device cpu tries the program")
    found = {}
    print(f"{'policy':<12} {'loop':<15} {'samples/s':>12} {'ratio':>6} {'data wait':>9}")
    for name in args.only:
        with tempfile.TemporaryDirectory() as folder:
            found[name] = measure(CASES[name], args.repetitions, device, Path(folder), args.share)
        for loop in ("bare", *SETTINGS):
            row = found[name][loop]
            rest = f" {row['ratio_median']:>6.3f} {100 * row['data_wait_fraction']:>8.2f}%" if "ratio_median" in row else ""
            print(f"{name:<12} {loop:<15} {row['samples_per_s']:>12,}{rest}", flush=True)
    gpu = torch.cuda.get_device_name() if args.device == "cuda" else None
    write_result(args.out, {"machine": machine() | {"gpu": gpu}, "policies": found})


if __name__ == "__main__":
    main()
