"""Controllers of our own for Gymnasium's small tasks, and its LunarLander heuristic for N environments at once.

All are pure functions from observations to actions in float arithmetic of the observations' dtype.
Legend: N environments, D observation features, A action dimensions.
"""

from __future__ import annotations

import numpy as np

from distil.types import Array


def lunarlander_todo(obs_ND: Array) -> tuple[Array, Array]:
    """Return by how much to turn and to lift, each [N]: the part that both action spaces share.

    The lander aims at an angle that points to the pad, and at a height in proportion to its distance; once a leg touches, it
    only slows its fall. The decisions are those of Gymnasium's `lunar_lander.heuristic`.
    """
    x, y, vx, vy, angle, spin = obs_ND[:, :6].T
    target = np.clip(x * 0.5 + vx, -0.4, 0.4)
    landed = (obs_ND[:, 6] != 0) | (obs_ND[:, 7] != 0)
    turn = np.where(landed, 0, (target - angle) * 0.5 - spin)
    lift = np.where(landed, -vy * 0.5, (0.55 * np.abs(x) - y) * 0.5 - vy * 0.5)
    return turn, lift


def lunarlander_discrete(obs_ND: Array) -> Array:
    """Return LunarLander's discrete actions [N] int64: 0 nothing, 1 left engine, 2 main engine, 3 right engine."""
    turn, lift = lunarlander_todo(obs_ND)
    sideways = np.where(turn < -0.05, 3, np.where(turn > 0.05, 1, 0))
    actions_N: Array = np.where((lift > np.abs(turn)) & (lift > 0.05), 2, sideways)
    return actions_N


def lunarlander_continuous(obs_ND: Array) -> Array:
    """Return LunarLander's continuous actions [N, 2]: main engine, side engines."""
    turn, lift = lunarlander_todo(obs_ND)
    actions_NA: Array = np.clip(np.stack([lift * 20 - 1, -turn * 20], axis=1), -1, 1)
    return actions_NA


def cartpole(obs_ND: Array) -> Array:
    """Return CartPole's actions [N] int64: a linear state feedback, pushed to the right where it is positive."""
    x, speed, angle, spin = obs_ND.T
    push_N: Array = 0.1 * x + 0.3 * speed + 4 * angle + spin > 0  # no matrix product: its last bits depend on N
    return push_N.astype(np.int64)


def pendulum(obs_ND: Array) -> Array:
    """Return Pendulum's torques [N, 1]: energy shaping far from the top, PD feedback near it.

    With unit mass and length and g = 10, the rod's energy is E = w^2 / 6 + 5 cos(a), which is 5 at rest at the top. Far from
    the top the torque is in proportion to (5 - E) along the spin w, so that E tends to 5 (Astrom and Furuta, Swinging up a
    pendulum by energy control, 2000).
    """
    cos, sin, spin = obs_ND.T
    angle = np.arctan2(sin, cos)
    energy = spin**2 / 6 + 5 * cos
    along = np.where(spin >= 0, 1, -1)
    swing = 2.0 * (5 - energy) * along
    balance = -(10 * angle + 2.5 * spin)
    torque_N: Array = np.clip(np.where(cos > 0.8, balance, swing), -2, 2)
    return torque_N[:, None].astype(obs_ND.dtype)


def mountaincar_continuous(obs_ND: Array) -> Array:
    """Return MountainCarContinuous's forces [N, 1]: 0.6 along the velocity, which pumps energy in for little effort."""
    return np.where(obs_ND[:, 1:2] >= 0, 0.6, -0.6).astype(obs_ND.dtype)
