"""Gates made ready for a round: thresholds and small networks fitted to what the run has collected so far.

A pure function of (gate's configuration, policy, data, seed): a resumed run gets the same gate.

Legend: R rows (transitions), H observation horizon.
"""

from __future__ import annotations

from collections.abc import Mapping

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
from distil.policies.acting import replay
from distil.policies.spec import PolicyRef
from distil.rollouts.regressor import fit_regressor
from distil.seeding import generator, integer
from distil.store import Sampler, Snapshot
from distil.store.index import EpisodeIndex
from distil.types import Array

MAX_ROWS = 1 << 16  # transitions that are looked at: enough for small networks and quantiles
_MAX_BYTES = 1 << 28  # of their observations: fewer transitions of images
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
        observations, apart = _labelled(policy, data, seed)
        predictor = fit_regressor(observations, apart, _WORST, data.spec.observation, seed)
        signal = Signal(threshold=config.threshold, predictor=predictor)
        return SwitchPlan(enter=(signal,), leave=config.leave if isinstance(config, LazyGateConfig) else None)
    return _thrifty(config, policy, data, seed)


def _thrifty(config: ThriftyGateConfig, policy: PolicyRef, data: Snapshot, seed: int) -> SwitchPlan:
    by_policy = data.episodes.policy_version >= 0
    visited = _some(data, by_policy if by_policy.any() else ~by_policy, policy, seed)
    windows, _ = _windows(visited, policy, every=True)
    _, doubt = replay(policy, windows)
    if doubt is None:
        raise InputError("algorithm.gate.kind=thrifty asks how much the policy's members disagree: set policy.ensemble=5")
    enter, stay = [Signal(threshold=_threshold(doubt, config.budget))], []
    failed = _failed(config, visited.episodes)
    if failed.any() and not failed.all():
        now = {name: values[:, -1] for name, values in windows.items()}
        risk = _risk(failed, visited.episodes.length, config.discount)
        predictor = fit_regressor(now, risk, 1.0, data.spec.observation, integer(seed, "risk"))
        values = predicted(predictor, now)
        enter.append(Signal(threshold=_threshold(values, config.budget), predictor=predictor))
        stay.append(Signal(threshold=float(np.median(values)), predictor=predictor))
    leave = config.leave if config.leave is not None else float(_labelled(policy, data, seed)[1].mean())
    return SwitchPlan(enter=tuple(enter), stay=tuple(stay), leave=leave)


def _threshold(values: Array, budget: float) -> float:
    """Return what about a fraction `budget` of the values are above: of tied ones all or none, whichever is nearer.

    The doubt about choices is a share of few members, so most of its values are tied.
    """
    highest = float(np.quantile(values, 1 - budget))
    lowest = float(values[values < highest].max(initial=-1.0))  # they are at least 0
    return min((highest, lowest), key=lambda threshold: abs(float((values > threshold).mean()) - budget))


def _failed(config: ThriftyGateConfig, episodes: EpisodeIndex) -> Array:
    """Return [episodes] bool."""
    known = bool((episodes.success >= 0).all())
    if config.failure == "unsuccessful" and not known:
        raise InputError("algorithm.gate.failure=unsuccessful: the environment doesn't say what succeeds; set it to terminated")
    out: Array = episodes.success == 0 if known and config.failure != "terminated" else episodes.terminated != 0
    return out


def _risk(failed: Array, lengths: Array, discount: float) -> Array:
    """Return [R] how near a failure is: discount ** steps to it; 0 in episodes that don't fail."""
    parts = [bad * discount ** np.arange(num - 1, -1, -1.0) for bad, num in zip(failed, lengths, strict=True)]
    out: Array = np.concatenate(parts)
    return out


def _labelled(policy: PolicyRef, data: Snapshot, seed: int) -> tuple[Mapping[str, Array], Array]:
    """Return labelled observations, leaf name -> [R, ...], and [R] the discrepancy of the policy's actions and the labels."""
    windows, labels = _windows(_some(data, data.episodes.num_labelled > 0, policy, seed), policy)
    actions, _ = replay(policy, windows)
    return {name: values[:, -1] for name, values in windows.items()}, Discrepancy(data.spec.action.leaf)(actions, labels)


def _windows(data: Snapshot, policy: PolicyRef, every: bool = False) -> tuple[dict[str, Array], Array]:
    """Return leaf name -> [R, H, ...] and the labels [R, ...] of labelled transitions, or of `every` one; in order."""
    batches = list(Sampler(data, obs_horizon=_horizon(policy), every=every).scan(_BLOCK))
    windows = {name: np.concatenate([batch.observations[name] for batch in batches]) for name in batches[0].observations}
    return windows, np.concatenate([batch.actions[:, 0] for batch in batches])


def _some(data: Snapshot, wanted: Array, policy: PolicyRef, seed: int) -> Snapshot:
    """Return episodes where `wanted`, drawn until they have `MAX_ROWS` transitions, or windows of `_MAX_BYTES`."""
    window_bytes = _horizon(policy) * sum(
        np.dtype(leaf.dtype).itemsize * int(np.prod(leaf.shape)) for leaf in data.spec.observation.leaves
    )
    most = min(MAX_ROWS, max(_BLOCK, _MAX_BYTES // window_bytes))
    chosen = generator(seed, "gate episodes").permutation(np.flatnonzero(wanted))
    enough = int(np.searchsorted(np.cumsum(data.episodes.length[chosen]), most)) + 1
    return data.select(np.sort(chosen[:enough]))


def _horizon(policy: PolicyRef) -> int:
    return policy.spec.config.obs_horizon


def predicted(predictor: PolicyRef, observations: Mapping[str, Array]) -> Array:
    """Return the numbers [R] that a regressor gives for observations [R, ...]."""
    values, _ = replay(predictor, observations)
    out: Array = values[:, 0]
    return out
