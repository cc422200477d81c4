"""A run that RLlib carries out: iterations, checkpoints and reports, then the policy and its score.

recipe ─▶ settings ─▶ RLlib's Algorithm on Ray ─▶ checkpoints (msgpack) ─▶ distil policy, or expert.kind=rllib
"""

from __future__ import annotations

import math
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

from distil.cluster import ensure_ray
from distil.envs import EnvSpec
from distil.errors import InputError, RunError
from distil.experts.rllib.architecture import read_architecture
from distil.experts.rllib.checkpoint import read_checkpoint
from distil.experts.rllib.config import RllibExpertConfig
from distil.experts.rllib.connectors import find_connectors, read_connectors
from distil.experts.rllib.policy import policy_of
from distil.parts import tracked
from distil.plans import RoundReport, Spent
from distil.policies.checkpoint import save_policy
from distil.policies.spec import PolicyRef
from distil.rllib.checkpoints import Checkpoints, require_finite
from distil.rllib.settings import algorithm_config, algorithm_name, algorithm_of, num_cpus, quiet
from distil.rollouts import EvalResult
from distil.runconfig import RunConfig
from distil.rundir import RunDir
from distil.session import Session
from distil.tracking import Tracker
from distil.types import say

_MODULE = "default_policy"
_COUNTS = ("num_", "weights_seq_no", "batch_size")  # in the names of figures that say nothing of the learning


def check(config: RunConfig, spec: EnvSpec) -> None:
    """Check what only a new run needs, before it has a folder; InputError if RLlib cannot carry it out."""
    algorithm_config(config, spec)


def train(config: RunConfig, rundir: RunDir, session: Session, parent: str | None = None, *, take: bool = False) -> None:
    """Train in the folder `rundir`, from the last checkpoint that its journal reports.

    Raises:
        InputError: RLlib cannot carry the recipe out, or another process holds the run (and `take` is False).
        SupersededError: a newer attempt has taken the run over.
        RunError: RLlib, an environment or the disk failed, or the network diverged. The last checkpoint is kept.
    """
    with (
        rundir.lock(take=take, note=partial(say, session.progress)),
        tracked(config, rundir, session.progress, parent=parent) as tracker,
    ):
        last = next(reversed(rundir.reports()), None)
        checkpoints = Checkpoints(rundir.rllib, rundir.check)
        if last is None or last.spent.agent_steps < algorithm_of(config).steps:
            last = _learn(config, rundir, session, tracker, checkpoints, last)
        if not last.is_final:
            last = _conclude(config, rundir, session, checkpoints.path(last.index), last)
            tracker.log(last.metrics, step=last.spent.gradient_steps)
        tracker.artifact(rundir.config)
        if rundir.policy.is_dir():
            tracker.artifact(rundir.policy, "policy")
        rundir.finish(last.metrics)


def _learn(
    config: RunConfig, rundir: RunDir, session: Session, tracker: Tracker, checkpoints: Checkpoints, last: RoundReport | None
) -> RoundReport:
    """Train to the recipe's number of steps; a report for every `checkpoint_every` iterations."""
    total, every = algorithm_of(config).steps, algorithm_of(config).rllib.checkpoint_every
    started = time.perf_counter() - (last.spent.wall_s if last else 0.0)
    say(session.progress, "RLlib trains: it shows the returns of its own episodes, and none of algorithm.tuning_episodes")
    with _running(config, session.spec) as algorithm:
        if last is not None:
            checkpoints.restore(algorithm, last.index)
        while last is None or last.spent.agent_steps < total:
            for _ in range(every):
                found = _iterate(algorithm, config)
                tracker.log(found.metrics, step=found.gradient_steps)
                session.progress("train", min(found.steps, total), total, **found.shown)
                if found.steps >= total:
                    break
            index = 0 if last is None else last.index + 1
            require_finite(checkpoints.save(algorithm, index), found.steps)
            spent = found.spent(time.perf_counter() - started)
            last = RoundReport(
                index=index, snapshot=None, policy_version=index, spent=spent, metrics={**found.metrics, **spent.metrics()}
            )
            rundir.append("reported", round=index, report=last.to_json())
            checkpoints.forget(index)
    return last


@dataclass(frozen=True, kw_only=True)
class _Iteration:
    """What one iteration of RLlib reports. The counts are those of the whole run."""

    steps: int
    episodes: int
    gradient_steps: int
    metrics: Mapping[str, float]

    @property
    def shown(self) -> dict[str, float]:
        """The figures worth showing."""
        found = self.metrics.get("rllib/episode_return_mean")
        return {} if found is None else {"return": found}

    def spent(self, wall_s: float) -> Spent:
        """Return the run's totals."""
        counts = {"env_steps": self.steps, "agent_steps": self.steps, "agent_episodes": self.episodes}
        return Spent(**counts, gradient_steps=self.gradient_steps, wall_s=wall_s)


