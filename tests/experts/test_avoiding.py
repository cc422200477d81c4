import numpy as np
import pytest

from distil.envs import ImportEnvConfig, describe
from distil.envs.avoiding import NUM_WAYS, Avoiding
from distil.experts.avoiding import AvoidingPlanner, path_of
from distil.experts.scripted import ScriptedExpertConfig

ENV = ImportEnvConfig(target="distil.envs.avoiding:Avoiding")


def run(planner: AvoidingPlanner, seed: int) -> dict:
    env = Avoiding()
    place, _ = env.reset(seed=seed)
    info, over = {}, False
    while not over:
        place, _, terminated, truncated, info = env.step(planner.act({"obs": place[None]}).actions[0])
        over = terminated or truncated
    return info


@pytest.mark.parametrize("way", range(NUM_WAYS))
def test_each_way_is_walked_without_touching_anything(way: int) -> None:
    planner = AvoidingPlanner()
    planner._paths[0] = path_of(way)
    for seed in range(3):
        assert run(planner, seed) == {"way": way, "is_success": True}


def test_ways_are_drawn_by_the_episodes_seed_alike() -> None:
    planner, ways = AvoidingPlanner(), list[int]()
    for seed in range(200):
        planner.begin(0, seed)
        ways.append(run(planner, seed)["way"])
        if seed < 5:
            planner.begin(0, seed)
            assert run(planner, seed)["way"] == ways[-1]
    counts = np.bincount(ways, minlength=NUM_WAYS)
    assert counts.min() > 0
    assert counts.max() < 22


def test_each_slot_goes_its_own_way() -> None:
    planner = AvoidingPlanner()
    places = np.array([[0.5, -0.2]] * 8, np.float32)
    for slot in range(8):
        planner.begin(slot, slot)
    together = planner.act({"obs": places}).actions
    assert len(np.unique(together[:, 0])) > 1
    for slot in range(8):
        planner.begin(0, slot)
        np.testing.assert_array_equal(planner.act({"obs": places[:1]}).actions[0], together[slot])


def test_it_is_the_scripted_expert_of_its_environment() -> None:
    expert = ScriptedExpertConfig().build(ENV, describe(ENV))
    assert (expert.name, expert.stateful) == ("scripted avoiding", True)
