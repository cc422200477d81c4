"""Batches with sample weights relative to batches without: samples per CPU second, as ratios, in one run.

A million transitions, shuffled, in memory and streamed through an eighth of the memory that they need. A third of the episodes
has interventions, so the column that says who acted must be read. The median of interleaved rounds, as in benchmarks/store.py.

    python benchmarks/weights.py
"""

from __future__ import annotations

import argparse
import tempfile
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from common import machine, write_result
from store import BATCH, LENGTH, WINDOWS, _episode, compare, state_spec

from distil.store import Sampler, Snapshot, Store, StreamSampler, WeightConfig
from distil.store.windows import Layout, Windows


def make(folder: Path, num: int) -> Snapshot:
    """Write `num` transitions; every third episode is of a policy, the expert acting in every fifth step."""
    store = Store.create(folder, state_spec())
    writer = store.writer("w")
    for number in range(num // LENGTH):
        episode = replace(_episode(store.spec, number), round=number % 10)
        if number % 3 == 0:
            acted = (np.arange(LENGTH) % 5 == 0).astype(np.uint8)
            episode = replace(episode, acted_by_expert=acted, policy_version=number % 10)
        writer.add(episode)
    entry = writer.seal()
    assert entry
    return store.commit([entry])


def measure(snapshot: Snapshot, limit_s: float, rounds: int) -> dict[str, Any]:
    """Return the ratios of both tiers, for transitions and for windows."""
    (weighted,) = WeightConfig(round_decay=0.8, intervention=4.0).apply(snapshot)
    budget = max(4 << 20, snapshot.num_transitions * (Layout(snapshot.spec, Windows()).row_bytes + 24) // 8)
    out: dict[str, Any] = {}
    for access, windows in (("shuffled", {}), ("windows", WINDOWS)):
        for tier, source in (("in memory", Sampler), ("streamed", partial(StreamSampler, memory_budget=budget))):
            sources = {"without": source(snapshot, **windows), f"{tier}, with": source(weighted, **windows)}
            rates = compare({n: partial(s.batches, batch_size=BATCH, seed=0) for n, s in sources.items()}, limit_s, rounds)
            without, with_weights = rates.values()
            out[f"{access}, {tier}"] = {
                "without_per_cpu_s": round(without),
                "with_of_without": round(with_weights / without, 3),
            }
            print(f"{access:9} {tier}: {out[f'{access}, {tier}']}")
    return out


def main() -> None:
    """Measure, print and write the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="small sizes, to see that it runs; figures mean nothing")
    parser.add_argument("--out", type=Path, default=Path(__file__).parent / "results" / "weights.json")
    args = parser.parse_args()
    num, limit_s, rounds = (40_000, 0.02, 1) if args.quick else (1_000_000, 0.5, 7)
    with tempfile.TemporaryDirectory() as folder:
        ratios = measure(make(Path(folder) / "store", num), limit_s, rounds)
    write_result(args.out, {"machine": machine(), "batch": BATCH, "transitions": num, "weights": ratios})


if __name__ == "__main__":
    main()
