"""One driver and many workers: what a worker's report costs the driver, how many workers it carries, and what stores cost it.

Workers are virtual: a few Ray actors host them, and each answers the driver as `distil.rollouts.worker.Worker` does, with real
shards on disk, but without environments. The driver runs its real code (Collector, Fleet, RayPool, Store, MLflow). An item is
what a worker gets in one call: 32 episodes of 1,000 steps of HalfCheetah take about five seconds.

    python benchmarks/scaling.py            half an hour on two cores, most of it for 100,000 shards; or one part: --only driver
    python benchmarks/scaling.py --quick    a few minutes, to see that it runs
"""

from __future__ import annotations

import argparse
import asyncio
import json
import statistics
import tempfile
import time
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from commits import commit_times, make_store, timed
from common import machine, tracked, write_result
from rollouts import Distil, bare_gain, policy_for

from distil.cluster import ensure_ray
from distil.envs import GymEnvConfig, describe
from distil.plans import CollectPlan
from distil.policies.spec import PolicyRef
from distil.rollouts import Collector, Fleet, RolloutConfig, ray_pool
from distil.rollouts.loop import EpisodeItem
from distil.rollouts.transport import RayTransport
from distil.rollouts.work import Assignment, EpisodeStats, Sealed, WorkReport
from distil.store import Store, StoreSpec
from distil.store.footer import Footer
from distil.store.location import location
from distil.store.writer import ShardWriter
from distil.types import Episode

ENV, HOSTS, LENGTH = "HalfCheetah-v5", 8, 8  # LENGTH: steps of an episode that is written; its index is as large as any
PER_WORKER = 4  # items of a worker in a round, as the pool cuts them; its shard is sealed at the end
ITEM_S = 5.0
ROUNDS = {10: 20, 100: 4, 1000: 1}  # virtual workers -> rounds
MIDDLES = (statistics.mean, statistics.median)
PARTS = ("driver", "tracker", "cores", "store")
TARGETS = {"cpu_ms_per_item": 3.0, "ratio_1000_to_10": 1.5, "workers_per_driver": 1000, "open_s": 1.0}


@dataclass
class VirtualWorker:
    """What one worker has of an assignment."""

    key: str
    writer: ShardWriter
    stats: list[EpisodeStats] = field(default_factory=list)
    sealed: list[Sealed] = field(default_factory=list)


class Host:
    """A Ray actor that hosts virtual workers; the time of their environments is slept."""

    def __init__(self, setup: Any) -> None:
        """Take the place of `RemoteWorker`."""
        self._item_s, self._workers = 0.0, dict[int, VirtualWorker]()

    async def ready(self, number: int) -> None:
        """See `RemoteWorker.ready`."""

    async def pace(self, item_s: float) -> None:
        """Set the time that an item takes."""
        self._item_s = item_s

    async def run(
        self, number: int, assignment: Assignment, items: Sequence[Any], policy: PolicyRef | None, known: int
    ) -> WorkReport:
        """See `RemoteWorker.run`."""
        worker, target = self._workers.get(number), assignment.target
        assert target is not None
        if worker is None or worker.key != assignment.key:
            writer = ShardWriter(location(target.path), target.spec, f"w{number}", 1 << 16)
            worker = self._workers[number] = VirtualWorker(assignment.key, writer)
        await asyncio.sleep(self._item_s * (1 if worker.stats else (number % 97) / 97))  # workers don't start in step
        worker.writer.add(*(_episode(item, target.spec, assignment) for item in ray_pool.unpacked(items)))
        stats = [_stats(item) for item in ray_pool.unpacked(items)]
        worker.stats += stats
        return WorkReport(stats=tuple(stats), sealed=tuple(worker.sealed[known:]))

    async def seal(self, number: int, known: int) -> WorkReport:
        """See `RemoteWorker.seal`."""
        worker = self._workers[number]
        entry = worker.writer.seal()
        if entry is not None:
            footer = Footer.read(worker.writer.root, entry)
            worker.sealed.append(Sealed(entry=entry, footer=footer, stats=tuple(worker.stats)))
        return WorkReport(sealed=tuple(worker.sealed[known:]))


def _episode(item: EpisodeItem, spec: StoreSpec, assignment: Assignment) -> Episode:
    action = np.zeros((LENGTH, *spec.action.leaf.shape), spec.action.leaf.dtype)
    return Episode(
        observations={leaf.name: np.zeros((LENGTH + 1, *leaf.shape), leaf.dtype) for leaf in spec.observation.leaves},
        actions=action,
        rewards=np.zeros(LENGTH),
        terminated=False,
        truncated=True,
        expert_actions=action,
        labelled=np.ones(LENGTH, np.uint8),
        acted_by_expert=np.zeros(LENGTH, np.uint8),
        policy_version=assignment.record.policy_version,
        round=assignment.record.round,
        seed=item.seed,
        uid=item.uid,
        source=assignment.record.source,
    )


