"""Costs of DAgger other than learning: labels, the expert service, rounds collected ahead, a slow and unreliable expert.

    python benchmarks/dagger.py --experts FOLDER [--only labelling service overlap unreliable]

FOLDER holds the Stable-Baselines3 experts as <algo>-<env>/<env>.zip (the RL Baselines3 Zoo's layout). All ratios are
within one run. Writes benchmarks/results/dagger.json.

- labelling: labels per CPU-second of the HalfCheetah expert for whole episodes, relative to calls of 1 and of 32 rows.
- service: the wall time of labels that 4 processes request from a service, relative to the expert's own time for the batches.
- overlap: the wall time of the same DAgger run with `overlap` 0 and 1, where the number of episodes per round makes collecting
  and learning about equally long; and the share of the first run that is neither collecting, learning nor evaluating.
- unreliable: an expert with 200 ms per call and 5 % failures, queried by 2 workers: labels per second relative to the limit of
  the latency (a full batch every 200 ms), whether all labels are stored, and whether each was paid for once.
"""

from __future__ import annotations

import argparse
import itertools
import os
import random
import tempfile
import time
from pathlib import Path
from typing import Any

os.environ.setdefault("OMP_NUM_THREADS", "1")
import numpy as np
from common import machine, write_result
from rich.console import Console
from rich.table import Table

import distil
from distil.cluster import ensure_ray
from distil.envs import GymEnvConfig, describe
from distil.experts.base import Stateless, every
from distil.experts.sb3.config import Sb3ExpertConfig
from distil.experts.team import Team
from distil.rollouts.service.actors import Service
from distil.rollouts.service.config import ServiceConfig
from distil.store import Store
from distil.types import Labels

EXPERT = "tqc-HalfCheetah-v3/HalfCheetah-v3.zip"
EPISODE = 1000
ASKERS, QUESTIONS = 4, 60
DELAY_S, FAILURES, BATCH = 0.2, 0.05, 256


class Heavy(Stateless):
    """A network of four layers of 1024 with random weights: an expert slow enough to justify a service."""

    name = "4x1024"

    def __init__(self, num_in: int, num_out: int) -> None:
        rng, sizes = np.random.default_rng(0), [num_in, 1024, 1024, 1024, 1024, num_out]
        self._layers = [rng.normal(0, 1 / n**0.5, (n, m)).astype(np.float32) for n, m in itertools.pairwise(sizes)]

    def act(self, observations: Any, *, envs: Any = None) -> Labels:
        """Return the network's actions."""
        x = observations["obs"].astype(np.float32)
        for layer in self._layers:
            x = np.tanh(x @ layer)
        return Labels(actions=x, mask=every(len(x)))


class Unreliable:
    """Balances CartPole, but slowly and unreliably; the file `paid` records its answers."""

    def __init__(self, paid: str) -> None:
        self._paid, self._rng = Path(paid), random.Random(0)

    def act(self, observations: Any) -> Any:
        """Return actions, or raise."""
        time.sleep(DELAY_S)
        if self._rng.random() < FAILURES:
            raise ConnectionError("no answer")
        with self._paid.open("a") as file:
            file.write(f"{len(observations)}\n")
        return (observations @ np.array([0.1, 0.3, 4.0, 1.0]) > 0).astype(np.int64)


def halfcheetah(experts: Path) -> tuple[Any, Any]:
    """Return the expert and its environment's spec."""
    env = GymEnvConfig(id="HalfCheetah-v5")
    spec = describe(env)
    return Sb3ExpertConfig(path=str(experts / EXPERT)).build(env, spec), spec


def labelling(experts: Path) -> dict[str, float]:
    """Return labels per CPU-second by rows per call."""
    expert, _ = halfcheetah(experts)
    rng = np.random.default_rng(0)
    observations = rng.normal(size=(20 * EPISODE, 17))
    rates = {}
    for rows in (EPISODE, 32, 1):
        num, best = len(observations) // (20 if rows == 1 else 1), float("inf")
        for _ in range(3):
            started = time.process_time()
            for start in range(0, num, rows):
                expert.act({"obs": observations[start : start + rows]})
            best = min(best, time.process_time() - started)
        rates[f"labels_per_s_{rows}_rows"] = num / best
    bulk = rates[f"labels_per_s_{EPISODE}_rows"]
    return rates | {"bulk_to_per_step": bulk / rates["labels_per_s_1_rows"], "bulk_to_32": bulk / rates["labels_per_s_32_rows"]}


def service(experts: Path) -> dict[str, dict[str, float]]:
    """Return the overhead of the service, by expert and batch size."""
    ray = ensure_ray(None, ASKERS + 1)
    light, spec = halfcheetah(experts)
    results = {}
    for expert in (Heavy(17, 6), light):
        for batch in (64, 256):
            results[f"{expert.name}, batch {batch}"] = _overhead(ray, expert, spec, batch)
    return results