def _iterate(algorithm: Any, config: RunConfig) -> _Iteration:
    """Run one iteration; RunError names what failed."""
    name = algorithm_name(config)
    try:
        result = algorithm.train()
    except (InputError, RunError):
        raise
    except Exception as error:  # whatever the environment or RLlib raises
        raise RunError(f"RLlib's {name} failed: {_reason(error)}; --resume continues from the last checkpoint") from error
    sampled = result.get("env_runners", {})
    learned = result.get("learners", {}).get(_MODULE, {})
    figures = {f"rllib/{key}": sampled.get(key) for key in ("episode_return_mean", "episode_len_mean")}
    figures |= {f"rllib/{key}": value for key, value in learned.items() if not any(word in key for word in _COUNTS)}
    metrics = {key: float(value) for key, value in figures.items() if _is_number(value)}
    steps = int(result["num_env_steps_sampled_lifetime"])
    size = algorithm.config.minibatch_size or algorithm.config.total_train_batch_size
    return _Iteration(
        steps=steps,
        episodes=int(sampled.get("num_episodes_lifetime", 0)),
        gradient_steps=int(learned.get("num_module_steps_trained_lifetime", 0) / size),
        metrics={key: value for key, value in metrics.items() if math.isfinite(value)},
    )


def _is_number(value: Any) -> bool:
    try:
        float(value)
    except (TypeError, ValueError):
        return False
    return True


@contextmanager
def _running(config: RunConfig, spec: EnvSpec) -> Iterator[Any]:
    """Yield RLlib's Algorithm; its actors end with the block, however it ends."""
    settings = algorithm_config(config, spec)
    ensure_ray(config.rollouts.address, num_cpus(settings))
    with quiet():
        algorithm = _built(settings, config)
        try:
            yield algorithm
        finally:
            algorithm.stop()
            with suppress(OSError):  # an empty folder, in the home folder
                Path(algorithm.logdir).rmdir()
                Path(algorithm.logdir).parent.rmdir()


def _built(settings: Any, config: RunConfig) -> Any:
    try:
        return settings.build_algo()
    except (InputError, RunError):
        raise
    except Exception as error:  # whatever the environment or RLlib raises
        raise RunError(f"RLlib's {algorithm_name(config)} cannot start: {_reason(error)}") from error


def _reason(error: BaseException) -> str:
    """Return one line of what an error goes back to: RLlib raises its own from that of the environment."""
    from ray.exceptions import ActorDiedError

    found, cause = type(error).__name__, error
    while True:
        lines = [line.strip() for line in str(cause).splitlines() if line.strip()]
        if lines:
            found = f"{type(cause).__name__}: {lines[-1]}"
        if isinstance(
            cause, ActorDiedError
        ):  # RLlib's actors end so when an environment raises, and keep the reason to themselves
            return f"an actor died: if rollouts.num_workers=0 fails too, it shows the environment's error ({found[:200]})"
        earlier = cause.__cause__ or cause.__context__
        if earlier is None:
            return found[:300]
        cause = earlier


def _conclude(config: RunConfig, rundir: RunDir, session: Session, checkpoint: Path, last: RoundReport) -> RoundReport:
    """Make the distil policy where the network allows, score the result on the held-out episodes, and report it."""
    policy = _policy(checkpoint, session, last.index + 1)
    if policy is not None:
        save_policy(policy, rundir.policy, rundir.check)
    num = config.evaluation.episodes
    metrics, spent = dict(last.metrics), last.spent
    if num:
        result = _scored(config, session, checkpoint, policy, num)
        baselines = session.baselines(num) if config.evaluation.baselines and not config.is_paid else None
        spent = replace(spent, evaluation_steps=spent.evaluation_steps + int(result.lengths.sum()))
        metrics |= result.metrics(baselines, "eval") | spent.metrics()
    report = replace(last, index=last.index + 1, policy_version=last.index + 1, is_final=True, spent=spent, metrics=metrics)
    rundir.append("reported", round=report.index, report=report.to_json())
    return report


def _policy(checkpoint: Path, session: Session, version: int) -> PolicyRef | None:
    """Return the policy of a checkpoint; None, with a note, if distil has no such network."""
    found = read_checkpoint(checkpoint)
    connectors = find_connectors(found.path)
    assert connectors is not None
    try:
        spaces = (session.spec.observation, session.spec.action)
        ref = policy_of(read_architecture(found), read_connectors(connectors), spaces)
    except InputError as error:
        say(
            session.progress, f"no distil policy, as {error}; the checkpoint serves: expert.kind=rllib expert.path={checkpoint}"
        )
        return None
    return replace(ref, version=version)


def _scored(config: RunConfig, session: Session, checkpoint: Path, policy: PolicyRef | None, num: int) -> EvalResult:
    """Return the result on the held-out episodes, of the policy or of the checkpoint that has none."""
    if policy is not None:
        return session.evaluate("policy", num, policy, act=config.evaluation.act)
    served = config.model_copy(update={"expert": RllibExpertConfig(path=str(checkpoint))})
    with Session(served, session.progress) as own:
        return own.evaluate("expert", num)
