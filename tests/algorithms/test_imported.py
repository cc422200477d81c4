"""A user's algorithm in a package of its own: what it decides is carried out; what is wrong with it is one line."""

import itertools
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import distil
from distil.config import validate
from distil.errors import InputError, RunError
from distil.learners.rank import Rank
from distil.plans import RoundReport
from distil.runconfig import RunConfig
from distil.rundir import RunDir
from distil.session import Session
from distil.store import Store

ALGORITHM = '''
"""Rounds in which the policy acts; each update draws from demonstrations and from what the policy did lately."""

from distil.plans import CollectPlan, EvaluatePlan, Round, StreamPlan, UpdatePlan


class Alternate:
    def __init__(self, budget, rounds=4, episodes=2):
        self.budget, self.rounds, self.episodes = budget, rounds, episodes

    def next_round(self, last):
        if last is None:
            return Round(index=0, collect=CollectPlan(num_episodes=self.budget.num_demonstrations))
        index, budget = last.index + 1, self.budget
        if index > self.rounds:
            return None
        return Round(
            index=index,
            collect=CollectPlan(
                num_episodes=self.episodes, round=index, agent="policy", act="sample", into="agent", keep_rounds=2
            ),
            update=UpdatePlan(
                num_steps=budget.num_steps,
                round=index,
                streams={"demos": StreamPlan(), "own": StreamPlan(source="agent", num_rounds=2)},
            ),
            evaluate=EvaluatePlan(num_episodes=budget.num_evaluation_episodes, baselines=budget.baselines)
            if index == self.rounds
            else None,
        )
'''
OBJECTIVE = '''
"""The policy's own loss on demonstrations, and a little of it on what it did itself."""

from dataclasses import replace

import torch

from distil.objectives.gradient import GradientObjective


class Both(GradientObjective):
    @property
    def needs(self):
        return {**super().needs, "own": {"obs_horizon": 1, "n_step": 1, "every": True}}

    def loss(self, policy, batches, generator):
        loss_B = policy.loss(batches["demos"], generator=generator)
        own = batches.get("own")
        if own is None:
            return loss_B
        done = replace(own, actions=own.executed, is_pad=torch.zeros_like(own.is_pad))
        return loss_B + 0.1 * policy.loss(done, generator=generator)
'''
BROKEN = """
from distil.plans import CollectPlan, Round, UpdatePlan


class Silent:
    def __init__(self, budget): ...


class Raising:
    def __init__(self, budget): ...
    def next_round(self, last):
        return self.missing


class Dict(Silent):
    def next_round(self, last):
        return {"index": 0}


class Nothing(Silent):
    def next_round(self, last):
        return None


class Moody(Silent):
    count = 0
    def next_round(self, last):
        self.count += 1
        return Round(index=0, update=UpdatePlan(num_steps=self.count))


class Later(Silent):
    def next_round(self, last):
        return Round(index=0, collect=CollectPlan(num_episodes=1))
"""


