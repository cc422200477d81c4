"""Reading and writing demonstrations: samples per CPU second, as ratios to `np.take` on arrays in memory, in one run.

Three access patterns, batches of 256: a scan, shuffled transitions, shuffled windows (2 observations, 16 actions). Every figure
is the median of interleaved rounds and counts the CPU time of all threads (and of Ray's processes). The limit is
`np.take(out=, mode="clip")` with precomputed indices. Also measured: the alternatives that are installed
(benchmarks/store_others.py), images raw and compressed, the writer relative to a plain write with fsync, and a store of 8 times
the memory budget in a process with limited memory. `transitions` in the result is the unit of size: the shards hold 2 of it,
other formats 1/5, images 1/100, the large store 5.

    python benchmarks/store.py [--quick]
    python benchmarks/store.py --only shards images     the figures that have targets, in two to three minutes
"""

from __future__ import annotations

import argparse
import os
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from common import machine, write_result
from gymnasium import spaces
from store_others import contestants

from distil.spaces import action_spec, observation_spec
from distil.store import Sampler, Snapshot, Store, StoreSpec
from distil.store.stream import StreamSampler
from distil.store.windows import Layout, Windows
from distil.types import Array, Episode

TARGETS = {"in memory, shuffled": 0.9, "streamed scan": 0.5, "streamed images": 0.5}
BATCH, LENGTH, HORIZON, CHUNK = 256, 1000, 2, 16
WINDOWS = {"obs_horizon": HORIZON, "chunk": CHUNK}
PARTS = {"shards": "ratios_to_np.take", "others": "others", "images": "images", "writer": "writer", "limited": "limited"}
Batches = Callable[[], Iterator[Any]]


def state_spec() -> StoreSpec:
    """Return HalfCheetah's sizes."""
    return StoreSpec(
        observation=observation_spec(spaces.Box(-np.inf, np.inf, (17,), np.float64)),
        action=action_spec(spaces.Box(-1, 1, (6,), np.float32)),
    )


def image_spec(codec: str) -> StoreSpec:
    """Return frames of 64 x 64."""
    return StoreSpec(
        observation=observation_spec(spaces.Box(0, 255, (64, 64, 3), np.uint8)),
        action=action_spec(spaces.Box(-1, 1, (6,), np.float32)),
        codecs={} if codec == "raw" else {"obs": codec},
    )


def observations(spec: StoreSpec, number: int, length: int) -> Array:
    """Return states of noise, or flat renders of a square that moves."""
    rng = np.random.default_rng(number)
    if spec.observation.leaf.dtype != "uint8":
        return rng.normal(size=(length + 1, 17))
    frames = np.full((length + 1, 64, 64, 3), rng.integers(0, 255, 3), np.uint8)
    for step in range(length + 1):
        at = 7 * step % 48
        frames[step, at : at + 16, 24:40] = 255 - frames[step, 0, 0]
    return frames


