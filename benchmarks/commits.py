"""Many commits into one store: milliseconds per commit early and late, the size of the manifests, and the cost of reading them.

Each commit adds one sealed shard of one short episode; only `Store.commit` is timed, including its flushes to disk.

    python benchmarks/commits.py [--quick]
"""

from __future__ import annotations

import argparse
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any
from unittest.mock import patch

import numpy as np
from common import machine, write_result
from gymnasium import spaces

from distil.spaces import action_spec, observation_spec
from distil.store import ShardEntry, Store, StoreSpec
from distil.store.gc import collect_garbage
from distil.store.history import drop, droppable, summaries
from distil.store.writer import ShardWriter
from distil.types import Episode

LENGTH = 20


def make_store(folder: Path) -> Store:
    """Make an empty store."""
    spec = StoreSpec(
        observation=observation_spec(spaces.Box(-np.inf, np.inf, (4,), np.float64)),
        action=action_spec(spaces.Box(-1, 1, (2,), np.float32)),
    )
    return Store.create(folder, spec)


def commit_times(store: Store, num: int, shards: int = 1) -> list[float]:
    """Commit `num` times, so many new shards each, and return the seconds that each commit took."""
    writer, seconds = store.writer("w", target_bytes=1 << 16), []
    for number in range(num):
        with patch("os.fsync"):  # not timed, and a hundred thousand flushes would take half an hour
            entries = [sealed_shard(writer, number * shards + i) for i in range(shards)]
        started = time.perf_counter()
        store.commit(entries)
        seconds.append(time.perf_counter() - started)
    return seconds


def sealed_shard(writer: ShardWriter, number: int) -> ShardEntry:
    """Seal a shard of one short episode."""
    actions = np.zeros((LENGTH, 2), np.float32)
    writer.add(
        Episode(
            observations={"obs": np.full((LENGTH + 1, 4), float(number))},
            actions=actions,
            rewards=np.zeros(LENGTH),
            terminated=False,
            truncated=True,
            expert_actions=actions,
            labelled=np.ones(LENGTH, np.uint8),
            acted_by_expert=np.ones(LENGTH, np.uint8),
            uid=f"commits-{number:08d}",
        )
    )
    entry = writer.seal()
    assert entry is not None
    return entry


def folder_bytes(*folders: Path) -> int:
    """Return the total size of the files in some folders."""
    return sum(file.stat().st_size for folder in folders if folder.is_dir() for file in folder.iterdir())


def timed(work: Callable[[], Any]) -> float:
    """Return the seconds that `work` takes."""
    started = time.perf_counter()
    work()
    return round(time.perf_counter() - started, 3)


def measure(folder: Path, num: int) -> dict[str, Any]:
    """Return the figures of `num` commits."""
    store = make_store(folder)
    seconds = commit_times(store, num)
    early, late = seconds[100:200], seconds[-100:]
    figures: dict[str, Any] = {
        "commits": num,
        "ms_a_commit": {
            "100th_to_200th": {
                "mean": round(1e3 * statistics.mean(early), 2),
                "median": round(1e3 * statistics.median(early), 2),
            },
            "last_100": {"mean": round(1e3 * statistics.mean(late), 2), "median": round(1e3 * statistics.median(late), 2)},
        },
        "late_to_early": round(statistics.median(late) / statistics.median(early), 2),
        "slowest_ms": round(1e3 * max(seconds), 1),
        "manifests_mb": round(folder_bytes(folder / "manifests", folder / "segments") / 1e6, 1),
        "data_mb": round(folder_bytes(folder / "data") / 1e6, 1),
    }
    figures["seconds"] = {
        "open_newest": timed(lambda: Store.open(folder).snapshot()),
        "open_manifest": timed(lambda: Store.open(folder).manifest().entries),
        "first_commit_of_a_process": timed(lambda: Store.open(folder).commit(store.manifest().tail[:1])),
        "list_versions": timed(lambda: summaries(Store.open(folder))),
        "verify": timed(lambda: Store.open(folder).verify()),
        "gc_dry_run": timed(lambda: collect_garbage(Store.open(folder), dry_run=True)),
        "drop_all_but_10": timed(lambda: drop(store, droppable(store, 10))),
    }
    collect_garbage(store, grace_s=0)
    figures["manifests_mb_after_drop"] = round(folder_bytes(folder / "manifests", folder / "segments") / 1e6, 1)
    assert Store.open(folder).snapshot().num_episodes == num
    assert Store.open(folder).verify() == []
    return figures


def main() -> None:
    """Measure, print and write the figures."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="1,000 commits, to see that it runs")
    parser.add_argument("--folder", type=Path, default=None, help="where the store goes; a temporary folder by default")
    parser.add_argument("--out", type=Path, default=Path(__file__).parent / "results" / "commits.json")
    args = parser.parse_args()
    with tempfile.TemporaryDirectory(dir=args.folder) as folder:
        figures = measure(Path(folder) / "store", 1_000 if args.quick else 10_000)
    print(figures)
    write_result(args.out, {"machine": machine(), **figures})


if __name__ == "__main__":
    main()
