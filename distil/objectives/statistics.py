"""Fitting a policy's statistics on what it learns from, and what a user should know about the result."""

from __future__ import annotations

from collections.abc import Sequence

from distil.policies.policy import Policy
from distil.store.moments import Moments, gather
from distil.store.order import SampleSource

_BLOCK = 4096  # windows
_MOST_NAMES = 8  # of dimensions, in a line


def fit_policy(policy: Policy, source: SampleSource) -> list[str]:
    """Set the policy's statistics to those of all samples of `source`; return notes for the user.

    Raises:
        InputError: a value isn't finite.
        RunError: a shard is damaged.
    """
    found = source.statistics([name for name in policy.needs if name != "action"])
    constant = policy.fit(found | ({"action": label_moments(policy, source)} if policy.actions.is_open else {}))
    notes = []
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


def _constant(names: Sequence[str], std_floor: float) -> str:
    shown = ", ".join(names[:_MOST_NAMES]) + (", ..." if len(names) > _MOST_NAMES else "")
    return (
        f"{len(names)} observation dimensions vary by less than policy.std_floor={std_floor:g} in the training data, and count "
        f"as constant: {shown}; lower it if they matter"
    )