def make(folder: Path, spec: StoreSpec, num: int, shards: int, length: int = LENGTH) -> Snapshot:
    """Write a store of `num` transitions, distributing episodes over the shards in turn."""
    store = Store.create(folder, spec)
    writers = [store.writer(f"w{i}") for i in range(shards)]
    for number in range(num // length):
        actions = np.random.default_rng(number).uniform(-1, 1, (length, 6)).astype(np.float32)
        writers[number % shards].add(
            Episode(
                observations={"obs": observations(spec, number, length)},
                actions=actions,
                rewards=np.zeros(length),
                terminated=False,
                truncated=True,
                expert_actions=actions,
                labelled=np.ones(length, np.uint8),
                acted_by_expert=np.ones(length, np.uint8),
                uid=f"benchmark-{number:08d}",
            )
        )
    return store.commit([entry for writer in writers if (entry := writer.seal())])


def in_memory(snapshot: Snapshot) -> tuple[Array, Array]:
    """Return contiguous observations and labels, as a policy takes them."""
    (leaf,) = snapshot.spec.observation.leaves
    dtype = np.uint8 if leaf.dtype == "uint8" else np.float32
    columns = snapshot.columns(["obs", "expert_action", "labelled"], {"obs": dtype})
    keep = columns["labelled"] == 1
    return columns["obs"][keep], columns["expert_action"][keep]


def limits(obs: Array, actions: Array) -> dict[str, Batches]:
    """Return `np.take` for each access."""
    num = len(obs) // BATCH * BATCH
    orders = {"scan": np.arange(num), "shuffled": np.random.default_rng(0).permutation(len(obs))[:num]}

    def take(order: Array, wide_obs: Array, wide_actions: Array) -> Batches:
        chosen = [(wide_obs[rows].reshape(-1), wide_actions[rows].reshape(-1)) for rows in order.reshape(-1, BATCH)[:2000]]
        sizes = wide_obs.shape[1] * BATCH, wide_actions.shape[1] * BATCH
        out_obs, out_actions = (np.empty((n, *a.shape[1:]), a.dtype) for n, a in zip(sizes, (obs, actions), strict=True))

        def batches() -> Iterator[None]:
            while True:
                for rows, ahead in chosen:
                    np.take(obs, rows, 0, out_obs, "clip")
                    np.take(actions, ahead, 0, out_actions, "clip")
                    yield

        return batches

    single = np.arange(len(obs))[:, None]
    out = {name: take(order, single, single) for name, order in orders.items()}
    back = np.maximum(single - np.arange(HORIZON)[::-1], single // LENGTH * LENGTH)
    ahead = np.minimum(single + np.arange(CHUNK), single // LENGTH * LENGTH + LENGTH - 1)
    return out | {"windows": take(orders["shuffled"], back, ahead)}


def ours(snapshot: Snapshot, budget: int | None = None) -> dict[str, Batches]:
    """Return distil's readers for each access: in memory, or streamed through `budget` bytes."""

    def source(**windows: Any) -> Sampler | StreamSampler:
        if budget is None:
            return Sampler(snapshot, **windows)
        return StreamSampler(snapshot, memory_budget=budget, **windows)

    single, windows = source(), source(**WINDOWS)

    def scan() -> Iterator[Any]:
        while True:
            yield from single.scan(BATCH)

    return {
        "scan": scan,
        "shuffled": lambda: single.batches(batch_size=BATCH, seed=0),
        "windows": lambda: windows.batches(batch_size=BATCH, seed=0),
    }


def compare(readers: Mapping[str, Batches], limit_s: float, rounds: int) -> dict[str, float]:
    """Return name -> samples per CPU second, the median of interleaved rounds; each reader is warmed up first."""
    running = {name: batches() for name, batches in readers.items()}
    for name, batches in running.items():
        _rate(batches, limit_s * (4 if "streamed" in name else 0.5))
    found: dict[str, list[float]] = {name: [] for name in running}
    for _ in range(rounds):
        for name, batches in running.items():
            found[name].append(_rate(batches, limit_s))
    for batches in running.values():
        batches.close()  # type: ignore[attr-defined]
    return {name: statistics.median(rates) for name, rates in found.items()}


def _rate(batches: Iterator[Any], limit_s: float) -> float:
    count, start_s = 0, time.process_time()
    while True:
        for _ in range(1 if count == 0 else min(count, 200)):
            next(batches)
            count += 1
        spent_s = time.process_time() - start_s
        if spent_s > limit_s:
            return count * BATCH / spent_s


def measure_shards(root: Path, num: int, limit_s: float, rounds: int) -> dict[str, Any]:
    """Return, for 1, 16 and 256 shards, the ratios of both tiers to `np.take`."""
    out: dict[str, Any] = {}
    for shards in (1, 16, 256):
        snapshot = make(root / f"shards-{shards}", state_spec(), max(num, shards * LENGTH), shards)
        budget = max(4 << 20, snapshot.num_transitions * (Layout(snapshot.spec, Windows()).row_bytes + 24) // 8)
        readers = [limits(*in_memory(snapshot)), ours(snapshot), ours(snapshot, budget)]
        for access in ("scan", "shuffled", "windows"):
            names = ("np.take", "distil", "distil streamed")
            rates = compare({n: r[access] for n, r in zip(names, readers, strict=True)}, limit_s, rounds)
            row = {
                "np.take_per_cpu_s": round(rates["np.take"]),
                "in_memory_ratio": round(rates["distil"] / rates["np.take"], 3),
                "streamed_of_in_memory": round(rates["distil streamed"] / rates["distil"], 3),
            }
            out[f"{access}, {shards} shards"] = row
            print(f"{access:9} {shards:4} shards: {row}")
    return out


def measure_others(root: Path, num: int, limit_s: float, rounds: int, *, with_ray: bool) -> dict[str, Any]:
    """Return the ratios of the alternatives, and of distil in the same run."""
    snapshot = make(root / "others", state_spec(), num, 1)
    obs, actions = in_memory(snapshot)
    limit, mine = limits(obs, actions), ours(snapshot)
    out: dict[str, Any] = {}
    for access in ("scan", "shuffled", "windows"):
        readers = {"np.take": limit[access], "distil": mine[access]}
        readers |= contestants(root / f"formats-{access}", obs, actions, LENGTH, access, (HORIZON, CHUNK), BATCH)
        rates = compare(readers, limit_s, rounds)
        out[access] = {name: float(f"{rate / rates['np.take']:.3g}") for name, rate in rates.items()}
        print(f"{access:9} {out[access]}")
    if with_ray:
        from store_others import ray_data

        rate = ray_data(root / "ray", obs, actions, BATCH)
        out["shuffled"]["Ray Data"] = float(f"{rate / compare({'np.take': limit['shuffled']}, limit_s, rounds)['np.take']:.3g}")
        print(f"Ray Data  {out['shuffled']['Ray Data']}")
    return out


def measure_images(root: Path, num: int, limit_s: float, rounds: int) -> dict[str, Any]:
    """Return the ratios for frames, raw and compressed, in memory and streamed."""
    out: dict[str, Any] = {}
    for codec in ("raw", "lz4"):
        snapshot = make(root / f"image-{codec}", image_spec(codec), num, 4, 200)
        obs, actions = in_memory(snapshot)
        readers = [limits(obs, actions), ours(snapshot), ours(snapshot, max(64 << 20, obs.nbytes // 4))]
        names = ("np.take", "distil", "distil streamed")
        rates = compare({n: r["shuffled"] for n, r in zip(names, readers, strict=True)}, limit_s, rounds)
        out[codec] = {
            "bytes_ratio": round(sum(entry.num_bytes for entry in snapshot.entries) / obs.nbytes, 4),
            "in_memory_ratio": round(rates["distil"] / rates["np.take"], 3),
            "streamed_of_in_memory": round(rates["distil streamed"] / rates["distil"], 3),
        }
        print(f"images {codec}: {out[codec]}")
    return out


def measure_writer(root: Path, rounds: int) -> dict[str, Any]:
    """Return the speed of the writer, in shards of 64 MB, against a plain write of the same bytes with fsync."""
    spec, ratios, speeds = state_spec(), [], []
    num = (64 << 20) // (spec.row_bytes * LENGTH)
    for number in range(rounds):
        store = Store.create(root / f"writer-{number}", spec)
        episodes = [_episode(spec, i) for i in range(num)]
        start_s = time.perf_counter()
        writer = store.writer("w")
        for episode in episodes:
            writer.add(episode)
        entry = writer.seal()
        assert entry
        middle_s = time.perf_counter()
        raw = (store.path / entry.path).read_bytes()  # type: ignore[operator]
        read_s = time.perf_counter()
        with open(root / "plain", "wb") as file:
            file.write(raw)
            file.flush()
            os.fsync(file.fileno())
        plain_s = time.perf_counter() - read_s
        ratios.append(plain_s / (middle_s - start_s))
        speeds.append(entry.num_bytes / (middle_s - start_s) / 1e6)
    out = {"ratio_to_write_and_fsync": round(statistics.median(ratios), 3), "mb_per_s": round(statistics.median(speeds))}
    print(f"writer: {out}")
    return out


def _episode(spec: StoreSpec, number: int) -> Episode:
    actions = np.zeros((LENGTH, 6), np.float32)
    ones = np.ones(LENGTH, np.uint8)
    return Episode(
        observations={"obs": observations(spec, number, LENGTH)},
        actions=actions,
        rewards=np.zeros(LENGTH),
        terminated=False,
        truncated=True,
        expert_actions=actions,
        labelled=ones,
        acted_by_expert=ones,
        uid=f"benchmark-{number:08d}",
    )


def limited(path: str, budget: int, tier: int) -> None:
    """Read an epoch in this process, whose memory may grow by 1.1 times the budget (and a thread's stack); print the peak."""
    snapshot = Store.open(path).snapshot()
    snapshot.episode(0)  # Arrow starts its threads, whose stacks count

    def held(*names: str) -> int:
        lines = dict(line.split(":", 1) for line in Path("/proc/self/status").read_text().splitlines())
        return sum(int(lines[name].split()[0]) << 10 for name in names)

    limit = held("VmData") + int(1.1 * budget) + (16 << 20)
    resource.setrlimit(resource.RLIMIT_DATA, (limit, limit))
    before, most = held("RssAnon", "RssShmem"), 0
    try:
        source = Sampler(snapshot) if tier == 1 else StreamSampler(snapshot, memory_budget=budget)
        for number, _ in enumerate(source.batches(batch_size=BATCH, seed=0, num_batches=source.num_samples // BATCH)):
            if number % 100 == 0:
                most = max(most, held("RssAnon", "RssShmem") - before)
    except MemoryError:
        most = -1
    print(most)


def measure_limited(root: Path, num: int) -> dict[str, Any]:
    """Return the peak of streaming a store of 8 times the budget under a hard limit, where reading it whole fails."""
    snapshot = make(root / "large", state_spec(), num, 16)
    needs = num * (Layout(snapshot.spec, Windows()).row_bytes + 24)
    budget, out = needs // 8, {"needs_mb": round(needs / 1e6), "budget_mb": round(needs / 8e6, 1)}
    for tier, name in ((2, "streamed_peak_of_budget"), (1, "in_memory")):
        command = [sys.executable, __file__, "--limited", str(snapshot.path), str(budget), str(tier)]
        environ = os.environ | {
            "ARROW_DEFAULT_MEMORY_POOL": "system",
            "MALLOC_ARENA_MAX": "1",
        }  # they reserve more than they use
        done = subprocess.run(command, capture_output=True, text=True, check=False, env=environ)
        peak = int(done.stdout) if done.returncode == 0 else -1
        out[name] = "out of memory" if peak < 0 else round(peak / budget, 3)
    print(f"limited: {out}")
    return out


def targets(found: Mapping[str, Any]) -> None:
    """Print the figures that have targets: the worst of 1, 16 and 256 shards."""
    worst: dict[str, float] = {}
    if shards := found.get(PARTS["shards"]):
        worst["in memory, shuffled"] = min(row["in_memory_ratio"] for name, row in shards.items() if "shuffled" in name)
        worst["streamed scan"] = min(row["streamed_of_in_memory"] for name, row in shards.items() if "scan" in name)
    if images := found.get(PARTS["images"]):
        worst["streamed images"] = images["raw"]["streamed_of_in_memory"]
    for name, ratio in worst.items():
        to = "np.take" if "in memory" in name else "the same in memory"
        print(f"{name}: {ratio:.2f} of {to} (target {TARGETS[name]:.2f})")


def main() -> None:
    """Measure, print and write the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="small sizes, to see that it runs; figures mean nothing")
    parser.add_argument("--only", nargs="+", choices=PARTS, help="parts to measure; all unless given")
    parser.add_argument("--out", type=Path, default=Path(__file__).parent / "results" / "store.json")
    parser.add_argument("--limited", nargs=3, metavar=("PATH", "BUDGET", "TIER"), help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.limited:
        limited(args.limited[0], int(args.limited[1]), int(args.limited[2]))
        return
    num, limit_s, rounds = (40_000, 0.02, 1) if args.quick else (1_000_000, 0.25, 3)
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        parts: dict[str, Callable[[], dict[str, Any]]] = {
            "shards": lambda: measure_shards(root, 2 * num, limit_s, rounds),
            "others": lambda: measure_others(root, num // 5, limit_s, rounds, with_ray=not args.quick),
            "images": lambda: measure_images(root, num // 100, limit_s, rounds),
            "writer": lambda: measure_writer(root, rounds),
            "limited": lambda: measure_limited(root, 5 * num),
        }
        found = {PARTS[name]: measure() for name, measure in parts.items() if name in (args.only or PARTS)}
    targets(found)
    write_result(args.out, {"machine": machine(), "batch": BATCH, "transitions": num} | found)


if __name__ == "__main__":
    main()
