"""Generalised advantage estimation (Schulman et al., 2016, equation 16) over episodes that lie one after another.

Legend: R rows, the transitions of complete episodes in their order.
"""

from __future__ import annotations

import numpy as np

from distil.types import Array


def advantages(
    rewards_R: Array, values_R: Array, next_values_R: Array, ends_R: Array, *, discount: float, trace: float
) -> Array:
    """Return the advantage of each step, float64 [R].

    A_t = delta_t + discount * trace * A_(t+1), delta_t = r_t + discount * V(s_(t+1)) - V(s_t), until the episode's end.

    Args:
        rewards_R: r_t.
        values_R: V(s_t).
        next_values_R: V of what a step led to: after a truncation that of the last observation, after the task's end whatever
            comes then (0, or the absorbing state's).
        ends_R: bool, an episode's last steps, however it ended.
        discount: of the return.
        trace: lambda; 0: one step, 1: the whole return.
    """
    deltas_R = rewards_R + discount * next_values_R - values_R
    out_R, following = np.zeros(len(deltas_R)), 0.0
    decay = discount * trace
    for row in range(len(deltas_R) - 1, -1, -1):
        following = deltas_R[row] + (0.0 if ends_R[row] else decay * following)
        out_R[row] = following
    return out_R
