"""The step of reinforcement learning against Stable-Baselines3's: steps per CPU-second, and returns.

    python benchmarks/rl_step.py --environments FOLDER [--only cartpole-ppo ...] [--seeds 0 1 2 3 4] [--steps 100000]
    python benchmarks/rl_step.py --table

Both train on the environment's own reward, with the same networks, batch size, learning rate, discount and number of updates:
Stable-Baselines3's settings are made from the recipe's. CPU-seconds are user and system time of the whole process, imports
included, with one thread; nothing is evaluated meanwhile. The two alternate. Afterwards both policies run the same 50 held-out
episodes by their default actions, with distil's evaluator.

Stable-Baselines3 is installed below FOLDER, in an environment of its own. Each run is added to benchmarks/results/rl_step.json
as soon as it ends, with its seed and the commit of the code; runs that the file has are not repeated, so that long ones can be
measured one by one. `--steps` shortens the runs, to measure speed alone: those are other rows.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
from common import machine, write_result
from inverse_rl import commit
from peers_environments import python_of, versions_of

from distil import api
from distil.objectives.rl_config import PpoConfig, SacConfig
from distil.runconfig import RunConfig, load_config
from distil.stats import mean_interval

RESULTS = Path(__file__).parent / "results" / "rl_step.json"
PROGRAM = Path(__file__).parent / "peer_programs" / "rl_with_sb3.py"
ACTIVATIONS = {"relu": "ReLU", "tanh": "Tanh", "silu": "SiLU"}


@dataclass(frozen=True)
class Task:
    """A recipe to train, and the seeds that its returns take."""

    recipe: str
    seeds: tuple[int, ...]
    overrides: Mapping[str, Any] = field(default_factory=dict)


TASKS = {
    "cartpole-ppo": Task("cartpole-ppo", (0, 1, 2, 3, 4)),
    "halfcheetah-ppo": Task("cartpole-ppo", (0, 1, 2), {"env.id": "HalfCheetah-v5"}),
    "pendulum-sac": Task("pendulum-sac", (0, 1, 2, 3, 4)),
    "hopper-sac": Task("hopper-sac", (0, 1, 2)),
    "halfcheetah-sac": Task("halfcheetah-sac", (0, 1, 2)),
}
QUIET = {
    "tracking.enabled": False,
    "evaluation.episodes": 0,
    "algorithm.tuning_episodes": 0,
    "rollouts.num_workers": 0,
}


def sb3_spec(config: RunConfig, steps: int, seed: int, out: str) -> dict[str, Any]:
    """Return what Stable-Baselines3 is given, so that it does what the recipe does."""
    algorithm, learner, encoder = config.algorithm, config.learner, config.policy.encoder
    step = algorithm.step  # type: ignore[union-attr]
    settings = {"learning_rate": learner.learning_rate, "batch_size": learner.batch_size, "gamma": step.discount}
    if isinstance(step, PpoConfig):
        ppo = {"n_steps": algorithm.steps_per_round, "n_epochs": step.epochs, "gae_lambda": step.trace}  # type: ignore[union-attr]
        settings |= ppo | {"clip_range": step.clip, "ent_coef": step.entropy}
        net: Any = {"pi": list(encoder.hidden), "vf": list(step.hidden)}  # type: ignore[union-attr]
    else:
        assert isinstance(step, SacConfig), step
        settings |= {"tau": step.target_rate, "learning_starts": algorithm.random_steps, "train_freq": 1, "gradient_steps": 1}  # type: ignore[union-attr]
        net = {"pi": list(encoder.hidden), "qf": list(step.hidden)}  # type: ignore[union-attr]
    return {
        "algorithm": step.kind,
        "env": config.env.id,  # type: ignore[union-attr]
        "steps": steps,
        "seed": seed,
        "policy_kwargs": {"net_arch": net, "activation_fn": ACTIVATIONS[encoder.activation]},  # type: ignore[union-attr]
        "settings": settings,
        "out": out,
    }


def comparable(task: Task, steps: int | None) -> tuple[Task, int]:
    """Return the task so that both take as many gradient steps, and its number of steps in the environment.

    Off-policy, Stable-Baselines3 takes none while it acts at random; distil takes as many fewer, spread over the run. A shorter
    run acts at random for a tenth at most.
    """
    algorithm = load_config(task.recipe, task.overrides).algorithm
    num = steps or algorithm.steps  # type: ignore[union-attr]
    if isinstance(algorithm.step, PpoConfig):  # type: ignore[union-attr]
        return task, num
    random = min(algorithm.random_steps, num // 10) if steps else algorithm.random_steps  # type: ignore[union-attr]
    more = {"algorithm.random_steps": random, "algorithm.updates_per_step": (num - random) / num}
    return replace(task, overrides={**task.overrides, **more}), num


def clocked(command: Sequence[str]) -> tuple[str, float]:
    """Run a program with one thread; return its output and its CPU-seconds, those of its children included."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    done = subprocess.run(command, env=os.environ | {"OMP_NUM_THREADS": "1"}, capture_output=True, text=True, check=False)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    if done.returncode:
        print("\n".join((done.stdout + done.stderr).splitlines()[-5:]), file=sys.stderr)
        done.check_returncode()
    return done.stdout, after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


