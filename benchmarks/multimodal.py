"""Heads side by side on demonstrations with several right answers: same backbone, updates and data within a task.

    python benchmarks/multimodal.py [--tasks bimodal avoiding pusht cube scene] [--heads mixture ...] [--seeds 0 1 2]
                                    [--pusht FILE] [--keep FOLDER] [--tune] [--out FILE]
    python benchmarks/multimodal.py --table

Tasks: see multimodal_tasks.py. FILE of --pusht holds the human demonstrations of PushT: diffusion_policy's zarr, or an .npz of
its arrays. A seed has its own demonstrations (PushT: the same 206), start weights and batch order; the held-out episodes are
the same for all. --tune scores on other episodes, to choose settings by.

Every run is added to the file as soon as it ends, and a run of the same settings that is there is not repeated. With --keep,
its folder stays, and a run that was interrupted continues. Speeds are those of one core: samples of training a CPU-second,
CPU-seconds of all updates, and the median time of a call that plans, at 1 and 64 environments at once. Writes
benchmarks/results/multimodal.json.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import tempfile
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
import yaml
from common import machine, write_result
from inverse_rl import commit
from multimodal_tasks import Avoiding, AvoidingDagger, AvoidingGate, Bimodal, Cube, Lander, LanderDagger, PushT, Scene, Task
from threadpoolctl import threadpool_limits

import distil
from distil.config import load_recipe
from distil.policies.acting import acting
from distil.policies.config import ActMode
from distil.policies.restore import policy_of
from distil.policies.spec import PolicyRef
from distil.seeding import Purpose
from distil.stats import mean_interval

RESULTS = Path(__file__).parent / "results" / "multimodal.json"
_REFINING = ("flow", "shortcut", "diffusion", "two_step", "latent")  # heads with a network of their own
_KINDS = ("deterministic", "gaussian", "mixture", "bins", "codes", "energy", *_REFINING)
HEADS: dict[str, dict[str, Any]] = {kind: {"policy.head": {"kind": kind}} for kind in _KINDS}  # settings, of all tasks
HEADS |= {
    "codes, 2 levels": {"policy.head": {"kind": "codes", "num_levels": 2}},
    "shortcut, 4 steps": {"policy.head": {"kind": "shortcut", "num_steps": 4}},
}
_WIDE = {"width": 256, "num_blocks": 3}
_ENCODER = {"kind": "resmlp", "activation": "silu"}
OWN: dict[tuple[str, str], dict[str, Any]] = {  # task, kind of head -> more settings: a task's networks are equally deep
    ("pusht", kind): {"policy.encoder": _ENCODER | _WIDE} for kind in _KINDS
} | {
    ("pusht", kind): {"policy.encoder": {"kind": "mlp", "hidden": [256]}, "policy.head.network": {"kind": "mlp", **_WIDE}}
    for kind in _REFINING
}
for _kind in ("flow", "shortcut", "diffusion"):  # on tuning episodes, default actions get stuck more often, free samples miss
    OWN["pusht", _kind] |= {"policy.head.temperature": 0.3}
OWN |= {("avoiding", kind): {"policy.encoder": _ENCODER | {"num_blocks": 2}} for kind in _KINDS if kind not in _REFINING}
OWN["avoiding", "mixture"] |= {"policy.head.num_components": 8, "policy.head.min_log_std": -2.0}
OWN["avoiding", "energy"] |= {"policy.chunk": 1, "policy.execute": 1}  # more numbers are too many for it
ONE_ANSWER = ("deterministic", "two_step")
POINT = {("pusht", "gaussian"), ("pusht", "mixture")}
COMMON = {"tracking.enabled": False, "evaluation.episodes": 0, "rollouts.num_workers": 0, "rollouts.num_envs": 25}
FIGURES = {"parameters": ",.0f", "samples/s": ",.0f", "cpu_s": ".0f", "ms at 1": ".2f", "ms at 64": ".2f"}


def settings(head: str, task: str) -> dict[str, Any]:
    """Return the settings of a row."""
    own = OWN.get((task.removesuffix("-dagger").removesuffix("-gate"), HEADS[head]["policy.head"]["kind"]), {})
    return COMMON | HEADS[head] | own | {"evaluation.act": act_of(head, task)}


def act_of(head: str, task: str) -> ActMode:
    """Return how a row's policy acts."""
    return "point" if head in ONE_ANSWER or (task, head) in POINT else "sample"


def measure(task: Task, recipe: Path, overrides: Mapping[str, Any], act: ActMode, purpose: Purpose) -> dict[str, float]:
    """Train and score one run; return its scores and figures. `overrides` name its folder; a run there continues.

    Its name is that of its settings, so that another run's folder isn't taken for it.
    """
    run = distil.train(recipe, overrides, resume=True, run=digest([overrides, recipe.read_text()]))
    with tempfile.TemporaryDirectory() as folder:
        scores = task.score(run, act, Path(folder), purpose)
    metrics, ref = run.metrics, run.policy().ref
    rate = metrics["train/samples_per_s"] * metrics["time/update_s"] / metrics["time/update_cpu_s"]
    return scores | {
        "parameters": sum(weight.numel() for weight in policy_of(ref).parameters()),
        "samples/s": round(rate),
        "cpu_s": round(metrics["train/steps"] * run.config.learner.batch_size / rate, 1),
        "ms at 1": round(1e3 * latency_s(ref, 1, act), 3),
        "ms at 64": round(1e3 * latency_s(ref, 64, act), 3),
    }


