"""Whole runs of learning by interaction, by each algorithm: killed and resumed, with workers, what they cost and log."""

from __future__ import annotations

import json
import os
import random
import shutil
import signal
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from interactionbed import ALGORITHMS, config

from distil import run as loop
from distil.config import to_yaml
from distil.parts import tracked
from distil.policies.checkpoint import load_policy_ref
from distil.policies.spec import PolicyRef
from distil.rewards.config import REWARD
from distil.rewards.ref import load_reward_ref
from distil.runconfig import RunConfig
from distil.rundir import RunDir
from distil.session import Session
from distil.store import Store
from distil.validation import check_new_run

KILLS = 3  # of each algorithm: 24 of all


def train(settings: RunConfig, folder: str) -> RunDir:
    """Start the run in `folder`, or continue it."""
    path = Path(settings.runs) / folder
    rundir = (
        RunDir(path) if path.exists() else RunDir.create(Path(settings.runs), settings.name, to_yaml(settings), folder=folder)
    )
    with Session(settings) as session:
        if not (path / "journal.jsonl").exists():
            check_new_run(settings, session.spec)
        loop.train(settings, rundir, session)
    return rundir


def weights(policy: PolicyRef) -> dict[str, bytes]:
    """A policy's arrays, to be compared exactly."""
    return {name: value.tobytes() for name, value in policy.arrays.items()}


def outcome(rundir: RunDir) -> dict[str, Any]:
    """What must be the same: the policy, the episodes, what was spent, and the metrics apart from times."""
    run = RunDir(rundir.path)
    last = run.reports()[-1]
    timed = {name for name in last.metrics if name.startswith("time/") or name.endswith(("wall_s", "cpu_s", "samples_per_s"))}
    store = Store.open(run.agent).snapshot()
    spent = {name: value for name, value in vars(last.spent).items() if name not in ("wall_s", "cpu_s")}
    return {
        "weights": weights(load_policy_ref(run.policy)),
        "reward": (run.reward / REWARD).read_bytes() if run.reward.is_dir() else None,
        "episodes": sorted(zip(store.episodes.uid.tolist(), store.episodes.length.tolist(), strict=True)),
        "rounds": [line["round"] for line in run.journal("agent")],
        "spent": spent,
        "metrics": {name: value for name, value in last.metrics.items() if name not in timed},
    }


def forked(work: Callable[[], object]) -> int:
    """Do `work` in a process of its own; return its exit code, minus the signal's number if one ended it."""
    sys.stdout.flush()
    child = os.fork()
    if child == 0:
        try:
            work()
            os._exit(0)
        except BaseException:
            import traceback

            traceback.print_exc()
        finally:
            os._exit(1)
    _, status = os.waitpid(child, 0)
    return os.waitstatus_to_exitcode(status)


def die_at(number: int) -> None:
    """Let this process be killed at the `number`-th thing from now that is to become durable: before, or right after it."""
    left = [number]

    def dying(original: Callable[..., Any]) -> Callable[..., Any]:
        def call(*args: Any, **kwargs: Any) -> Any:
            left[0] -= 1
            if left[0] == 0:
                os.kill(os.getpid(), signal.SIGKILL)
            out = original(*args, **kwargs)
            left[0] -= 1
            if left[0] == 0:
                os.kill(os.getpid(), signal.SIGKILL)
            return out

        return call

    from distil.learners import checkpoints

    for owner, name in (
        (RunDir, "append"),
        (Store, "commit"),
        (Store, "publish"),
        (Store, "pin"),
        (checkpoints, "replace_durably"),
    ):
        setattr(owner, name, dying(getattr(owner, name)))


@pytest.mark.parametrize("kind", ALGORITHMS)
def test_killed_at_random_and_resumed_equals_undisturbed(tmp_path: Path, kind: str) -> None:
    """CORRECTNESS 11 and 14: SIGKILL of the driver; the same policy bit for bit, no step lost and none counted twice."""
    settings, rng, kills = config(tmp_path, kind), random.Random(kind), 0
    calm = train(settings, "calm")
    most = 2 * len(calm.journal()) // KILLS  # each line is a chance to be killed before it and after it
    number = rng.randrange(2, most)
    while (code := forked(lambda number=number: (die_at(number), train(settings, "killed")))) == -signal.SIGKILL:
        kills += 1
        number = rng.randrange(2, most) if kills < KILLS else 10**9
    assert code == 0
    assert kills == KILLS
    assert outcome(RunDir(calm.path.with_name("killed"))) == outcome(calm)