@pytest.fixture(autouse=True, scope="module")
def package(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    folder = tmp_path_factory.mktemp("elsewhere")
    (folder / "imitate").mkdir()
    for name, text in {"__init__": "", "algorithm": ALGORITHM, "objective": OBJECTIVE, "broken": BROKEN}.items():
        (folder / "imitate" / f"{name}.py").write_text(text)
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(str(folder))
        yield folder
    for name in [name for name in sys.modules if name.partition(".")[0] == "imitate"]:
        del sys.modules[name]


SMALL: dict[str, Any] = {
    "env.max_episode_steps": 40,
    "data.episodes": 3,
    "algorithm": {
        "kind": "import",
        "target": "imitate.algorithm:Alternate",
        "objective": {"kind": "import", "target": "imitate.objective:Both"},
    },
    "learner.num_steps": 12,
    "learner.checkpoint_every": 5,
    "learner.batch_size": 16,
    "evaluation.episodes": 2,
    "rollouts.num_workers": 0,
    "rollouts.num_envs": 2,
    "tracking.enabled": False,
}


def run(resume: bool = False, **changes: Any) -> distil.Run:
    return distil.train("cartpole-bc", SMALL | changes, resume=resume)


def test_a_users_algorithm_with_a_stream_of_what_its_policy_did() -> None:
    assert max(len(text.strip().splitlines()) for text in (ALGORITHM, OBJECTIVE)) <= 40
    done = run()
    reports = done.reports
    assert [report.policy_version for report in reports] == [0, 1, 2, 3, 4]
    assert [report.spent.agent_episodes for report in reports] == [0, 2, 4, 6, 8]
    assert [report.spent.env_steps - report.spent.agent_steps for report in reports] == [120] * 5
    assert [report.is_final for report in reports] == [False] * 4 + [True]
    assert [report.metrics.get("train/episodes") for report in reports] == [None, 3 + 2, 3 + 4, 3 + 4, 3 + 4]
    assert done.metrics["budget/agent_steps"] > 0
    assert {"eval/return_mean", "eval/normalised"} <= done.metrics.keys()
    kept = Store.open(done.path / "agent").snapshot().episodes
    assert np.bincount(kept.round).tolist() == [0, 0, 0, 2, 2]
    assert sorted(kept.policy_version.tolist()) == [2, 2, 3, 3]  # by the policy that the round before ended with
    (demos,) = Path("data").iterdir()
    assert Store.open(demos).snapshot().num_episodes == 3  # never among the demonstrations


class Killed(BaseException):
    """Stands for a SIGKILL: nothing of ours handles it."""


@pytest.mark.parametrize(
    ("owner", "name", "at", "after"),
    [
        *((RunDir, "append", at, after) for at in (5, 6, 7, 9, 10) for after in (False, True)),
        *((Store, "commit", at, after) for at in (2, 4) for after in (False, True)),
        *((Store, "publish", 1, after) for after in (False, True)),
        *((Rank, "_save", at, True) for at in (2, 3, 8, 9)),
    ],
    ids=lambda value: getattr(value, "__name__", str(value)),
)
def test_killed_anywhere_and_resumed_equals_undisturbed(calm: distil.Run, owner: Any, name: str, at: int, after: bool) -> None:
    """CORRECTNESS 11, 14 and 16, with a store of the agent's episodes that forgets rounds."""
    calls, original = itertools.count(1), getattr(owner, name)

    def dying(*args: Any, **kwargs: Any) -> Any:
        here = next(calls) == at
        out = None if here and not after else original(*args, **kwargs)
        if here:
            raise Killed
        return out

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(owner, name, dying)
        with pytest.raises(Killed):
            run()
    done = run(resume=True)
    for name, values in calm.policy().ref.arrays.items():
        assert np.array_equal(values, done.policy().ref.arrays[name]), name
    agents = [Store.open(either.path / "agent").snapshot() for either in (calm, done)]
    assert agents[0].digest == agents[1].digest
    for one, two in zip(done.reports, calm.reports, strict=True):
        facts = [(x.spent.env_steps, x.spent.agent_steps, x.spent.gradient_steps, x.is_final) for x in (one, two)]
        assert facts[0] == facts[1]


@pytest.fixture(scope="module")
def calm(package: Path, tmp_path_factory: pytest.TempPathFactory) -> distil.Run:
    folder = tmp_path_factory.mktemp("calm")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        done = run()
    return distil.open_run(folder / done.path)


def test_from_the_command_line_by_a_package_outside_the_repository(package: Path) -> None:
    env = os.environ | {"PYTHONPATH": os.pathsep.join([str(package), *filter(None, sys.path)])}
    words = [f"{key}={value}" for key, value in SMALL.items() if key != "algorithm"]
    words += ["algorithm={kind: import, target: 'imitate.algorithm:Alternate', kwargs: {rounds: 2}}"]
    command = [sys.executable, "-m", "distil", "train", "cartpole-bc", *words]
    done = subprocess.run(command, env=env, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert len(distil.open_run("runs/cartpole-bc-001").reports) == 3
    refused = subprocess.run([*command, "algorithm.kwargs.epochs=3"], env=env, capture_output=True, text=True, check=False)
    assert refused.returncode == 2
    (line,) = refused.stderr.splitlines()
    assert "algorithm imitate.algorithm:Alternate: Class(budget=..., **kwargs) failed: TypeError" in line


@pytest.mark.parametrize(
    ("target", "text"),
    [
        ("imitate.algorithm:Altrnate", r"has no 'Altrnate'; did you mean Alternate\?"),
        ("imitate.nowhere:X", r"no module named 'imitate\.nowhere'"),
        ("imitate.broken:Silent", r"imitate\.broken:Silent: has no method next_round\(last\); write it"),
        ("imitate.broken:CollectPlan.round", r"is no class; name one with a method next_round\(last\)"),
        (
            "imitate.broken:Raising",
            r"Raising: next_round failed: AttributeError: 'Raising' object has no attribute 'missing'; fix",
        ),
        ("imitate.broken:Dict", r"Dict: round 0: next_round returned a dict, not a distil\.plans\.Round or None"),
        ("imitate.broken:Nothing", r"Nothing: next_round\(None\) returned None, so the run has no round"),
        ("imitate.broken:Moody", r"Moody: two calls of next_round\(None\) returned different rounds"),
    ],
)
def test_what_is_wrong_is_one_line_before_anything_starts(target: str, text: str, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=rf"^algorithm [^\n]*{text}[^\n]*$"):
        run(algorithm={"kind": "import", "target": target})
    assert not list(tmp_path.iterdir())


def test_what_is_wrong_later_ends_the_run_in_one_line() -> None:
    cartpole = {"env": {"id": "CartPole-v1"}, "expert": {"kind": "scripted"}}
    settings = validate(RunConfig, cartpole | {"algorithm": {"kind": "import", "target": "imitate.broken:Later"}})
    with Session(settings) as session:
        algorithm = settings.algorithm.build(settings.budget(session.spec.max_episode_steps))
    with pytest.raises(
        RunError, match=r"^algorithm imitate\.broken:Later: round 1: its index is 0; return Round\(index=1\)[^\n]*$"
    ):
        algorithm.next_round(RoundReport(index=0, snapshot=1, policy_version=1))
    needs = {"kind": "import", "target": "a:B", "collects": True, "overlap": 2}
    read = validate(RunConfig, cartpole | {"algorithm": needs})  # the class isn't imported to read this
    assert (read.algorithm.needs.collects, read.overlap) == (True, 2)
