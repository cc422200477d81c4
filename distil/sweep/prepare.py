"""The first step of a sweep: demonstrations and baselines, once for all trials, and what holds families to a common budget."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from distil.errors import InputError
from distil.plans import CollectPlan, CollectReport
from distil.rollouts import Collected
from distil.rollouts.selection import uids_of
from distil.runconfig import RunConfig
from distil.rundata import missing
from distil.seeding import Purpose
from distil.session import Session
from distil.store import Store
from distil.sweep.config import SweepConfig
from distil.sweep.families import Family, trial_config
from distil.validation import check_new_run


@dataclass(frozen=True, kw_only=True)
class Shared:
    """What the trials of one root seed share."""

    lengths: Sequence[int]  # steps of the demonstrations, in their order
    granted: Mapping[str, Mapping[str, Any]]  # family -> the settings that hold it to the common budget


def check(sweep: SweepConfig, found: Sequence[Family], session: Session) -> None:
    """Check that each family can start; InputError names the first that cannot."""
    for family in found:
        try:
            session.check(family.config)
            check_new_run(family.config, session.spec)
        except InputError as error:
            raise InputError(f"families.{family.name}: {error}") from None
        need = needed_episodes(family.config)
        if need is None and sweep.budget.labels is not None:
            raise InputError(
                f"budget.labels={sweep.budget.labels}: family {family.name} collects no demonstrations that could be counted: "
                "set data.episodes, or remove the budget"
            )


def needed_episodes(config: RunConfig) -> int | None:
    """Return how many demonstrations a run of this configuration collects or takes; None: those that are stored."""
    return config.budget().num_demonstrations if config.algorithm.needs.demonstrations else 0


def share(sweep: SweepConfig, found: Sequence[Family], session: Session, seed: int) -> Shared:
    """Collect what the demonstrations of a root seed lack, and return what its trials share.

    Raises:
        InputError: the store does not fit the environment.
        RunError: the environment, the expert or the disk failed.
    """
    needs = [needed_episodes(family.config) or 0 for family in found]
    lengths = _collected(sweep, found[int(np.argmax(needs))], session, seed, max(needs))
    granted = {}
    for family in found:
        num = needed_episodes(family.config)
        granted[family.name] = dict(
            family.config.algorithm.granted(
                sweep.budget.labels, sweep.budget.steps, lengths if num is None else _own(family, lengths)
            )
        )
    return Shared(lengths=lengths, granted=granted)


def _own(family: Family, lengths: Sequence[int]) -> Sequence[int]:
    """Return the lengths that a family counts: imitation by interaction its own demonstrations, cloning all that there are."""
    return lengths[: needed_episodes(family.config)] if family.config.algorithm.needs.acts else lengths


def _collected(sweep: SweepConfig, family: Family, session: Session, seed: int, num: int) -> list[int]:
    """Return the lengths of the demonstrations of a root seed: `num` at least, and enough of them for the labels."""
    wanted = sweep.budget.labels or 0
    while num:
        config = trial_config(
            sweep, family.config, {}, where=f"families.{family.name}", more={"seed": seed, "data.episodes": num}
        )
        if config.data.mixture is not None or config.budget().num_demonstrations is None:
            return []
        store = session.store(config)
        uids, plan = missing(store, CollectPlan(num_episodes=num), config.data.select)
        lengths = _lengths(store, uids, plan, session.collector(config, store).collect(plan))
        if sum(lengths) >= wanted:
            return lengths
        num = max(num + 1, math.ceil(num * wanted / max(1, sum(lengths))))
    return []


def _lengths(store: Store, uids: Sequence[str], plan: CollectPlan, report: CollectReport) -> list[int]:
    """Return the lengths of the demonstrations that a run of this seed has, in the order in which it takes them."""
    part = Collected(round=0, snapshot=report.snapshot, stream=report.stream, num_episodes=plan.num_episodes, gated=False)
    episodes = store.snapshot(report.snapshot).episodes
    length = dict(zip(episodes.uid.tolist(), episodes.length.tolist(), strict=True))
    return [length[uid] for uid in (*uids, *uids_of(part))]


def measure_baselines(sweep: SweepConfig, found: Sequence[Family], session: Session, num_held_out: int) -> Mapping[str, float]:
    """Measure expert and random policy on the tuning and the held-out episodes, for all trials; return the returns."""
    config, returns = found[0].config, dict[str, float]()
    if config.expert is None or not config.budget().baselines:
        return returns
    looked = [("tune", sweep.tuning_episodes, Purpose.TUNE)]
    if sweep.confirm.best:
        looked.append(("eval", num_held_out, Purpose.EVALUATE))
    for prefix, num, purpose in looked:
        baselines = session.baselines(num, purpose)
        if baselines is not None:
            returns |= {f"{prefix}/expert_return_mean": baselines.expert, f"{prefix}/random_return_mean": baselines.random}
    return returns
