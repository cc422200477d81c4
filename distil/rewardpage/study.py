"""What is looked at of a run's reward: along episodes, over the states, and against the true one.

Legend: T steps of an episode, S states, A actions.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from distil.api import Run, open_run
from distil.envs.dynamics import Dynamics, dynamics_of, rewards_of
from distil.errors import InputError
from distil.policies.policy import Policy
from distil.policies.restore import policy_of
from distil.recorded import environment_of
from distil.rewardpage.cells import States, states
from distil.rewardpage.distances import correlation
from distil.rewardpage.references import MOST_ENTRIES, Distances, exact, sampled
from distil.rewardpage.slices import Slice, cut, parse, widest
from distil.rewardpage.steps import Seen, joined, seen
from distil.rewards.function import RewardFunction
from distil.rundata.reading import demonstrations_of, newest_of
from distil.rundir import RunDir
from distil.types import Array

DEMONSTRATIONS, OWN = "demonstrations", "the run's own policies"
_SHOWN = 3  # episodes of each source
_CONSTANT = 1e-6  # a reward that varies less, relative to its largest value, is constant


@dataclass(frozen=True, kw_only=True)
class Line:
    """An episode: both rewards, standardised over all steps that are looked at."""

    source: str
    number: int
    learned_T: Array
    true_T: Array
    correlation: float | None  # None: one of the two is constant along it


@dataclass(frozen=True, kw_only=True)
class Study:
    """What the page shows."""

    run: Path
    environment: str
    function: RewardFunction
    coverage: str  # which steps were looked at
    correlations: Sequence[tuple[str, float | None]]  # source -> over all of its steps
    lines: Sequence[Line]
    states: States | None
    slice: Slice | None
    distances: Sequence[Distances]
    notes: Sequence[str]

    def to_json(self) -> dict[str, Any]:
        """Return it as JSON data, without the pictures."""
        spec = self.function.ref.spec
        reward = {"kind": spec.config.kind, "sees": spec.sees, "nature": spec.nature, "about": self.function.about}
        return {
            "run": str(self.run),
            "environment": self.environment,
            "reward": reward,
            "coverage": self.coverage,
            "correlation": dict(self.correlations),
            "slice": list(self.slice.names) if self.slice is not None else None,
            "distances": [asdict(each) for each in self.distances],
            "notes": list(self.notes),
        }


def study(path: Path | str, cut_along: str | None = None) -> Study:
    """Look at the reward of a run.

    Args:
        path: the run's folder.
        cut_along: two dimensions, such as `obs[0],obs[1]`; None: those that vary most.

    Raises:
        InputError: there is no run, no reward or no episode; the reward is constant; there is no such dimension, or no data.
        RunError: episodes that the run has used are gone.
    """
    run = open_run(path)
    function = run.reward()
    names = parse(cut_along, function.observation.leaves) if cut_along is not None else None
    parts = _parts(run, function)
    steps = joined(parts)
    _require_change(run, steps)
    notes = list[str]()
    found = _table(run, function, parts, notes)
    true_SA, distances = found if found is not None else (None, _estimated(run, function, steps, notes))
    leaves = function.observation.leaves
    is_table = len(leaves) == 1 and leaves[0].kind == "discrete"
    shown = cut(function, steps, parts[0], names) if names is not None else _widest(function, steps, parts[0], notes)
    return Study(
        run=run.path,
        environment=environment_of(run.config),
        function=function,
        coverage=", ".join(f"{len(part):,} steps of {part.num_episodes} episodes of {part.source}" for part in parts),
        correlations=tuple((part.source, correlation(part.learned, part.true)) for part in parts),
        lines=_lines(parts, steps),
        states=states(function, steps, run.config.env, true_SA) if is_table else None,
        slice=shown,
        distances=distances,
        notes=notes,
    )


def _widest(function: RewardFunction, steps: Seen, centre: Seen, notes: list[str]) -> Slice | None:
    """Return the slice over what varies most, if there is one."""
    leaves = function.observation.leaves
    names = widest(steps, leaves)
    if names is None:
        if leaves[0].kind != "discrete" or len(leaves) > 1:
            notes.append("No slice: it takes two numbers among the observations that vary.")
        return None
    try:
        return cut(function, steps, centre, names)
    except InputError as error:
        notes.append(f"No slice: {error}")
        return None


def _parts(run: Run, function: RewardFunction) -> list[Seen]:
    config, rundir = run.config, RunDir(run.path)
    shown = [part for part in demonstrations_of(config, rundir) if part.num_episodes]
    parts = [seen(part, DEMONSTRATIONS, function) for part in shown]
    parts = [replace(joined(parts), source=DEMONSTRATIONS)] if len(parts) > 1 else parts
    own = newest_of(rundir)
    if own is not None and own.num_episodes:
        parts.append(seen(own, OWN, function, last=True))
    if not parts:
        raise InputError(f"{run.path}: the run keeps no episodes, and has no demonstrations to look at its reward along")
    return parts


def _require_change(run: Run, steps: Seen) -> None:
    low, high = float(steps.learned.min()), float(steps.learned.max())
    if not np.isfinite(steps.learned).all():
        raise InputError(f"{run.path}: the reward is not finite in some steps of the run's episodes: train it again")
    if high - low <= _CONSTANT * max(1.0, abs(low), abs(high)):
        raise InputError(
            f"{run.path}: the reward is {low:.4g} in all {len(steps):,} steps of the run's episodes; a constant reward "
            "explains nothing: train longer, or with other settings"
        )


def _lines(parts: Sequence[Seen], steps: Seen) -> list[Line]:
    lines = []
    for part in parts:
        shown = min(_SHOWN, part.num_episodes)
        numbers = range(part.num_episodes - shown, part.num_episodes) if part.source == OWN else range(shown)
        for number in numbers:
            at = part.episode == number
            learned_T, true_T = (
                (values[at] - every.mean()) / (every.std() or 1.0)
                for values, every in ((part.learned, steps.learned), (part.true, steps.true))
            )
            found = correlation(learned_T, true_T)
            lines.append(Line(source=part.source, number=number, learned_T=learned_T, true_T=true_T, correlation=found))
    return lines


def _table(run: Run, function: RewardFunction, parts: Sequence[Seen], notes: list[str]) -> tuple[Array, list[Distances]] | None:
    """Return the true rewards [S, A] and the distances where the environment tells; None: it does not."""
    env, leaves = run.config.env, function.observation.leaves
    if env is None or len(leaves) != 1 or leaves[0].kind != "discrete" or function.action.leaf.kind != "discrete":
        return None
    try:
        dynamics, true_SA = dynamics_of(env), rewards_of(env)
    except InputError as error:
        notes.append(f"Distances are estimated: {error}")
        return None
    if dynamics.transitions_SAS.size > MOST_ENTRIES:
        notes.append("Distances are estimated: the table of states, actions and next states is too large.")
        return None
    visits = {part.source: _visits(part, leaves[0].name, true_SA.shape) for part in parts}
    reached_S = _reached(dynamics) & ~dynamics.is_terminal_S
    uniform_SA = np.broadcast_to(reached_S[:, None], true_SA.shape) / (reached_S.sum() * true_SA.shape[1])
    coverages = {f"all {reached_S.sum()} states that can be reached and all actions, equally likely": uniform_SA}
    coverages |= {
        f"the steps of {part.num_episodes} episodes of {part.source}": visits[part.source] / visits[part.source].sum()
        for part in parts
    }
    return true_SA, exact(function, dynamics, true_SA, visits.get(DEMONSTRATIONS), coverages)


def _visits(part: Seen, name: str, shape: tuple[int, ...]) -> Array:
    out = np.zeros(shape)
    np.add.at(out, (part.before[name].reshape(-1), part.actions.reshape(-1)), 1.0)
    return out


def _reached(dynamics: Dynamics) -> Array:
    """Return which states can be reached from the first ones, [S] bool."""
    leads_SS = dynamics.transitions_SAS.sum(1) > 0
    reached_S = dynamics.start_S > 0
    while not ((more_S := reached_S | leads_SS[reached_S].any(0)) == reached_S).all():
        reached_S = more_S
    return reached_S


def _estimated(run: Run, function: RewardFunction, steps: Seen, notes: list[str]) -> list[Distances]:
    if np.ptp(steps.true) == 0:
        notes.append(f"No distances: the true reward is {steps.true[0]:g} in every step, so there is nothing to compare with.")
        return []
    if all(leaf.is_image for leaf in function.observation.leaves):
        notes.append("No distances: the reward reads images, whose values cannot be estimated by a small basis.")
        return []
    return [sampled(function, _policy(run, function), steps)]


def _policy(run: Run, function: RewardFunction) -> Policy | None:
    """Return the run's policy, if it acts step by step and on what the reward reads."""
    if not RunDir(run.path).policy.is_dir():
        return None
    policy = policy_of(run.policy().ref)
    known = {leaf.name for leaf in function.observation.leaves}
    reads = {leaf.name for leaf in policy.observation.leaves}
    return policy if reads <= known and policy.config.obs_horizon == 1 and policy.config.chunk == 1 else None
