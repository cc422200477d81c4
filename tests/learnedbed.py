"""Rewards that small learners have learned, for tests."""

from __future__ import annotations

from dataclasses import replace
from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import torch
from interactionbed import config, setup_of, streams_of, update_of

from distil.learners.rank import Rank
from distil.objectives.transitions import Transitions, of_batch
from distil.rewards.base import Rewards, Steps
from distil.rewards.ref import RewardRef
from distil.store.windows import TransitionBatch
from distil.types import Episode

KINDS = ("dac", "gail", "airl", "ml_irl", "csil", "iq", "iq-sac")


def rank_of(folder: Path, kind: str) -> Rank:
    """A learner after two small updates by an algorithm."""
    name = kind.partition("-")[0]
    setup = setup_of(folder, name)
    if kind == "iq-sac":  # on the spaces and the data of another one with Box actions
        step = {"kind": "sac", "loss": "ls_iq", "hidden": [8], "num_critics": 2}
        changed = config(folder, "iq", algorithm={"step": step}).algorithm.objective
        name, setup = "dac", replace(setup_of(folder, "dac"), objective=changed)
    rank = Rank(setup)
    for index in (1, 2):
        plan, streams = update_of(name, 12, index), streams_of(folder, name)
        rank.update(plan, {each: streams[each] for each in plan.streams})
    return rank


@cache
def learned(kind: str) -> RewardRef:
    """The reward of `rank_of`."""
    with TemporaryDirectory() as folder:
        found = rank_of(Path(folder), kind).reward
    assert found is not None
    return found


def shown(folder: Path, kind: str) -> Episode:
    """A demonstration of the data that `rank_of` has learned from, which ends the task."""
    name = "dac" if kind == "iq-sac" else kind
    (part,) = streams_of(folder, name)["demos"].parts
    return part.episode(0)


def transitions_of(objective: Any, episode: Episode) -> Transitions:
    """The steps of an episode, as an objective of learning by interaction sees them."""
    num, policy = episode.length, objective.policy
    rows = {name: torch.from_numpy(value)[:, None] for name, value in episode.observations.items()}
    actions, flags = torch.from_numpy(np.asarray(episode.actions))[:, None], torch.zeros(num, dtype=torch.bool)
    batch = TransitionBatch(
        observations={name: value[:-1] for name, value in rows.items()},
        actions=actions,
        is_pad=torch.zeros(num, 1, dtype=torch.bool),
        executed=actions,
        rewards=None,
        num_steps=torch.ones(num, dtype=torch.int64),
        next_observations={name: value[1:] for name, value in rows.items()},
        terminated=flags,
        truncated=flags,
    )
    return of_batch(policy, batch, is_expert=False)


def own_rewards(objective: Any, episode: Episode) -> Rewards:
    """What the learner's own model, or Q-function, gives for the steps of an episode: without shaping, densities and ends."""
    seen = transitions_of(objective, episode)
    with torch.no_grad():
        if (implied := objective._rl.implied()) is not None:
            model = implied[1]
            model.discount = objective._rl.discount
            no_B = seen.terminated_B
            steps = Steps(
                features_BF=torch.empty(len(seen), 0),
                actions_BA=seen.actions_BA,
                next_features_BF=torch.empty(len(seen), 0),
                terminated_B=no_B,
                is_expert_B=no_B,
                observations=seen.observations,
                next_observations=seen.next_observations,
            )
            return model.elsewhere(steps)
        model = objective._judge.model.eval()
        found = model.elsewhere(objective._judge._steps(seen))
        model.train()
        return found
