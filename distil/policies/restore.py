"""A policy's plain data back to a torch policy.

Whatever a file says of itself was compared with its arrays when it was read (see `distil.policies.header`), so that no network
larger than they are is made.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import torch

from distil.errors import InputError
from distil.policies.policy import Policy
from distil.policies.spec import PolicyRef
from distil.types import Array


def policy_of(ref: PolicyRef) -> Policy:
    """Return the policy of a `PolicyRef`; InputError if arrays and spec don't fit."""
    policy = Policy(ref.spec.config, ref.spec.observation, ref.spec.action)
    load_arrays(policy, ref.arrays)
    return policy


def load_arrays(policy: Policy, arrays: Mapping[str, Array]) -> None:
    """Take weights and statistics from a ref's arrays; InputError names the first that doesn't fit."""
    own = policy.state_dict()
    for name in sorted(own):
        have = tuple(arrays[name].shape) if name in arrays else "nothing"
        if have != tuple(own[name].shape):
            want = tuple(own[name].shape)
            raise InputError(f"policy weights {name}: found {have}, expected {want}; use the config that made them")
    if more := sorted(arrays.keys() - own.keys()):
        shape = arrays[more[0]].shape
        raise InputError(f"policy weights {more[0]}: found {shape}, expected nothing; use the config that made them")
    policy.load_state_dict({name: torch.from_numpy(np.array(value)) for name, value in arrays.items()})
