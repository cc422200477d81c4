"""Fitting a policy's statistics on what it learns from, and what a user should know about the result.

Legend: B batch, R chunks, T action chunk, A action dimension (or factor).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from contextlib import closing

import numpy as np
import torch
from torch import Tensor

from distil.errors import InputError
from distil.policies.policy import Policy
from distil.store.moments import Moments, gather
from distil.store.order import SampleSource

_BLOCK = 4096  # windows
_MOST_NAMES = 8  # of dimensions, in a line
_LEAST_WIDTH = 1e-6  # of the labels' range, in half widths of the action's: below, they count as the same
_MOST_CHUNKS, _MOST_NUMBERS = 50_000, 1 << 25  # that heads are fitted on: the same on all ranks, whatever memory they have


def fit_policy(policy: Policy, source: SampleSource, *, imitates: bool = False) -> list[str]:
    """Set the policy's statistics to those of all samples of `source`; return notes for the user.

    Heads that are fitted on labels see chunks of them: drawn as batches are, so that a mixture has its shares.

    Args:
        policy: to fit.
        source: its data.
        imitates: it learns to give the labels of `source`, so they should differ.

    Raises:
        InputError: a value isn't finite; a head is fitted on chunks, and no episode holds one.
        RunError: a shard is damaged.
    """
    found = dict(source.statistics([name for name in policy.needs if name != "action"]))
    if imitates or policy.actions.is_open:
        found["action"] = label_moments(policy, source)
    constant = policy.fit(found)
    if policy.head.needs_labels:
        policy.fit_labels(whole_chunks(policy, source))
    notes = _same_labels(policy, found["action"]) if imitates else []
    if floats := [leaf.name for leaf in policy.observation.leaves if leaf.looks_like_float_image]:
        notes.append(
            f"{', '.join(floats)}: images of floats are read as plain numbers, without convolutions; "
            "give them as uint8 from 0 to 255 (distil store import: images=uint8)"
        )
    return notes + ([_constant(constant, policy.config.std_floor)] if constant else [])


def label_moments(policy: Policy, source: SampleSource) -> Moments:
    """Return the statistics of all labels of `source`; relative to the observations of their windows, if the policy's are."""
    origin = policy.actions.origin
    if origin is None:
        return source.statistics(["action"])["action"]
    return gather({"action": origin.relative(batch)} for batch in source.scan(_BLOCK))["action"]


def whole_chunks(policy: Policy, source: SampleSource) -> Tensor:
    """Return labelled chunks without pads as head actions, [R, T, A], on the policy's device: all, or a fixed random choice.

    Raises:
        InputError: there is none.
    """
    origin, device = policy.actions.origin, next(policy.parameters()).device
    found: list[Tensor] = []
    num = min(_MOST_CHUNKS, max(1, _MOST_NUMBERS // (policy.config.chunk * math.prod(policy.action.leaf.shape))))
    with closing(source.stream(0)) as stream:
        for start in range(0, source.num_samples, _BLOCK):
            batch = stream.take(start, min(_BLOCK, source.num_samples - start))
            whole = np.flatnonzero(~batch.is_pad.any(1))[:num]
            if not len(whole):
                continue
            names = [] if origin is None else [origin.leaf]
            observations = {name: torch.from_numpy(batch.observations[name][whole]).to(device) for name in names}
            found.append(policy.actions.encode(torch.from_numpy(batch.actions[whole]).to(device), observations))
            num -= len(whole)
            if not num:
                break
    if not found:
        raise InputError(
            f"policy.head.kind={policy.spec.head.kind} is fitted on whole chunks of labels, and no episode has "
            f"policy.chunk={policy.config.chunk} labelled steps in a row: lower policy.chunk, or take longer episodes"
        )
    return torch.cat(found)


def refit_policy(policy: Policy, source: SampleSource) -> list[str]:
    """Fit the statistics of observations again if those of `source` have left their range; return notes for the user.

    The range of actions stays. Errors are those of `fit_policy`.
    """
    found = source.statistics([name for name in policy.needs if name != "action"])
    if not policy.has_left(found):
        return []
    constant = policy.fit(found, actions=False)
    note = (
        "most observations lie far outside of the range of the data that the policy's statistics were fitted on: they were "
        "fitted again"
    )
    return [note, *([_constant(constant, policy.config.std_floor)] if constant else [])]


def _same_labels(policy: Policy, labels: Moments) -> list[str]:
    """Return a note if dimensions (or factors) of the action are the same in all labels."""
    low, width = labels.minimum.ravel(), (labels.maximum - labels.minimum).ravel()
    is_box = policy.action.leaf.kind == "box"
    least = _LEAST_WIDTH * policy.actions.half_width.cpu().numpy() if is_box else 0.0
    same = np.flatnonzero(width <= least)
    if labels.count < 2 or not len(same):
        return []
    if len(same) == len(width):
        shown = ", ".join(f"{value:g}" for value in low[:_MOST_NAMES]) + (", ..." if len(low) > _MOST_NAMES else "")
        return [  # no error: a first round of DAgger may be like that
            f"all {labels.count} labels of the training data are the same action ({shown}), so the policy can only repeat it: "
            "give demonstrations that act differently, if there are any"
        ]
    names = ", ".join(f"action[{i}]" for i in same[:_MOST_NAMES]) + (", ..." if len(same) > _MOST_NAMES else "")
    note = f"{len(same)} of {len(width)} numbers of the action are the same in all labels, and can only be repeated: {names}"
    if policy.spec.head.kind in ("gaussian", "mixture"):
        note += (
            f"; policy.head.kind={policy.spec.head.kind} has a density, which becomes as narrow there as min_log_std lets it, "
            "and outweighs the other numbers in the loss: choose another head, or leave them out of the action space"
        )
    return [note]


def _constant(names: Sequence[str], std_floor: float) -> str:
    shown = ", ".join(names[:_MOST_NAMES]) + (", ..." if len(names) > _MOST_NAMES else "")
    return (
        f"{len(names)} observation dimensions vary by less than policy.std_floor={std_floor:g} in the training data, and count "
        f"as constant: {shown}; lower it if they matter"
    )
