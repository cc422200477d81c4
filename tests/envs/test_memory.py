import gymnasium as gym
import pytest
from gymnasium.wrappers import NormalizeObservation, NormalizeReward, RecordEpisodeStatistics, TimeLimit
from testbed import Toy

from distil.envs import GymEnvConfig, ImportEnvConfig, WrapperConfig, describe
from distil.envs.memory import require_forgetful
from distil.errors import InputError


class RunningMeanStd:
    """A copy in another library."""


class Own(gym.Wrapper):
    def __init__(self, env):
        super().__init__(env)
        self.statistics = RunningMeanStd()


class OwnOfKeys(gym.Wrapper):
    def __init__(self, env):
        super().__init__(env)
        self.statistics = {"obs": RunningMeanStd()}


@pytest.mark.parametrize("name", ["NormalizeObservation", "NormalizeReward"])
def test_running_statistics_are_refused_with_the_fix(name):
    """CORRECTNESS 40."""
    wrapped = GymEnvConfig(id="CartPole-v1", wrappers=(WrapperConfig(target=f"gymnasium.wrappers:{name}"),))
    with pytest.raises(InputError, match=f"CartPole-v1: {name} keeps running statistics .* remove it .the policy normalises"):
        describe(wrapped)
    vector = WrapperConfig(target=f"gymnasium.wrappers.vector:{name}")
    with pytest.raises(InputError, match=f"testbed:vector: {name} keeps"):
        describe(ImportEnvConfig(target="testbed:vector", vectorised=True, wrappers=(vector,)))


@pytest.mark.parametrize("wrapper", [NormalizeObservation, NormalizeReward, Own, OwnOfKeys])
def test_statistics_inside_objects_are_found(wrapper):
    with pytest.raises(InputError, match=f"{wrapper.__name__} keeps"):
        require_forgetful(RecordEpisodeStatistics(TimeLimit(wrapper(Toy()), 5)))


@pytest.mark.parametrize("kind", ["sync", "async"])
def test_statistics_inside_a_vector_environment_are_found(kind):
    with pytest.raises(InputError, match="testbed:vector: Normalised keeps"):
        describe(ImportEnvConfig(target="testbed:vector", vectorised=True, kwargs={"kind": kind, "env": "Normalised"}))


def test_frozen_statistics_and_harmless_wrappers_are_accepted():
    frozen = NormalizeObservation(Toy())
    frozen.update_running_mean = False
    require_forgetful(RecordEpisodeStatistics(frozen))
    require_forgetful(Toy())
    describe(ImportEnvConfig(target="testbed:vector", vectorised=True, kwargs={"kind": "async"}))
