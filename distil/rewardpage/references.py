"""The table of distances: a learned reward beside a random one, the shaped true one, and the log-density of a policy.

A distance says something only beside those of rewards whose worth is known.

Legend: S states, A actions, N steps, F features.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch

from distil.envs.dynamics import Dynamics
from distil.policies.policy import Policy
from distil.rewardpage.distances import Exact, Sampled, basis, correlation, direction_distance, waves
from distil.rewardpage.steps import Seen, features
from distil.rewards.function import RewardFunction
from distil.types import Array, Batch

LEARNED, RANDOM, SHAPED = "learned", "random", "true, shaped at random"
CLONE, POLICY = "log-density of a clone", "log-density of the run's policy"
MOST_ENTRIES = 500_000  # of a table of states, actions and next states
_DRAWS, _BLOCK = 20, 4096


@dataclass(frozen=True, kw_only=True)
class Row:
    """A reward against the true one."""

    name: str
    values: Mapping[str, float | None]  # measure -> value; the mean over draws of a random reward; None: not defined
    ranges: Mapping[str, tuple[float, float]]  # measure -> smallest and largest of the draws


@dataclass(frozen=True, kw_only=True)
class Distances:
    """The rows, over one coverage distribution."""

    coverage: str
    how: str  # "exact" or "estimated"
    rows: Sequence[Row]


_Measures = Mapping[str, Callable[[Array], float | None]]


def exact(
    function: RewardFunction, dynamics: Dynamics, true_SA: Array, visits_SA: Array | None, coverages: Mapping[str, Array]
) -> list[Distances]:
    """Return correlation, EPIC, DARD and STARC in a table.

    Args:
        function: the learned reward, of one Discrete observation.
        dynamics: of the environment; S * A * S is at most MOST_ENTRIES.
        true_SA: the environment's expected rewards.
        visits_SA: how often the demonstrations did what, from which a clone follows; None: there are none.
        coverages: name -> probabilities [S, A].
    """
    shape = dynamics.transitions_SAS.shape
    learned, true = table_of(function, dynamics), np.broadcast_to(true_SA[..., None], shape)
    others: dict[str, Array] = {}
    if visits_SA is not None:  # each action counts once more, so that none is impossible
        clone_SA = np.log((visits_SA + 1) / (visits_SA + 1).sum(1, keepdims=True))
        others[CLONE] = np.broadcast_to(clone_SA[..., None], shape)
    found = []
    for name, coverage_SA in coverages.items():
        rng = np.random.default_rng(0)
        world = Exact(dynamics=dynamics, coverage_SA=coverage_SA, discount=function.ref.spec.discount)
        steps_SAS = coverage_SA[..., None] * dynamics.transitions_SAS
        is_wide = function.sees != "state"
        random = [rng.normal(size=shape[: 1 + is_wide]).reshape(shape[0], -1, 1) + np.zeros(shape) for _ in range(_DRAWS)]
        shaped = []
        for _ in range(_DRAWS):
            potential_S = np.where(dynamics.is_terminal_S, 0.0, rng.normal(size=shape[0]))
            shaping = world.discount * potential_S - potential_S[:, None, None] + np.zeros(shape)
            shaped.append(true + _as_wide(shaping, true, steps_SAS))
        rewards = {LEARNED: [learned], RANDOM: random, SHAPED: shaped, **{k: [v] for k, v in others.items()}}
        found.append(Distances(coverage=name, how="exact", rows=_rows(world.measures(true), rewards)))
    return found


def table_of(function: RewardFunction, dynamics: Dynamics) -> Array:
    """Return the learned reward of each state, action and next state, [S, A, S]; after the end of a task, its reward there."""
    shape, name = dynamics.transitions_SAS.shape, function.observation.leaves[0].name
    size = shape if function.sees == "transition" else shape[:2]
    states, actions, *ahead = (index.reshape(-1) for index in np.indices(size))
    after = {name: ahead[0] if ahead else states}
    rewards = function.of_leaves({name: states}, actions, after).astype(np.float64)
    out: Array = rewards.reshape(*size, *([] if ahead else [1])) + np.zeros(shape)
    if function.absorbing is not None:
        out[dynamics.is_terminal_S] = function.absorbing
    return out


def sampled(function: RewardFunction, policy: Policy | None, steps: Seen) -> Distances:
    """Return correlation and STARC over steps that were taken, which observe more than images."""
    rng, rewards, num = np.random.default_rng(0), steps.true, len(steps)
    seen_NF, after_NF = features(function.observation.leaves, steps.before, steps.after)
    action = {function.action.leaf.name: steps.actions}
    acted_NA, _ = features(function.action.leaves, action, action)
    drawn, discount = basis(seen_NF, rng), function.ref.spec.discount
    world = Sampled(
        basis_NK=waves(seen_NF, drawn), after_NK=waves(after_NF, drawn), terminated_N=steps.terminated, discount=discount
    )
    read_NF = seen_NF if function.sees == "state" else np.concatenate([seen_NF, acted_NA], 1)
    random = [waves(read_NF, basis(read_NF, rng))[:, read_NF.shape[1] + 1 :] @ rng.normal(size=100) for _ in range(_DRAWS)]
    shaped = []
    for _ in range(_DRAWS):
        own, weights_K = basis(seen_NF, rng), rng.normal(size=100)
        before_N, after_N = (waves(x, own)[:, x.shape[1] + 1 :] @ weights_K for x in (seen_NF, after_NF))
        shaping_N = discount * np.where(steps.terminated, 0.0, after_N) - before_N
        shaped.append(rewards + _as_wide(shaping_N, rewards, np.full(num, 1 / num)))
    found = {LEARNED: [steps.learned], RANDOM: random, SHAPED: shaped}
    if policy is not None:
        found[POLICY] = [log_density(policy, steps.before, steps.actions)]
    at_end = {id(steps.learned): (function.absorbing or 0.0) / (1 - discount)}
    target = world.canonical(rewards)
    measures: _Measures = {
        "correlation": lambda one: correlation(one, rewards),
        "STARC": lambda one: direction_distance(world.canonical(one, at_end.get(id(one), 0.0)), target),
    }
    coverage = f"the {num:,} steps of {steps.num_episodes} episodes of {steps.source}"
    return Distances(coverage=coverage, how="estimated", rows=_rows(measures, found))


def _rows(measures: _Measures, rewards: Mapping[str, Sequence[Array]]) -> list[Row]:
    out = []
    for name, draws in rewards.items():
        values: dict[str, float | None] = {}
        ranges: dict[str, tuple[float, float]] = {}
        for measure, of in measures.items():
            known = [value for draw in draws if (value := of(draw)) is not None]
            values[measure] = float(np.mean(known)) if known else None
            if len(known) > 1:
                ranges[measure] = min(known), max(known)
        out.append(Row(name=name, values=values, ranges=ranges))
    return out


def _as_wide(shaping: Array, true: Array, weights: Array) -> Array:
    """Return a shaping that spreads over the steps as much as the true reward does; as it is if that is constant."""
    spreads = [float(np.sqrt(max(0.0, (weights * x**2).sum() - (weights * x).sum() ** 2))) for x in (true, shaping)]
    return shaping * (spreads[0] / spreads[1]) if min(spreads) > 0 else shaping


@torch.no_grad()
def log_density(policy: Policy, observations: Mapping[str, Array], actions: Array) -> Array:
    """Return the policy's log-density of actions, or minus its loss where it has no density, [N]."""
    names, out = [leaf.name for leaf in policy.observation.leaves], np.empty(len(actions))
    for start in range(0, len(actions), _BLOCK):
        part = slice(start, start + _BLOCK)
        rows = {name: torch.from_numpy(np.ascontiguousarray(observations[name][part]))[:, None] for name in names}
        acted = torch.from_numpy(np.ascontiguousarray(actions[part]))[:, None]
        batch = Batch(observations=rows, actions=acted, is_pad=torch.zeros(len(acted), 1, dtype=torch.bool))
        out[part] = -policy.loss(batch, generator=torch.Generator().manual_seed(0)).double().numpy()
    return out
