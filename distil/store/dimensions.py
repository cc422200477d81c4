"""Names of the dimensions of Gymnasium's classic environments, from its documentation; spaces themselves have none."""

from __future__ import annotations

from typing import NamedTuple


class Names(NamedTuple):
    """Names of an environment's dimensions; empty if unknown. Discrete actions: a name for each choice."""

    observation: tuple[str, ...] = ()
    action: tuple[str, ...] = ()


_LANDER = ("x", "y", "x velocity", "y velocity", "angle", "angular velocity", "left leg", "right leg")
_NAMES = {
    "CartPole": Names(("position", "velocity", "pole angle", "pole velocity"), ("left", "right")),
    "Pendulum": Names(("cos angle", "sin angle", "velocity"), ("torque",)),
    "MountainCar": Names(("position", "velocity"), ("left", "none", "right")),
    "MountainCarContinuous": Names(("position", "velocity"), ("force",)),
    "Acrobot": Names(
        ("cos angle 1", "sin angle 1", "cos angle 2", "sin angle 2", "velocity 1", "velocity 2"), ("-1", "0", "+1")
    ),
    "LunarLander": Names(_LANDER, ("none", "left engine", "main engine", "right engine")),
    "LunarLanderContinuous": Names(_LANDER, ("main engine", "side engines")),
}


def names_of(env: str) -> Names:
    """Return the names of an environment's dimensions by its id, whatever its version; those of a continuous lander need `env`.

    Args:
        env: an id such as `CartPole-v1`, or an environment's name with its arguments, `LunarLander-v3 {"continuous": true}`.
    """
    name = env.partition(" ")[0].rpartition("-v")[0].rpartition("/")[2]
    return _NAMES.get(f"{name}Continuous" if '"continuous": true' in env else name, Names())