def run_distil(task: Task, steps: int, seed: int, folder: str) -> dict[str, Any]:
    """Train with distil; return what it did and its CPU-seconds."""
    keys = {**task.overrides, **QUIET, "algorithm.steps": steps, "seed": seed, "runs": f"{folder}/runs"}
    words = [f"{key}={json.dumps(value)}" for key, value in keys.items()]
    _, cpu_s = clocked([sys.executable, "-m", "distil", "experts", "train", task.recipe, *words, "--run", "it"])
    run = api.open_run(f"{folder}/runs/it")
    spent = run.reports[-1].spent
    env = {"id": run.config.env.id}  # type: ignore[union-attr]
    found = api.evaluate(run.policy(), env=env, num_workers=0)
    return {"env_steps": spent.agent_steps, "gradient_steps": spent.gradient_steps, "cpu_s": cpu_s, "return": found.mean}


def run_sb3(task: Task, steps: int, seed: int, folder: str, python: str) -> dict[str, Any]:
    """Train with Stable-Baselines3; return what it did and its CPU-seconds."""
    config = load_config(task.recipe, task.overrides)
    out = f"{folder}/policy.zip"
    output, cpu_s = clocked([python, str(PROGRAM), json.dumps(sb3_spec(config, steps, seed, out))])
    did = json.loads(output.splitlines()[-1])
    keys = {**task.overrides, "expert.kind": "sb3", "expert.path": out, "rollouts.num_workers": 0, "runs": f"{folder}/runs"}
    scored = api.evaluate_expert(task.recipe, keys | {"evaluation.episodes": 50}).results["expert"]
    return {**did, "cpu_s": cpu_s, "return": scored.mean}


def measure(name: str, seed: int, steps: int | None, python: str, out: Path) -> None:
    """Run both, unless the file has them, and add what they did to it."""
    row = name if steps is None else f"{name} {steps}"
    task, num = comparable(TASKS[name], steps)
    both = {"distil": lambda at: run_distil(task, num, seed, at), "sb3": lambda at: run_sb3(task, num, seed, at, python)}
    for who in sorted(both, reverse=seed % 2 == 1):
        found = read(out)
        if str(seed) in found.get(row, {}).get(who, {}):
            continue
        with tempfile.TemporaryDirectory() as folder:
            result = both[who](folder)
        result = {
            **result,
            "cpu_s": round(result["cpu_s"], 2),
            "steps_per_cpu_s": round(result["env_steps"] / result["cpu_s"], 1),
        }
        found.setdefault(row, {}).setdefault(who, {})[str(seed)] = {**result, "commit": commit()}
        write_result(out, {"machine": machine(), "versions": versions_of(python), "results": found})
        print(f"{row} seed {seed} {who}: {result}", flush=True)


def read(path: Path) -> dict[str, dict[str, dict[str, Any]]]:
    """Return what a file holds: row -> who -> seed -> result."""
    found: dict[str, dict[str, dict[str, Any]]] = json.loads(path.read_text())["results"] if path.exists() else {}
    return found


def table(results: Mapping[str, Mapping[str, Mapping[str, Mapping[str, Any]]]]) -> str:
    """Return the table: the ratio is the median over the seeds that both have; returns are means over seeds with intervals."""
    lines = [
        "| task | steps | distil, steps per CPU-s | SB3 | ratio | distil, return | SB3 | seeds |",
        "|---|---|---|---|---|---|---|---|",
    ]
    for row, found in results.items():
        ours, theirs = found.get("distil", {}), found.get("sb3", {})
        seeds = [seed for seed in ours if seed in theirs]
        if not seeds:
            continue
        rates = [[of[seed]["steps_per_cpu_s"] for seed in seeds] for of in (ours, theirs)]
        ratio = np.median(np.divide(*rates))
        steps = f"{np.median([ours[seed]['env_steps'] for seed in seeds]):,.0f}"
        speeds = [f"{np.median(each):,.0f}" for each in rates]
        returns = [_returns([of[seed]["return"] for seed in seeds]) for of in (ours, theirs)]
        cells = (row.split()[0], steps, *speeds, f"{ratio:.2f}", *returns, str(len(seeds)))
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines)


def _returns(values: Sequence[float]) -> str:
    found = mean_interval(np.asarray(values)) if len(values) > 1 else None
    text = f"{np.mean(values):.0f}"
    return text if found is None else f"{text} ({found[0]:.0f} to {found[1]:.0f})"


def main() -> None:
    """Measure, write the JSON, print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--environments", type=Path, help="where Stable-Baselines3 is installed; kept for the next time")
    parser.add_argument("--only", nargs="*", default=list(TASKS), choices=list(TASKS))
    parser.add_argument("--seeds", nargs="*", type=int, default=None, help="default: those of the task")
    parser.add_argument("--steps", type=int, default=None, help="in place of the recipe's")
    parser.add_argument("--out", type=Path, default=RESULTS)
    parser.add_argument("--table", action="store_true", help="only print the table of the file")
    options = parser.parse_args()
    if not options.table:
        if options.environments is None:
            parser.error("--environments FOLDER is needed")
        python = python_of("stable-baselines3", options.environments)
        for name in options.only:
            for seed in options.seeds if options.seeds is not None else TASKS[name].seeds:
                measure(name, seed, options.steps, python, options.out)
    print(table(read(options.out)))


if __name__ == "__main__":
    main()
