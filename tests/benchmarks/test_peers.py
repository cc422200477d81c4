"""The comparison with other libraries: its clock, its evaluator, and one small comparison from end to end."""

from __future__ import annotations

import argparse
import os
import select
import subprocess
import sys
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import pytest

sys.path.insert(0, str(Path(__file__).parents[2] / "benchmarks"))

import peers
import peers_environments
import peers_runs
import peers_table
from peers_clock import ProgramError, run_clocked
from peers_plan import CONTESTANTS, TASKS, Contestant
from peers_score import own, returns

import distil
from distil.seeding import Purpose, episode_seeds

BURN = """
import subprocess, sys, time
sys.path.insert(0, {path!r})

def burn(seconds):
    start = time.process_time()
    while time.process_time() - start < seconds:
        pass
"""
BURN = BURN.format(path=str(Path(peers.__file__).parent / "peer_programs"))
PROGRAM = """
from pathlib import Path
import numpy as np
from common import Clock, main

def train(spec, clock):
    clock.say("train")
    for number, gain in enumerate([0.0, 4.0, 4.0]):  # what this program learns: to look at the pole
        save = lambda path: Path(path).write_text(str(gain))
        clock.mark(save, spec["out"], 100 * (number + 1), samples=100 * (number + 1))
    clock.say("rest")

def load(spec, path):
    gain = float(Path(path).read_text())
    return lambda obs: (obs @ [0.1, 0.3, gain, 1.0 if gain else 0.0] > 0).astype(np.int64)

main(train, load)
"""


def clocked(tmp_path: Path, code: str, limit_s: float = 60.0) -> Any:
    program = tmp_path / "program.py"
    program.write_text(BURN + code)
    return run_clocked([sys.executable, str(program)], cwd=tmp_path, log=tmp_path / "log", limit_s=limit_s, env={})


def test_a_mark_is_charged_its_own_training_and_no_other_marks_saving(tmp_path: Path) -> None:
    code = """
from common import Clock
clock = Clock()
burn(0.2)
clock.say("train")
burn(0.3)
clock.mark(lambda path: burn(0.4), "x", 1)
burn(0.3)
clock.mark(lambda path: burn(0.4), "x", 2)
clock.say("rest")
burn(0.2)
"""
    found = clocked(tmp_path, code)
    first, second = found.marks
    assert first.facts["budget"] == 1
    assert [first.train_s, second.train_s] == pytest.approx([0.3, 0.6], abs=0.06)
    assert second.whole_s - first.whole_s == pytest.approx(0.3, abs=0.06)
    assert found.whole_s - second.whole_s == pytest.approx(0.4, abs=0.06)  # saving the first
    assert first.whole_s >= 1.1 - 0.06


@pytest.mark.parametrize("how", ["subprocess.run", "subprocess.Popen"])
def test_children_and_orphans_are_counted(tmp_path: Path, how: str) -> None:
    code = f"""
if len(sys.argv) == 1:
    {how}([sys.executable, __file__, "child"], start_new_session=True)
else:
    burn(0.5)
"""
    assert clocked(tmp_path, code).whole_s >= 0.5


def test_a_program_that_fails_or_does_not_end_is_reported(tmp_path: Path) -> None:
    with pytest.raises(ProgramError, match="exit 1: ValueError: no such policy"):
        clocked(tmp_path, "raise ValueError('no such policy')")
    with pytest.raises(ProgramError, match="no end within the time limit"):
        clocked(tmp_path, "burn(1e9)", limit_s=0.5)


def test_the_evaluator_gives_the_scores_of_distils_own(tmp_path: Path) -> None:
    small = {"learner.num_steps": 30, "evaluation.episodes": 0, "rollouts.num_workers": 0, "tracking.enabled": False}
    run = distil.train("cartpole-bc", {**small, "runs": str(tmp_path / "runs"), "data.path": str(tmp_path / "data")})
    seeds = episode_seeds(Purpose.EVALUATE, 6)
    found = returns("CartPole-v1", seeds, partial(own, run.path))
    assert found == distil.evaluate(run.policy(), env="CartPole-v1", episodes=6).returns.tolist()


def test_the_scoring_processes_end_with_a_killed_comparison() -> None:
    code = f"""
import os, signal, sys
sys.path.insert(0, {str(Path(peers.__file__).parent)!r})
import peers_score
print(peers_score._pool().submit(os.getpid).result(), flush=True)
sys.stdin.readline()
os.kill(os.getpid(), signal.SIGKILL)
"""
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True}
    with subprocess.Popen([sys.executable, "-c", code], **pipes) as process:
        end = os.pidfd_open(int(process.stdout.readline()))
        process.stdin.write("\n")
        process.stdin.flush()
        assert select.select([end], [], [], 60)[0], "a scoring process is still there"
        os.close(end)


@pytest.fixture
def options(tmp_path: Path) -> argparse.Namespace:
    return argparse.Namespace(
        experts=tmp_path, environments=tmp_path / "environments", tuning=False, quick=True, out=tmp_path / "peers.json"
    )


@pytest.fixture
def results() -> dict[str, Any]:
    return {"environments": {}, "references": {}, "left_out": {}, "cells": []}


def test_the_first_budget_that_reaches_the_goal_is_found(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, options: argparse.Namespace, results: dict[str, Any]
) -> None:
    (tmp_path / "with_toy.py").write_text(BURN + PROGRAM)
    monkeypatch.setattr(peers_runs, "_PROGRAMS", tmp_path)
    monkeypatch.setitem(CONTESTANTS, "toy", Contestant(title="toy", package="toy"))
    monkeypatch.setitem(TASKS, "cartpole-bc", replace(TASKS["cartpole-bc"], budgets=(150, 250, 350)))
    peers.measure(0, "cartpole-bc", "toy", results, options, tmp_path)
    (cell,) = results["cells"]
    assert results["references"]["cartpole-bc"]["expert"] == 500
    assert cell["end"]["score"] == 1
    assert [point["samples"] for point in cell["curve"]] == [100, 200, 300]
    assert cell["reached"]["samples"] == 200