def _stats(item: EpisodeItem) -> EpisodeStats:
    return EpisodeStats(item.index, item.uid, item.seed, 0.0, LENGTH, False, True, None, LENGTH)


class _Method:
    def __init__(self, method: Any, number: int) -> None:
        self._method, self._number = method, number

    def remote(self, *args: Any) -> Any:
        return self._method.remote(self._number, *args)


class VirtualTransport(RayTransport):
    """Starts virtual workers on a few actors. All else is Ray's: calls, answers, objects."""

    hosts: tuple[Any, ...] = ()

    def __init__(self, actor: type, setup: object, **options: Any) -> None:
        """See `RayTransport`."""
        super().__init__(Host, setup, **options)
        self._num = 0
        if not VirtualTransport.hosts:
            make = self._class.options(max_concurrency=10_000)
            VirtualTransport.hosts = tuple(make.remote(self._setup) for _ in range(HOSTS))

    def start(self) -> Any:
        """Return the handle of one more worker."""
        self._num += 1
        host = self.hosts[self._num % HOSTS]
        return type("Handle", (), {name: _Method(getattr(host, name), self._num) for name in ("ready", "run", "seal")})()

    def kill(self, actor: Any) -> None:
        """Do nothing: the hosts stay."""


def add_cpu(owner: Any, name: str, spent: dict[str, float]) -> None:
    """From now on, add the CPU time of this process during calls of a method to `spent`."""
    work, spent[name] = getattr(owner, name), 0.0

    def call(*args: Any, **options: Any) -> Any:
        started = time.process_time()
        try:
            return work(*args, **options)
        finally:
            spent[name] += time.process_time() - started

    setattr(owner, name, call)


def collect_virtual(num_workers: int, per_item: int, rounds: int, item_s: float = 0.0) -> dict[str, Any]:
    """Return what rounds of collection with virtual workers cost the driver, the first one, which starts them, left out."""
    import ray

    env = GymEnvConfig(id=ENV)
    spec, policy = describe(env), policy_for(ENV, 256)
    fleet = Fleet(env=env, spec=spec, config=RolloutConfig(num_workers=num_workers, num_envs=per_item))
    items = num_workers * PER_WORKER
    with tempfile.TemporaryDirectory() as folder:
        store = Store.create(Path(folder) / "s", StoreSpec(observation=spec.observation, action=spec.action))
        collector, spent = Collector(fleet, store, seed=0), dict[str, float]()
        collector.collect(CollectPlan(num_episodes=num_workers, agent="policy"), policy)
        ray.get([host.pace.remote(item_s) for host in VirtualTransport.hosts])
        add_cpu(fleet, "run", spent)
        add_cpu(store, "commit", spent)
        cpu_s, started = time.process_time(), time.perf_counter()
        for number in range(1, rounds + 1):
            collector.collect(CollectPlan(num_episodes=items * per_item, agent="policy", round=number), policy)
        cpu_s, wall_s = time.process_time() - cpu_s, time.perf_counter() - started
        assert Store.open(store.path).verify() == []
        assert store.snapshot().num_episodes == num_workers + rounds * items * per_item
    ray.get([host.pace.remote(0.0) for host in VirtualTransport.hosts])
    fleet.close()
    num = rounds * items
    each = spent | {"rest": cpu_s - sum(spent.values()), "all": cpu_s}
    return {
        "workers": num_workers,
        "episodes_per_item": per_item,
        "items": num,
        "driver_cpu_ms_per_item": {name: round(1e3 * value / num, 3) for name, value in each.items()},
        "driver_cores": round(cpu_s / wall_s, 3),
        "wall_s": round(wall_s, 2),
    }


def virtual(rounds: Mapping[int, int], paced: int) -> dict[str, Any]:
    """Return what items of virtual workers cost the driver: as fast as they come, then in real time with `paced` workers."""
    ensure_ray(None, 2 * HOSTS)
    ray_pool.RayTransport = VirtualTransport  # type: ignore[misc]
    try:
        rows = [collect_virtual(num, per_item, rounds[num]) for per_item in (32, 1) for num in rounds]
        real_time = collect_virtual(paced, 32, 1, ITEM_S)
    finally:
        ray_pool.RayTransport = RayTransport  # type: ignore[misc]
    cost = {(row["episodes_per_item"], row["workers"]): row["driver_cpu_ms_per_item"]["all"] for row in rows}
    few, many = min(rounds), max(rounds)
    return {
        "rows": rows,
        "ratio_1000_to_10": {per_item: round(cost[per_item, many] / cost[per_item, few], 2) for per_item in (32, 1)},
        "workers_per_driver": {per_item: round(1e3 * ITEM_S / cost[per_item, many]) for per_item in (32, 1)},
        "in_real_time": real_time | {"ideal_wall_s": round((PER_WORKER - 1 + 96 / 97) * ITEM_S, 2)},
    }


