import numpy as np
import pytest

from distil.envs import ImportEnvConfig, describe
from distil.envs.avoiding import NUM_WAYS, Avoiding
from distil.experts.avoiding import AvoidingPlanner
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
    planner.take(0, way)
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
    places = np.array([[0.525, -0.25]] * 8, np.float32)
    for slot in range(8):
        planner.begin(slot, slot)
    together = planner.act({"obs": places}).actions
    assert len(np.unique(together[:, 0])) > 1
    for slot in range(8):
        planner.begin(0, slot)
        np.testing.assert_array_equal(planner.act({"obs": places[:1]}).actions[0], together[slot])


@pytest.mark.parametrize("way", [0, 23])
def test_a_point_that_took_another_way_is_led_on_along_that_one(way: int) -> None:
    """Not back: from the far left before the second row, every planner passes it on the left, then goes to its own gap."""
    planner, env = AvoidingPlanner(), Avoiding()
    planner.take(0, way)
    env.reset(seed=0)
    env._place, env._gaps = np.array([0.36, 0.0]), [0]
    assert planner.act({"obs": env._place[None]}).actions[0, 1] > 0.6  # up, and not across
    info, over = {}, False
    while not over:
        _, _, terminated, truncated, info = env.step(planner.act({"obs": env._place[None]}).actions[0])
        over = terminated or truncated
    assert info == {"way": 0 if way == 0 else 3, "is_success": True}


def test_it_is_the_scripted_expert_of_its_environment() -> None:
    expert = ScriptedExpertConfig().build(ENV, describe(ENV))
    assert (expert.name, expert.stateful) == ("scripted avoiding", True)