def latency_s(ref: PolicyRef, num: int, act: ActMode, repetitions: int = 60) -> float:
    """Return the median time of a call that plans actions of `num` environments."""
    policy, every = acting(ref, num, act=act), ref.spec.config.num_executed
    for slot in range(num):
        policy.begin(slot, slot)
    rng, leaves = np.random.default_rng(0), ref.spec.observation.leaves
    observations = {leaf.name: rng.normal(size=(num, *leaf.shape)).astype(leaf.dtype) for leaf in leaves}
    times = []
    for call in range(every * repetitions):
        before_s = time.perf_counter()
        policy.act(observations)
        if call % every == 0:  # the others take what was planned
            times.append(time.perf_counter() - before_s)
    return float(np.median(times[repetitions // 4 :]))


def digest(value: Any) -> str:
    """Return a short name of settings."""
    return hashlib.sha256(json.dumps(value, sort_keys=True, default=str).encode()).hexdigest()[:12]


def read(path: Path) -> dict[str, dict[str, dict[str, Any]]]:
    """Return what a file holds: task -> head -> seed -> result."""
    found: dict[str, dict[str, dict[str, Any]]] = json.loads(path.read_text())["results"] if path.exists() else {}
    return found


def add(path: Path, task: str, head: str, seed: int, result: Mapping[str, Any]) -> None:
    """Add a result to a file."""
    results = read(path)
    results.setdefault(task, {}).setdefault(head, {})[str(seed)] = dict(result)
    write_result(path, {"machine": machine(), "results": results})


def table(task: type[Task], by_head: Mapping[str, Mapping[str, Mapping[str, Any]]]) -> str:
    """Return the table of a task: over the seeds, means of all columns, and 95 % intervals of the scores."""
    columns = [*task.scores, *FIGURES]
    lines = [f"| head | seeds | {' | '.join(columns)} |", "|---" * (2 + len(columns)) + "|"]
    for head, by_seed in by_head.items():
        cells = [head, str(len(by_seed))]
        for name, form in {**task.scores, **FIGURES}.items():
            values = [run[name] for run in by_seed.values()]
            found = mean_interval(values) if name in task.scores else None
            spread = f" ({found[0]:{form}} to {found[1]:{form}})" if found else ""
            cells.append(f"{np.mean(values):{form}}{spread}")
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines)


TASKS: dict[str, type[Task]] = {
    "bimodal": Bimodal,
    "avoiding": Avoiding,
    "avoiding-dagger": AvoidingDagger,
    "avoiding-gate": AvoidingGate,
    "lander": Lander,
    "lander-dagger": LanderDagger,
    "pusht": PushT,
    "cube": Cube,
    "scene": Scene,
}


def run_all(args: argparse.Namespace, folder: Path) -> None:
    """Measure what is asked for, seed by seed."""
    purpose = Purpose.TUNE if args.tune else Purpose.EVALUATE
    for name, seed, head in ((n, s, h) for n in args.tasks for s in args.seeds for h in args.heads):
        task = PushT(args.pusht) if name == "pusht" else TASKS[name]()
        data = folder / name
        data.mkdir(parents=True, exist_ok=True)
        recipe = data / f"{name}.yaml"
        settled = load_recipe(task.recipe) if isinstance(task.recipe, str) else task.recipe
        recipe.write_text(yaml.safe_dump(settled))
        act, own = act_of(head, name), settings(head, name) | {"seed": seed}
        key = digest([own, act, purpose.name, settled])
        if read(args.out).get(name, {}).get(head, {}).get(str(seed), {}).get("settings") == key:
            continue
        at = task.prepare(data, seed) if task.shares_data else data / f"data-{key}"
        own |= {"runs": str(data / "runs"), "data.path": str(at)}
        found = measure(task, recipe, own, act, purpose)
        add(args.out, name, head, seed, found | {"settings": key, "commit": commit()})
        print(f"{name}, {head}, seed {seed}: {', '.join(f'{key} {found[key]:.3f}' for key in task.scores)}", flush=True)


def main(words: Sequence[str] | None = None) -> None:
    """Measure what is asked for, print the tables."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--tasks", nargs="*", choices=list(TASKS), default=list(TASKS))
    parser.add_argument("--heads", nargs="*", choices=list(HEADS), default=list(HEADS))
    parser.add_argument("--seeds", nargs="*", type=int, default=[0, 1, 2])
    parser.add_argument("--pusht", type=Path, help="the human demonstrations of PushT")
    parser.add_argument("--keep", type=Path, help="keep data and runs in this folder, and continue those that are there")
    parser.add_argument("--tune", action="store_true", help="score on tuning episodes, not on those of the reported scores")
    parser.add_argument("--out", type=Path, default=RESULTS)
    parser.add_argument("--table", action="store_true", help="only print the tables")
    args = parser.parse_args(words)
    if "pusht" in args.tasks and args.pusht is None and not args.table:
        parser.error("the task pusht needs --pusht FILE")
    if not args.table:
        torch.set_num_threads(1)
        with threadpool_limits(1), tempfile.TemporaryDirectory() as passing:
            run_all(args, args.keep or Path(passing))
    for name, by_head in read(args.out).items():
        print(f"\n{name}\n{table(TASKS[name], by_head)}")


if __name__ == "__main__":
    main()