def tracker_cost(folder: Path, rounds: int = 40, metrics: int = 25) -> dict[str, Any]:
    """Return the driver's CPU time for what a round sends to MLflow: recorded at once, sent from a thread."""
    with tracked("scaling", "driver", {"rounds": rounds}, uri=f"sqlite:///{folder}/mlflow.db") as tracker:
        tracker.log({"first": 0.0}, step=0)
        started = time.process_time()
        for number in range(1, rounds + 1):
            tracker.log({f"group/metric_{i}": float(number) for i in range(metrics)}, step=number)
        recorded = time.process_time()
    return {
        "metrics_per_round": metrics,
        "cpu_ms_per_round": round(1e3 * (time.process_time() - started) / rounds, 2),
        "of_which_recording": round(1e3 * (recorded - started) / rounds, 3),
    }


def cores(repeats: int, episodes: int) -> dict[str, Any]:
    """Return the gain from a second worker on this machine: the same work, and twice the work; and what a bare loop gains."""
    ensure_ray(None, 3)  # logical CPUs for the workers of both fleets, of which only one works at a time
    policy, turns = policy_for(ENV, 256), []
    fleets = {num: Distil(ENV, num, 32) for num in (1, 2)}
    for fleet in fleets.values():
        fleet.collect(policy, 64)  # starts the workers
    for _ in range(repeats):
        alone, strong = (fleets[num].collect(policy, episodes).wall_s for num in (1, 2))
        weak = fleets[2].collect(policy, 2 * episodes).wall_s
        turns.append((alone / strong, alone / weak, bare_gain(ENV, 40_000)))
    for fleet in fleets.values():
        fleet.close()
    names = ("strong_speedup", "weak_efficiency", "bare_loops_speedup")
    return {name: round(statistics.median(values), 2) for name, values in zip(names, zip(*turns, strict=True), strict=True)}


def long_store(folder: Path, versions: int, shards: int) -> dict[str, Any]:
    """Return what the commits into a long store cost, and the time to open it."""
    store = make_store(folder)
    ms = [1e3 * seconds for seconds in commit_times(store, versions, shards)]
    parts = {"100th_to_200th": ms[100:200], "last_100": ms[-100:], "all": ms}
    entries = store.manifest().tail[-1:] or store.manifest().entries[-1:]
    opened = sorted(timed(lambda: Store.open(folder).snapshot()) for _ in range(3))
    assert Store.open(folder).snapshot().num_episodes == versions * shards
    return {
        "versions": versions,
        "shards": versions * shards,
        "ms_a_commit": {name: {kind.__name__: round(kind(part), 2) for kind in MIDDLES} for name, part in parts.items()},
        "late_to_early": round(statistics.median(ms[-100:]) / statistics.median(ms[100:200]), 2),
        "slowest_ms": round(max(ms)),
        "open_s": opened[1],
        "open_and_commit_s": timed(lambda: Store.open(folder).commit(entries)),
    }


def main() -> None:
    """Measure, print and write the figures."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="a tenth of the work")
    parser.add_argument("--out", type=Path, default=Path(__file__).parent / "results" / "scaling.json")
    parser.add_argument("--only", nargs="+", choices=PARTS, default=PARTS, help="the other parts stay as they are in the file")
    args = parser.parse_args()
    warnings.simplefilter("ignore")  # Gymnasium's and Ray's
    quick, found = args.quick, json.loads(args.out.read_text()) if args.out.exists() else {}
    found |= {"machine": machine(), "targets": TARGETS}
    for name in args.only:
        with tempfile.TemporaryDirectory() as folder:
            if name == "driver":
                found[name] = virtual({10: 2, 100: 1, 300: 1} if quick else ROUNDS, 100 if quick else 1000)
            elif name == "tracker":
                found[name] = tracker_cost(Path(folder))
            elif name == "cores":
                found[name] = cores(1 if quick else 3, 64 if quick else 128)
            else:
                found[name] = long_store(Path(folder) / "s", 1_000 if quick else 10_000, 10)
        found[name]["command"] = f"python benchmarks/scaling.py --only {name}"
        print(name, json.dumps(found[name], indent=1))
    write_result(args.out, {key: found[key] for key in ("machine", "targets", *PARTS) if key in found})


if __name__ == "__main__":
    main()
