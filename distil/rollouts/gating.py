"""Gates made ready for a round: thresholds and small networks fitted to what the run has collected so far.

A pure function of (gate's configuration, policy, data, seed): a resumed run gets the same gate.

Legend: R rows (transitions), H observation horizon.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

import numpy as np

from distil.errors import InputError
from distil.experts.gates.base import Discrepancy, GatePlan
from distil.experts.gates.config import (
    EnsembleGateConfig,
    GateConfig,
    HumanGateConfig,
    LazyGateConfig,
    SafeGateConfig,
    ThriftyGateConfig,
)
from distil.experts.gates.switch import Signal, SwitchPlan
from distil.policies.acting import acting
from distil.rollouts.regressor import fit_regressor
from distil.seeding import generator, integer
from distil.store import Sampler, Snapshot
from distil.types import Array, PolicyRef

MAX_ROWS = 1 << 16  # transitions that are looked at: enough for small networks and quantiles
_BLOCK = 256
_WORST = 2.0  # largest discrepancy of a bounded action space


def prepare(config: GateConfig, policy: PolicyRef, data: Snapshot, seed: int) -> GatePlan:
    """Return the gate for rollouts of `policy`.

    Args:
        config: which gate.
        policy: who will act.
        data: what the run has collected so far; at least one labelled transition.
        seed: of the fits.

    Raises:
        InputError: the gate needs an ensemble, and `policy` is none.
    """
    if isinstance(config, HumanGateConfig):
        return config.plan()
    if isinstance(config, EnsembleGateConfig):
        signal = Signal(threshold=config.doubt)
        return SwitchPlan(enter=(signal,), ask_all=config.discrepancy is not None, veto=config.discrepancy)
    if isinstance(config, SafeGateConfig | LazyGateConfig):
        labelled = _labelled(policy, data, seed)
        predictor = fit_regressor(labelled.observations, labelled.apart, _WORST, data.spec.observation, seed)
        signal = Signal(threshold=config.threshold, predictor=predictor)
        return SwitchPlan(enter=(signal,), leave=config.leave if isinstance(config, LazyGateConfig) else None)
    return _thrifty(config, policy, data, seed)


def _thrifty(config: ThriftyGateConfig, policy: PolicyRef, data: Snapshot, seed: int) -> SwitchPlan:
    visited = _subset(data, data.episodes.policy_version >= 0, seed)
    visited = visited if visited.num_episodes else _subset(data, data.episodes.policy_version < 0, seed)
    windows = _windows(visited, policy, every=True)
    _, doubt = replay(policy, windows)
    if doubt is None:
        raise InputError("algorithm.gate.kind=thrifty asks how much the policy's members disagree: set policy.ensemble=5")
    enter, stay = [Signal(threshold=float(np.quantile(doubt, 1 - config.budget)))], []
    risk = _risk(config, visited)
    if risk.any() and not risk.all():
        now = {name: values[:, -1] for name, values in windows.items()}
        predictor = fit_regressor(now, risk, 1.0, data.spec.observation, integer(seed, "risk"))
        values = acting_values(predictor, now)
        enter.append(Signal(threshold=float(np.quantile(values, 1 - config.budget)), predictor=predictor))
        stay.append(Signal(threshold=float(np.median(values)), predictor=predictor))
    leave = config.leave if config.leave is not None else float(_labelled(policy, data, seed).apart.mean())
    return SwitchPlan(enter=tuple(enter), stay=tuple(stay), leave=leave)


def _risk(config: ThriftyGateConfig, data: Snapshot) -> Array:
    """Return [R] how near a failure is: discount ** steps to it; 0 in episodes that don't fail."""
    episodes = data.episodes
    known = bool((episodes.success >= 0).all())
    by_success = config.failure == "unsuccessful" or (config.failure == "auto" and known)
    if by_success and not known:
        raise InputError("algorithm.gate.failure=unsuccessful: the environment doesn't say what succeeds; set it to terminated")
    failed = episodes.success == 0 if by_success else episodes.terminated != 0
    parts = [config.discount ** np.arange(n - 1, -1, -1.0) * bad for n, bad in zip(episodes.length, failed, strict=True)]
    out: Array = np.concatenate(parts)
    return out


@dataclass(frozen=True, kw_only=True)
class _Labelled:
    observations: Mapping[str, Array]  # leaf name -> [R, ...]
    apart: Array  # [R] discrepancy of the policy's action and the label


def _labelled(policy: PolicyRef, data: Snapshot, seed: int) -> _Labelled:
    chosen = _subset(data, data.episodes.num_labelled > 0, seed)
    horizon = int(policy.spec["config"]["obs_horizon"])
    batches = list(Sampler(chosen, obs_horizon=horizon).scan(MAX_ROWS))
    windows = {name: np.concatenate([b.observations[name] for b in batches]) for name in batches[0].observations}
    labels = np.concatenate([batch.actions[:, 0] for batch in batches])
    actions, _ = replay(policy, windows)
    apart = Discrepancy(data.spec.action.leaf)(actions, labels)
    return _Labelled(observations={name: values[:, -1] for name, values in windows.items()}, apart=apart)


def _windows(data: Snapshot, policy: PolicyRef, every: bool) -> dict[str, Array]:
    """Return leaf name -> [R, H, ...] of all transitions, in order."""
    horizon = int(policy.spec["config"]["obs_horizon"])
    batches = list(Sampler(data, obs_horizon=horizon, every=every).scan(MAX_ROWS))
    return {name: np.concatenate([b.observations[name] for b in batches]) for name in batches[0].observations}


def _subset(data: Snapshot, wanted: Array, seed: int) -> Snapshot:
    """Return episodes where `wanted`, drawn until they have `MAX_ROWS` transitions."""
    chosen = generator(seed, "gate episodes").permutation(np.flatnonzero(wanted))
    if len(chosen):
        enough = int(np.searchsorted(np.cumsum(data.episodes.length[chosen]), MAX_ROWS)) + 1
        chosen = np.sort(chosen[:enough])
    return data.select(chosen)


def replay(policy: PolicyRef, windows: Mapping[str, Array]) -> tuple[Array, Array | None]:
    """Return what a policy would do at each of R windows [R, H, ...], and its doubt there; a chunk's first action."""
    once = replace(policy, spec={**policy.spec, "config": {**policy.spec["config"], "execute": 1}})
    actor, num = acting(once, _BLOCK), len(next(iter(windows.values())))
    horizon = int(policy.spec["config"]["obs_horizon"])
    actions, doubts = [], []
    for start in range(0, num, _BLOCK):
        rows = np.minimum(np.arange(start, start + _BLOCK), num - 1)
        for slot in range(_BLOCK):
            actor.begin(slot, 0)
        for step in range(horizon):
            action = actor.act({name: values[rows, step] for name, values in windows.items()})
        actions.append(action[: num - start])
        if actor.doubt is not None:
            doubts.append(actor.doubt[: num - start].copy())
    return np.concatenate(actions), np.concatenate(doubts) if doubts else None


def acting_values(predictor: PolicyRef, observations: Mapping[str, Array]) -> Array:
    """Return the numbers [R] that a regressor gives for observations [R, ...]."""
    values, _ = replay(predictor, {name: column[:, None] for name, column in observations.items()})
    out: Array = values[:, 0]
    return out
