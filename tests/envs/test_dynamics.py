import math
from typing import Any, ClassVar

import gymnasium as gym
import numpy as np
import pytest

from distil.envs import GymEnvConfig, ImportEnvConfig
from distil.envs.dynamics import dynamics_of, rewards_of
from distil.errors import InputError


class Told(gym.Env):
    """Two states and one action; what it tells about itself is set by each test."""

    facts: ClassVar[dict[str, Any]] = {}

    def __init__(self) -> None:
        self.observation_space, self.action_space = gym.spaces.Discrete(2), gym.spaces.Discrete(1)
        ways = {0: {0: [(0.25, 0, math.nan, False), (0.75, 1, math.nan, True)]}, 1: {0: [(1.0, 0, math.nan, False)]}}
        self.P, self.initial_state_distrib = ways, np.array([1.0, 0.0])
        for name, value in self.facts.items():
            setattr(self, name, value)


@pytest.fixture
def told(monkeypatch: pytest.MonkeyPatch) -> ImportEnvConfig:
    monkeypatch.setattr(Told, "facts", {})
    return ImportEnvConfig(target=f"{__name__}:Told")


def test_the_table_of_frozen_lake() -> None:
    lake = dynamics_of(GymEnvConfig(id="FrozenLake-v1"))
    assert (lake.num_states, lake.num_actions) == (16, 4)
    assert np.flatnonzero(lake.is_terminal_S).tolist() == [5, 7, 11, 12, 15]
    np.testing.assert_allclose(lake.transitions_SAS[0, 2, [0, 1, 4]], 1 / 3)
    rewards_SA = rewards_of(GymEnvConfig(id="FrozenLake-v1"))
    assert rewards_SA[14, 2] == pytest.approx(1 / 3)
    assert not rewards_SA[lake.is_terminal_S].any()


def test_the_end_of_a_task_is_absorbing_whatever_the_table_says_of_it(told: ImportEnvConfig) -> None:
    """CORRECTNESS 20, too: rewards are NaN, and nothing is."""
    found = dynamics_of(told)
    assert found.is_terminal_S.tolist() == [False, True]
    assert found.transitions_SAS.tolist() == [[[0.25, 0.75]], [[0.0, 1.0]]]


ENDS_SOMETIMES = {0: {0: [(0.5, 1, 0.0, False), (0.5, 1, 0.0, True)]}, 1: {0: [(1.0, 0, 0.0, False)]}}


@pytest.mark.parametrize(
    ("facts", "message"),
    [
        ({"P": None}, "has no attributes P and initial_state_distrib, as FrozenLake-v1 has them"),
        ({"observation_space": gym.spaces.Discrete(3)}, "is not of 3 states and 1 actions"),
        ({"observation_space": gym.spaces.Discrete(2, start=1)}, "take.*Discrete ones that start at 0"),
        ({"action_space": gym.spaces.Box(-1, 1)}, "its spaces are Discrete.* and Box"),
        ({"observation_space": gym.spaces.Discrete(5000)}, "has 5000 states, and tables are for up to 2000"),
        ({"initial_state_distrib": np.array([0.5, 0.0])}, "do not sum to 1"),
        ({"P": ENDS_SOMETIMES}, "state 1 ends the task on some ways into it and not on others"),
    ],
)
def test_what_is_not_known_is_refused_by_name(
    told: ImportEnvConfig, monkeypatch: pytest.MonkeyPatch, facts: dict[str, Any], message: str
) -> None:
    monkeypatch.setattr(Told, "facts", facts)
    with pytest.raises(InputError, match=rf"environment .*Told.*{message}"):
        dynamics_of(told)