def _overhead(ray: Any, expert: Any, spec: Any, batch: int) -> dict[str, float]:
    config = ServiceConfig(max_batch=batch, keep=False)
    served = Service(Team(members={"e": expert}), spec.action.leaf, config, None, address=None, num_cpus=ASKERS + 1)

    @ray.remote(num_cpus=1)
    class Asker:
        def __init__(self, client: Any, seed: int) -> None:
            self.client, rng = client, np.random.default_rng(seed)
            self.questions = rng.normal(size=(QUESTIONS, batch, 17))

        def warm(self) -> None:
            self.client.act({"obs": self.questions[0] + 1})

        def run(self) -> int:
            waiting = [self.client.submit({"obs": question}) for question in self.questions[:8]]
            done = 0
            for number in range(QUESTIONS):
                done += int(self.client.result(waiting[number]).mask.sum())
                if number + 8 < QUESTIONS:
                    waiting.append(self.client.submit({"obs": self.questions[number + 8]}))
            return done

    askers = [Asker.remote(served.team.members["e"], seed) for seed in range(ASKERS)]
    ray.get([asker.warm.remote() for asker in askers])
    before = served.account()["e"]
    started = time.perf_counter()
    num = sum(ray.get([asker.run.remote() for asker in askers]))
    wall_s = time.perf_counter() - started
    after = served.account()["e"]
    for asker in askers:
        ray.kill(asker)
    served.close()
    assert num == ASKERS * QUESTIONS * batch == after["labels"] - before["labels"]
    observations = {"obs": np.random.default_rng(9).normal(size=(batch, 17))}
    started = time.perf_counter()
    calls = after["calls"] - before["calls"]
    for _ in range(calls):
        expert.act(observations)
    own_s = time.perf_counter() - started
    return {"labels_per_s": num / wall_s, "wall_s": wall_s, "expert_s": own_s, "overhead": wall_s / own_s - 1, "calls": calls}


def overlap(experts: Path) -> dict[str, float]:
    """Return the wall time of a run by overlap."""
    results: dict[str, float] = {}
    for ahead in (0, 1, 0, 1):
        with tempfile.TemporaryDirectory() as folder:
            settings = {
                "expert.path": str(experts / EXPERT),
                "rollouts.num_workers": 1,
                "algorithm.rounds": 9,
                "algorithm.episodes_per_round": 24,
                "algorithm.stop.expert_labels": None,
                "algorithm.check_episodes": 0,
                "algorithm.min_expert_return": None,
                "algorithm.tuning_episodes": 0,
                "algorithm.overlap": ahead,
                "evaluation.episodes": 2,
                "evaluation.baselines": False,
                "learner.num_steps": 700,
                "tracking.enabled": False,
                "runs": f"{folder}/runs",
                "data.path": f"{folder}/data",
            }
            reports = distil.train("halfcheetah-dagger", settings).reports
        first, last = reports[0].metrics["budget/wall_s"], reports[-1].metrics["budget/wall_s"]  # the first round waits for Ray
        phases = ("collect", "update", "evaluate")
        times = {name: sum(r.metrics.get(f"time/{name}_s", 0.0) for r in reports[1:]) for name in phases}
        figures = {"wall_s": last - first, **{f"{name}_s": value for name, value in times.items()}}
        for name, value in figures.items():
            key = f"overlap_{ahead}_{name}"
            results[key] = min(value, results.get(key, float("inf"))) if name == "wall_s" else value
        if not ahead:
            results["outside"] = 1 - sum(times.values()) / (last - first)
    return results | {"speedup": results["overlap_0_wall_s"] / results["overlap_1_wall_s"]}


def unreliable() -> dict[str, float]:
    """Return the figures of a run with an expert that takes 200 ms per call and fails in 5 % of the calls."""
    with tempfile.TemporaryDirectory() as folder:
        paid = f"{folder}/paid"
        settings = {
            "name": "unreliable",
            "expert": {"kind": "import", "target": "dagger:Unreliable", "kwargs": {"paid": paid}},
            "env.max_episode_steps": 200,
            "rollouts.num_workers": 2,
            "rollouts.service.max_batch": BATCH,
            "algorithm.rounds": 5,
            "algorithm.episodes_per_round": 100,
            "algorithm.check_episodes": 0,
            "algorithm.min_expert_return": None,
            "algorithm.tuning_episodes": 0,
            "evaluation.episodes": 2,
            "evaluation.baselines": False,
            "learner.num_steps": 300,
            "tracking.enabled": False,
            "runs": f"{folder}/runs",
            "data.path": f"{folder}/data",
        }
        reports = distil.train("cartpole-dagger", settings).reports
        episodes = Store.open(f"{folder}/data").snapshot().episodes
        answered = sum(map(int, Path(paid).read_text().split()))
    later = reports[1:5]
    labels = later[-1].metrics["budget/expert_labels"] - reports[0].metrics["budget/expert_labels"]
    seconds = sum(report.metrics["time/collect_s"] for report in later)
    return {
        "steps": int(episodes.length.sum()),
        "labels_stored": int(episodes.num_labelled.sum()),
        "labels_counted": reports[-1].metrics["budget/expert_labels"],
        "labels_paid": answered,
        "failures": later[-1].metrics["expert/failures"],
        "labels_per_s": labels / seconds,
        "allowed_by_latency": BATCH / DELAY_S,
        "share": labels / seconds / (BATCH / DELAY_S),
    }


def main() -> None:
    """Measure, print, write the JSON."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--experts", type=Path, required=True)
    parts = ["labelling", "service", "overlap", "unreliable"]
    parser.add_argument("--only", nargs="*", default=parts, choices=parts)
    parser.add_argument("--out", type=Path, default=Path(__file__).parent / "results" / "dagger.json")
    args = parser.parse_args()
    here = str(Path(__file__).parent)
    os.environ["PYTHONPATH"] = os.pathsep.join([here, os.environ.get("PYTHONPATH", "")]).rstrip(os.pathsep)
    results: dict[str, Any] = {}
    for part in args.only:
        results[part] = unreliable() if part == "unreliable" else globals()[part](args.experts.resolve())
        table = Table(part, "")
        for name, value in results[part].items():
            table.add_row(name, str(value) if isinstance(value, dict) else f"{value:,.3f}")
        Console().print(table)
    write_result(args.out, {"machine": machine(), "results": results})


if __name__ == "__main__":
    main()
