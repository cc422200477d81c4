"""distil and other libraries on the same tasks: what they reach, and for how many CPU-seconds.

    python benchmarks/peers.py --experts FOLDER --environments FOLDER [--only hopper-bc ...] [--contestants distil ...]
    python benchmarks/peers.py --table

The same demonstrations (BC), or the same expert and number of labels (DAgger), the same environments, and the same evaluator
with the same 50 held-out episodes for all. A seed changes the demonstrations, the initial weights and the order of the batches.
CPU-seconds are user and system time of a process and of all processes that it starts, from its start to its end, with one
thread for torch. The demonstrations of BC are collected beforehand, those of DAgger are part of its cost; episodes that only
measure a score are not. distil runs as `distil train RECIPE` does in an empty folder, MLflow included. Contestants alternate:
all of them have one seed of a task before one has the next.

--resume keeps what the file already holds, so that a stopped comparison continues. --tuning scores on other episodes, to choose
settings by; use other seeds with it. --quick is a trial of the script. benchmarks/results/peers.json is written after each
measurement; --table puts its tables into the pages.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import peers_table
from common import machine, write_result
from peers_clock import ProgramError
from peers_environments import InstallError, python_of, versions_of
from peers_material import Material
from peers_plan import CONTESTANTS, EPISODES, SEEDS, TASKS, takes_part
from peers_runs import Cell

from distil.seeding import Purpose, episode_seeds

OUT = Path(__file__).parent / "results" / "peers.json"
PAGE = Path(__file__).parent / "README.md"


def main() -> None:
    """Measure, write the JSON, print the tables."""
    options = arguments()
    if options.table:
        results = json.loads(options.out.read_text())
        peers_table.fill(PAGE, results)
        show(results)
        return
    if options.quick:
        for name, task in TASKS.items():
            TASKS[name] = dataclasses.replace(task, budgets=task.budgets[:2], cap_s=5, overrides={"learner.num_steps": 300})
    kept = json.loads(options.out.read_text()) if options.resume and options.out.exists() else {}
    results: dict[str, Any] = {"machine": machine(), "environments": {}, "references": {}, "left_out": {}, "cells": []}
    results |= {key: kept[key] for key in results if key in kept}
    chosen = {CONTESTANTS[name].package for name in options.contestants}  # what failed is tried again
    results["left_out"] = {name: why for name, why in results["left_out"].items() if name.split()[0] not in chosen}
    todo = list(plan(options, results))
    print(f"peers: {len(todo)} measurements, about {about_s(todo) / 60:.0f} minutes", flush=True)
    started = time.monotonic()
    with tempfile.TemporaryDirectory(prefix="peers-") as name:
        for number, (seed, task, contestant) in enumerate(todo, start=1):
            measure(seed, task, contestant, results, options, Path(name))
            write_result(options.out, results)
            spent_s = time.monotonic() - started
            left_s = about_s(todo[number:]) * spent_s / about_s(todo[:number])
            print(f"{number} of {len(todo)} after {spent_s / 60:.0f} minutes, about {left_s / 60:.0f} left", flush=True)
    show(results)


def arguments() -> argparse.Namespace:
    """Return the command line's options."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--experts", type=Path, help="the Stable-Baselines3 experts as <algo>-<env>/<env>.zip")
    parser.add_argument("--environments", type=Path, help="where the libraries are installed; kept for the next time")
    parser.add_argument("--only", nargs="*", default=list(TASKS), choices=list(TASKS))
    parser.add_argument("--contestants", nargs="*", default=list(CONTESTANTS), choices=list(CONTESTANTS))
    parser.add_argument("--seeds", nargs="*", type=int, default=list(SEEDS))
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--resume", action="store_true")
    parser.add_argument("--tuning", action="store_true")
    parser.add_argument(
        "--table", action="store_true", help="put the tables of the results into benchmarks/README.md, print them and stop"
    )
    parser.add_argument("--out", type=Path, default=OUT)
    options = parser.parse_args()
    if not options.table and (options.experts is None or options.environments is None):
        parser.error("--experts and --environments are missing: give the folder of the experts, and one for the libraries")
    if (options.quick or options.tuning) and options.out == OUT:
        parser.error("--out is missing: a trial does not replace the published results")
    return options


