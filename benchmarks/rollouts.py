"""Environment steps per CPU-second and per second: distil's fleet and the alternatives, in one run.

The limit of one environment at a time is the bare loop: `gym.make`, actions sampled beforehand, no policy, nothing kept. distil
runs an MLP policy, records every step, and writes and commits the store; CPU time is that of its workers (Ray's constant
processes are excluded). Peers step without a policy and keep nothing; they run before Ray starts. Rows take turns, `--repeats`
times; a ratio is the median of the ratios to the bare loop, turn by turn.

    python benchmarks/rollouts.py            about four minutes on two cores
    python benchmarks/rollouts.py --quick    one short turn
    python benchmarks/rollouts.py --env CartPole-v1 --repeats 3    with the 10-step episodes of an untrained policy
"""

from __future__ import annotations

import argparse
import multiprocessing
import statistics
import tempfile
import time
import warnings
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import gymnasium as gym
import numpy as np
import psutil
from common import machine, write_result
from rich.console import Console
from rich.table import Table

from distil.cluster import ensure_ray
from distil.envs import GymEnvConfig, describe
from distil.plans import CollectPlan
from distil.policies.config import MlpConfig, PolicyConfig
from distil.policies.policy import Policy
from distil.policies.spec import PolicyRef
from distil.rollouts import Collector, Fleet, RolloutConfig
from distil.store.schema import StoreSpec
from distil.store.store import Store

EPISODES = {"HalfCheetah-v5": 128, "CartPole-v1": 5120}  # a turn of distil; each is about a thousand or five hundred steps
BARE_STEPS = {"HalfCheetah-v5": 60_000, "CartPole-v1": 300_000}
UNTRAINED_TARGET = 1.0  # of the bare loop
TARGETS = {"HalfCheetah-v5": 0.7, "CartPole-v1": 1.0}
WALL_TARGET = 1.6


@dataclass(frozen=True)
class Measured:
    """One turn of one row."""

    steps: int
    cpu_s: float
    wall_s: float


def timed(steps: int, work: Callable[[], Any], cpu: Callable[[], float]) -> Measured:
    """Run `work`, which does `steps` steps, and return what it took."""
    cpu_before, wall_before = cpu(), time.perf_counter()
    work()
    return Measured(steps, cpu() - cpu_before, time.perf_counter() - wall_before)


def own_cpu() -> float:
    """Return the CPU seconds of this process and its children (not Ray's, which does not run while peers are measured)."""
    me = psutil.Process()
    return sum(sum(p.cpu_times()[:2]) for p in [me, *me.children(recursive=True)] if not p.name().startswith(("ray", "gcs")))


def worker_cpu() -> float:
    """CPU seconds of the rollout workers alive."""
    found = [p for p in psutil.Process().children(recursive=True) if "".join(p.cmdline()[:1]).startswith("ray::RemoteWorker")]
    return sum(sum(p.cpu_times()[:2]) for p in found)


def bare(name: str, steps: int) -> Measured:
    """The limit of one environment at a time."""
    env = gym.make(name, disable_env_checker=True)
    env.action_space.seed(0)
    actions = [env.action_space.sample() for _ in range(1000)]
    env.reset(seed=0)

    def work() -> None:
        for i in range(steps):
            _, _, terminated, truncated, _ = env.step(actions[i % 1000])
            if terminated or truncated:
                env.reset()

    out = timed(steps, work, time.process_time)
    env.close()
    return out


def bare_gain(name: str, steps: int) -> float:
    """Return the gain in steps per second from a second bare loop: what the machine can give under its current load."""
    speeds = []
    with multiprocessing.get_context("spawn").Pool(2) as pool:
        pool.starmap(bare, [(name, 100)] * 2)
        for num in (1, 2):
            started = time.perf_counter()
            pool.starmap(bare, [(name, steps)] * num, chunksize=1)
            speeds.append(num * steps / (time.perf_counter() - started))
    return speeds[1] / speeds[0]