@pytest.mark.ray
def test_distil_is_measured_as_its_command_runs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, options: argparse.Namespace, results: dict[str, Any]
) -> None:
    monkeypatch.setitem(TASKS, "cartpole-bc", replace(TASKS["cartpole-bc"], budgets=(76_800,)))
    peers.measure(0, "cartpole-bc", "distil", results, options, tmp_path)
    (cell,) = results["cells"]
    assert cell["end"]["score"] == 1
    assert 0 < cell["end"]["train_s"] < cell["end"]["whole_s"]
    assert cell["reached"]["samples"] <= cell["end"]["samples"]
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{tmp_path}/no/such/folder/mlflow.db")
    with pytest.raises(ProgramError, match="MLflow"):
        peers.measure(1, "cartpole-bc", "distil", results, options, tmp_path)
    peers.measure(0, "cartpole-bc", "distil-untracked", results, options, tmp_path)
    untracked = results["cells"][1]
    assert [point["budget"] for point in untracked["curve"]] == [cell["reached"]["budget"], cell["end"]["budget"]]
    for name in ("reached", "end"):
        assert [untracked[name][key] for key in ("policy", "score")] == [cell[name][key] for key in ("policy", "score")]


def test_a_library_that_does_not_install_is_left_out_by_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, options: argparse.Namespace, results: dict[str, Any]
) -> None:
    monkeypatch.setitem(peers_environments.ENVIRONMENTS, "d3rlpy", (sys.executable, [["--no-index", "no-such-library"]]))
    peers.measure(0, "hopper-bc", "d3rlpy", results, options, tmp_path)
    assert results["cells"] == []
    assert "d3rlpy: does not install: ERROR: No matching distribution" in peers_table.left_out(results)


def cell(task: str, contestant: str, seed: int, score: float, reached: float | None) -> dict[str, Any]:
    end = {"score": score, "whole_s": 30.0 + seed, "train_s": 20.0, "samples": 1_024_000}
    first = None if reached is None else {"whole_s": reached, "train_s": 3.0, "samples": 640}
    return {"task": task, "contestant": contestant, "seed": seed, "end": end, "reached": first}


def test_the_tables_show_means_and_intervals_and_who_does_not_reach_the_goal() -> None:
    cells = [cell("hopper-bc", "distil", seed, 0.97 + seed / 100, 8.0 + seed) for seed in range(3)]
    cells += [cell("hopper-bc", "imitation-best", seed, 0.98, 18.0) for seed in range(3)]
    cells += [cell("hopper-bc", "imitation", seed, 0.9, [None, 20.0, None][seed]) for seed in range(3)]
    cells += [cell("halfcheetah-bc", "distil", 0, 0.7, None)]
    found = {"cells": cells, "left_out": {"d3rlpy": "does not install: no wheel"}}
    rows = [line.split(" | ") for line in peers_table.full(found).splitlines()]
    assert rows[2] == [
        *("| Hopper-v5, BC, 20 demonstrations", "**distil**, shipped recipe", "9.0 (6.5 to 11.5)", "3.0", "640"),
        *("0.98 (0.96 to 1.00)", "31.0", "20.0", "1,024,000 |"),
    ]
    assert rows[4][:4] == ["| ", "imitation, defaults", "not reached (1 of 3 seeds)", ""]
    assert rows[5][2:6] == ["not reached", "", "", "0.70"]
    assert peers_table.ratio(found, "hopper-bc", "distil") == 0.5
    assert peers_table.ratio(found, "halfcheetah-bc", "distil") is None
    assert peers_table.short(found).splitlines()[7:] == [
        "| Hopper-v5, BC, 20 demonstrations | CPU-s to 0.9 (training) | 9.0 (3.0) | - | 18.0 (3.0) "
        "| not reached (1 of 3 seeds) |",
        "| | score at the end | 0.98 (0.96 to 1.00) | - | 0.98 (0.98 to 0.98) | 0.90 (0.90 to 0.90) |",
        "| HalfCheetah-v5, BC, 20 demonstrations | CPU-s to 0.9 (training) | not reached | - | - | - |",
        "| | score at the end | 0.70 | - | - | - |",
    ]
    assert peers_table.left_out(found) == "Left out:\n\n- d3rlpy: does not install: no wheel"


def test_the_pages_show_the_tables_that_the_results_give(tmp_path: Path) -> None:
    found = {"cells": [cell("hopper-bc", name, 0, 0.97, 8.0) for name in ("distil", "imitation-best")], "left_out": {}}
    page = tmp_path / "page.md"
    page.write_text("before\n<!-- peers.py: short -->\nold\n<!-- end -->\nafter <!-- peers.py: left out -->\n<!-- end -->\n")
    for _ in range(2):
        peers_table.fill(page, found)
    short = peers_table.short(found)
    parts = (
        "before\n<!-- peers.py: short -->",
        short,
        "<!-- end -->\nafter <!-- peers.py: left out -->",
        "No library is left out.",
    )
    assert page.read_text() == "\n".join([*parts, "<!-- end -->\n"])


def test_a_stopped_comparison_continues(tmp_path: Path) -> None:
    options = argparse.Namespace(only=["cartpole-bc"], seeds=[0, 1], contestants=["distil", "robomimic"])
    done = {"cells": [cell("cartpole-bc", "distil", 0, 1.0, 5.0)]}
    assert list(peers.plan(options, done)) == [(1, "cartpole-bc", "distil")]