def plan(options: argparse.Namespace, results: dict[str, Any]) -> Iterator[tuple[int, str, str]]:
    """Yield seed, task and contestant of what is not measured yet, in the order of measuring."""
    known = {(cell["seed"], cell["task"], cell["contestant"]) for cell in results["cells"]}
    for task in options.only:
        for seed in options.seeds:
            for contestant in options.contestants:
                if takes_part(task, contestant) and (seed, task, contestant) not in known:
                    yield seed, task, contestant


def about_s(todo: Sequence[tuple[int, str, str]]) -> float:
    """Return the wall-clock seconds that measurements take on two cores, roughly."""
    return sum(TASKS[task].about_s[contestant] for _, task, contestant in todo)


def measure(seed: int, task: str, contestant: str, results: dict[str, Any], options: argparse.Namespace, folder: Path) -> None:
    """Measure one contestant on one task with one seed; a library that fails is left out by name."""
    library = CONTESTANTS[contestant].package
    if library in results["left_out"] or f"{library} on {task}" in results["left_out"]:
        return
    try:
        python = python_of(library, options.environments.resolve())
    except InstallError as error:
        results["left_out"][library] = f"does not install: {error}"
        print(f"{library}: does not install: {error}", flush=True)
        return
    results["environments"][library] = versions_of(python)
    purpose = Purpose.TUNE if options.tuning else Purpose.EVALUATE
    episodes = episode_seeds(purpose, 5 if options.quick else EPISODES)
    material = Material(task, options.experts.resolve(), folder / "material", episodes, purpose)
    references = results["references"].get(task) or material.references()
    results["references"][task] = references
    cell = Cell(
        material=material,
        contestant=contestant,
        seed=seed,
        folder=folder / "cell",
        python=python,
        references=references,
        tracked=tracked_cell(results, task, seed) if contestant == "distil-untracked" else None,
    )
    started = time.monotonic()
    try:
        found = cell.measure()
    except ProgramError as error:
        if library == "distil":
            raise
        results["left_out"][f"{library} on {task}"] = str(error)
        print(f"{task} {contestant} {seed}: {error}", flush=True)
        return
    results["cells"].append({"task": task, "contestant": contestant, "seed": seed, **found})
    print(f"{task} {contestant} {seed}: {_line(found)} [{time.monotonic() - started:.0f} s]", flush=True)


def tracked_cell(results: dict[str, Any], task: str, seed: int) -> dict[str, Any] | None:
    """Return distil's cell with tracking, if it is measured: the run without gives the same policies."""
    cells = peers_table.cells_of(results, task, "distil")
    return next((cell for cell in cells if cell["seed"] == seed), None)


def _line(found: dict[str, Any]) -> str:
    reached, end = found["reached"], found["end"]
    when = f"0.9 after {reached['whole_s']:.1f} CPU-s ({reached['train_s']:.1f} of training)" if reached else "0.9 not reached"
    return f"{when}; at the end {end['score']:.3f}, {end['whole_s']:.1f} CPU-s ({end['train_s']:.1f} of training)"


def show(results: dict[str, Any]) -> None:
    """Print the tables, what is left out, and distil's cost relative to imitation's best."""
    print("\n".join(f"\n{table}" for table in peers_table.tables(results).values()), end="\n\n")
    for task in TASKS:
        for contestant in ("distil", "distil-untracked"):
            if (ratio := peers_table.ratio(results, task, contestant)) is not None:
                print(f"{task}: {contestant}'s CPU-seconds to 0.9 relative to imitation at its best: {ratio:.2f}")


if __name__ == "__main__":
    sys.exit(main())
