"""The names of dimensions fit the environments."""

from __future__ import annotations

import gymnasium
import pytest

from distil.store.dimensions import Names, names_of


@pytest.mark.parametrize("env", ["CartPole-v1", "Pendulum-v1", "MountainCar-v0", "MountainCarContinuous-v0", "Acrobot-v1"])
def test_there_are_as_many_names_as_dimensions(env: str) -> None:
    world, names = gymnasium.make(env), names_of(env)
    action = world.action_space
    assert len(names.observation) == world.observation_space.shape[0]
    assert len(names.action) == (action.n if hasattr(action, "n") else action.shape[0])


def test_landers_and_unknown_environments() -> None:
    assert len(names_of("LunarLander-v3").observation) == 8
    assert len(names_of("LunarLander-v3").action) == 4
    assert len(names_of('LunarLander-v3 {"continuous": true}').action) == 2
    assert names_of("Mine-v0") == names_of("") == Names()