def peer(name: str, kind: str, num_envs: int, steps: int) -> Measured:
    """Gymnasium's or Stable-Baselines3's vector environments, without a policy."""
    makers = [lambda: gym.make(name, disable_env_checker=True)] * num_envs
    sb3 = kind in ("DummyVecEnv", "SubprocVecEnv")
    if sb3:
        from stable_baselines3.common import vec_env

        env: Any = getattr(vec_env, kind)(makers)
        space = gym.vector.utils.batch_space(env.action_space, num_envs)
    else:
        env = getattr(gym.vector, kind)(makers)
        space = env.action_space
    space.seed(0)
    actions = [space.sample() for _ in range(200)]
    _ = env.reset() if sb3 else env.reset(seed=0)

    def work() -> None:
        for i in range(steps // num_envs):
            env.step(actions[i % 200])

    out = timed(steps // num_envs * num_envs, work, own_cpu)
    env.close()
    return out


def policy_for(name: str, hidden: int, balanced: bool = True) -> PolicyRef:
    """An MLP with random weights; on CartPole two of its units balance the pole, as a trained policy would."""
    spec = describe(GymEnvConfig(id=name))
    policy = Policy(PolicyConfig(encoder=MlpConfig(hidden=(hidden, hidden))), spec.observation, spec.action)
    rng = np.random.default_rng(0)
    leaf = spec.action.leaf
    actions = rng.integers(leaf.nvec[0], size=500) if leaf.kind == "discrete" else rng.uniform(-1, 1, (500, *leaf.shape))
    policy.fit_normaliser({"obs": rng.standard_normal((500, *spec.observation.leaf.shape)), "action": actions})
    ref = policy.ref(0)
    if name != "CartPole-v1" or not balanced:
        return ref
    arrays = {key: np.array(value) for key, value in ref.arrays.items()}
    gain = np.array([0.1, 0.3, 4.0, 1.0], np.float32) / arrays["encoder.features.inv_std"]
    first, second, last = "encoder.mlp.layers.0", "encoder.mlp.layers.2", "head.linear"
    arrays[f"{first}.weight"][:2] = gain, -gain
    arrays[f"{first}.bias"][:2] = gain @ arrays["encoder.features.mean"] * np.array([1, -1])
    arrays[f"{second}.weight"][:2] = np.eye(2, hidden)
    arrays[f"{second}.bias"][:2] = 0
    arrays[f"{last}.weight"][:] = np.eye(2, hidden)[::-1]
    arrays[f"{last}.bias"][:] = 0
    return replace(ref, arrays=arrays)


class Distil:
    """A fleet that has started, and collects into new stores."""

    def __init__(self, name: str, num_workers: int, num_envs: int) -> None:
        self._env = GymEnvConfig(id=name)
        self._spec = describe(self._env)
        config = RolloutConfig(num_workers=num_workers, num_envs=num_envs)
        self._fleet = Fleet(env=self._env, spec=self._spec, config=config)
        self._seed = 0

    def collect(self, policy: PolicyRef, episodes: int) -> Measured:
        """Collect into a new store and commit."""
        self._seed += 1
        with tempfile.TemporaryDirectory() as folder:
            store = Store.create(Path(folder) / "s", StoreSpec(observation=self._spec.observation, action=self._spec.action))
            collector = Collector(self._fleet, store, seed=self._seed)
            cpu, wall = worker_cpu(), time.perf_counter()
            report = collector.collect(CollectPlan(num_episodes=episodes, agent="policy"), policy)
            return Measured(report.env_steps, worker_cpu() - cpu, time.perf_counter() - wall)

    def close(self) -> None:
        """Stop the workers."""
        self._fleet.close()


def measure(name: str, repeats: int, scale: float, num_envs: int) -> tuple[dict[str, list[Measured]], float, float]:
    """Return the repetitions of every row, the wall-clock gain of a second worker (2x256), and that of a second bare loop."""
    episodes, steps = max(num_envs, int(EPISODES[name] * scale)), int(BARE_STEPS[name] * scale)
    policies = {f"2x{hidden}": policy_for(name, hidden) for hidden in (64, 256)}
    if name == "CartPole-v1":
        policies["2x64, untrained: 10-step episodes"] = policy_for(name, 64, balanced=False)
    rows: dict[str, list[Measured]] = {}

    def add(row: str, measured: Measured) -> None:
        rows.setdefault(row, []).append(measured)

    for _ in range(repeats):
        for kind in ("SyncVectorEnv", "AsyncVectorEnv", "DummyVecEnv", "SubprocVecEnv"):
            processes = kind in ("AsyncVectorEnv", "SubprocVecEnv")
            try:
                measured = peer(name, kind, 8, steps // (10 if processes else 2))
            except ImportError:
                continue
            add(f"{'SB3' if kind.endswith('VecEnv') and 'Vector' not in kind else 'Gymnasium'} {kind}, 8, no policy", measured)
    ensure_ray(None, 3)  # room for both fleets: a worker that waits for a CPU would make two look like one
    fleets = {workers: Distil(name, workers, num_envs) for workers in (1, 2)}
    for fleet in fleets.values():
        fleet.collect(policies["2x64"], num_envs)  # start the workers and make the environments
    gains, bare_gains = [], []
    for _ in range(repeats):
        add("bare loop, no policy", bare(name, steps))
        walls = {}
        for workers, fleet in fleets.items():
            for label, policy in policies.items():
                num = episodes if "untrained" not in label else episodes * 2
                measured = fleet.collect(policy, num)
                add(f"distil, {workers} worker{'s' * (workers > 1)}, MLP {label}", measured)
                if label == "2x256":
                    walls[workers] = measured.steps / measured.wall_s
        gains.append(walls[2] / walls[1])
        bare_gains.append(bare_gain(name, steps))
    for fleet in fleets.values():
        fleet.close()
    return rows, statistics.median(gains), statistics.median(bare_gains)


def summarise(rows: dict[str, list[Measured]]) -> list[dict[str, Any]]:
    """Return a row's medians and its ratio to the bare loop of the same repetition."""
    base = [m.steps / m.cpu_s for m in rows["bare loop, no policy"]]
    out = []
    for row, turns in sorted(rows.items(), key=lambda item: item[0].startswith("distil")):
        per_cpu = [m.steps / m.cpu_s for m in turns]
        out.append(
            {
                "row": row,
                "steps_per_cpu_s": round(statistics.median(per_cpu)),
                "ratio_to_bare": round(statistics.median(a / b for a, b in zip(per_cpu, base, strict=True)), 3),
                "steps_per_s": round(statistics.median(m.steps / m.wall_s for m in turns)),
            }
        )
    return out


def main() -> None:
    """Measure, print the tables, write the JSON."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="one short turn")
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--num-envs", type=int, default=RolloutConfig().num_envs, help="of distil's workers")
    parser.add_argument("--env", action="append", choices=sorted(EPISODES), help="which environments; both unless given")
    parser.add_argument("--out", type=Path, default=Path(__file__).parent / "results" / "rollouts.json")
    args = parser.parse_args()
    warnings.simplefilter("ignore")  # Gymnasium's and Ray's
    repeats, scale = (1, 0.25) if args.quick else (args.repeats, 1.0)
    console, results = Console(), {}
    for name in args.env or sorted(EPISODES):
        rows, gain, possible = measure(name, repeats, scale, args.num_envs)
        table = Table("", "steps / CPU-s", "to bare", "steps / s", title=f"{name} ({args.num_envs} environments a worker)")
        summary = summarise(rows)
        for row in summary:
            table.add_row(row["row"], f"{row['steps_per_cpu_s']:,}", f"{row['ratio_to_bare']:.2f}", f"{row['steps_per_s']:,}")
        console.print(table)
        worst = min(r["ratio_to_bare"] for r in summary if "distil, 1" in r["row"] and "untrained" not in r["row"])
        console.print(
            f"worst ratio with 1 worker {worst:.2f} (target {TARGETS[name]}); 2 workers {gain:.2f}x (target {WALL_TARGET}x)"
        )
        for row in summary:
            if "distil, 1" in row["row"] and "untrained" in row["row"]:
                console.print(f"10-step episodes with 1 worker {row['ratio_to_bare']:.2f} (target {UNTRAINED_TARGET})")
        console.print(f"two bare loops gain {possible:.2f}x over one: what the machine had to give in this run\n")
        results[name] = {
            "rows": summary,
            "worst_ratio": worst,
            "target_ratio": TARGETS[name],
            "wall_gain_2_workers": round(gain, 3),
            "wall_gain_2_bare_loops": round(possible, 3),
        }
    write_result(args.out, {"machine": machine(), "num_envs": args.num_envs, "repeats": repeats, "results": results})


if __name__ == "__main__":
    main()