def test_what_a_run_costs_is_counted_apart(tmp_path: Path) -> None:
    """Demonstrations, the learner's own steps, and those that only measured a score: journal and metrics."""
    settings = config(tmp_path, "sqil", algorithm={"tuning_episodes": 3, "tune_every": 2}, evaluation={"episodes": 4})
    reports = train(settings, "a").reports()
    demonstrations = Store.open(settings.store_path).snapshot()
    spent = reports[-1].spent
    own = Store.open(Path(settings.runs) / "a" / "agent").snapshot()
    assert spent.env_steps - spent.agent_steps == demonstrations.num_transitions
    assert (spent.demonstrations, spent.agent_episodes, spent.agent_steps) == (2, own.num_episodes, own.num_transitions)
    tuned = [report.metrics["tune/episode_length"] * 3 for report in reports if "tune/episode_length" in report.metrics]
    assert len(tuned) == 1
    assert spent.evaluation_steps == sum(tuned) + reports[-1].metrics["eval/episode_length"] * 4
    assert reports[-1].metrics["budget/evaluation_steps"] == spent.evaluation_steps
    assert reports[-1].metrics["budget/agent_steps"] == spent.agent_steps
    assert spent.agent_steps >= settings.algorithm.steps
    lengths = [line["env_steps"] / line["num_episodes"] for line in RunDir(Path(settings.runs) / "a").journal("agent")]
    assert [report.episode_length for report in reports] == [None, *lengths, None]


@pytest.mark.parametrize("kind", ["sqil", "dac"])
def test_states_are_compared_without_an_evaluation(tmp_path: Path, kind: str) -> None:
    settings = config(tmp_path, kind, algorithm={"tuning_episodes": 0, "tune_every": 1}, evaluation={"episodes": 0})
    reports = train(settings, "a").reports()
    found = [report.metrics["tune/wasserstein"] for report in reports[1:]]
    assert len(found) >= 3
    assert all(0 < value < 100 for value in found)
    assert not any(name.startswith(("eval/", "tune/return")) for report in reports for name in report.metrics)
    results = json.loads((Path(settings.runs) / "a" / "results.json").read_text())
    assert results["tune/wasserstein"] == found[-1]
    assert reports[-1].spent.evaluation_steps == 0


@pytest.mark.parametrize(
    ("kind", "seed", "by"),
    [
        ("sqil", 4, "tune/wasserstein"),
        ("csil", 3, "tune/wasserstein"),
        ("rl", 0, "tune/return_mean"),
        ("rl-learned", 0, "tune/learned_return_mean"),
    ],
)
def test_a_run_ends_with_the_best_policy_that_was_scored(tmp_path: Path, kind: str, seed: int, by: str) -> None:
    """Not with the last one. The held-out score is that policy's, and the episodes that were compared are gone."""
    keys: dict[str, Any] = {"seed": seed, "evaluation": {"episodes": 5}}
    kind, _, given = kind.partition("-")
    steps: dict[str, Any] = {"steps": 600}
    if given:
        train(config(tmp_path, "gail"), "source").path.rename(tmp_path / "source")
        steps["reward"] = {"kind": "learned", "path": str(tmp_path / "source")}
    settings = config(tmp_path, kind, algorithm=steps, **keys)
    rundir, policies = RunDir.create(Path(settings.runs), kind, to_yaml(settings), folder="a"), dict[int, Any]()
    with Session(settings) as session:
        check_new_run(settings, session.spec)
        with rundir.lock(), tracked(settings, rundir) as tracker:
            for report in loop.rounds(settings, rundir, session, tracker):
                policies[report.index] = load_policy_ref(rundir.policy)
                shutil.rmtree(tmp_path / "source", ignore_errors=True)  # a run that goes on has its own copy of a given reward
        looks = {report.index: report.metrics[by] for report in rundir.reports() if by in report.metrics}
        best = (max if kind == "rl" else min)(looks, key=lambda index: looks[index])
        last = rundir.reports()[-1]
        assert len(looks) >= 8
        assert best < max(looks), "a choice that can be told from the last one"
        assert last.chosen == best
        held_out = session.evaluate("policy", 5, policies[best])
    assert last.metrics["eval/return_mean"] == held_out.mean
    assert last.policy_version == policies[best].version
    assert weights(load_policy_ref(rundir.policy)) == weights(policies[best])
    if kind == "csil":
        assert load_reward_ref(rundir.reward).version == policies[best].version
    assert rundir.reward.is_dir() == (kind == "csil" or bool(given)), "a given one is copied"
    assert not rundir.look.exists()
    assert best in {int(path.name) for path in (rundir.path / "policies").iterdir()}
    assert len(list((rundir.path / "policies").iterdir())) <= 2, "policies that were worse are gone"
    if given:
        steps["reward"]["path"] = str(rundir.path)
    newest = train(config(tmp_path, kind, algorithm={**steps, "select": "last"}, **keys), "b")
    assert weights(load_policy_ref(newest.policy)) == weights(policies[max(policies)])


@pytest.mark.ray
@pytest.mark.filterwarnings("ignore::ResourceWarning", "ignore::DeprecationWarning:ray")
def test_two_workers_make_the_run_of_none(tmp_path: Path, ray_session: Any) -> None:
    """CORRECTNESS 5: off-policy and on-policy."""
    for kind in ("sqil", "gail"):
        alone = outcome(train(config(tmp_path / "alone", kind), kind))
        two = outcome(train(config(tmp_path / "two", kind, rollouts={"num_workers": 2}), kind))
        assert two == alone
