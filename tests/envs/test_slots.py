import sys
from types import MappingProxyType

import numpy as np
import pytest
from testbed import Odd

from distil.envs import GymEnvConfig, ImportEnvConfig, SlotError, describe, slots


def make(num, target="Toy", **kwargs):
    return slots(ImportEnvConfig(target=f"testbed:{target}", kwargs=kwargs), num)


def test_final_observation_is_kept_and_nothing_resets_by_itself():
    """CORRECTNESS 2."""
    places = make(2, lengths=[2, 4])
    places.reset([0, 1], [0, 1])
    actions, active = np.array([2, 3]), np.ones(2, np.bool_)
    places.step(actions, active)
    result = places.step(actions, active)
    np.testing.assert_array_equal(result.observations["obs"], [[0, 2, 2], [1, 2, 3]])
    assert result.terminated.tolist() == [True, False]
    result = places.step(actions, np.array([False, True]))
    np.testing.assert_array_equal(result.observations["obs"], [[0, 2, 2], [1, 3, 3]])
    places.close()


def test_the_caller_owns_the_results():
    places = make(1, lengths=[9])
    places.reset([0], [0])
    first = places.step(np.array([1]), np.ones(1, np.bool_))
    places.step(np.array([1]), np.ones(1, np.bool_))
    assert first.observations["obs"][0, 1] == 1


def test_terminated_is_not_truncated():
    """CORRECTNESS 1."""
    for end in ("terminated", "truncated"):
        places = make(1, lengths=[1], end=end)
        places.reset([0], [0])
        result = places.step(np.array([1]), np.ones(1, np.bool_))
        assert (bool(result.terminated[0]), bool(result.truncated[0])) == (end == "terminated", end == "truncated")


def test_nested_observations_keep_their_types():
    config = ImportEnvConfig(target="testbed:Nested")
    places = slots(config, 2)
    first = places.reset([1, 0], [5, 6])
    spec = describe(config).observation
    assert {name: (v.shape, str(v.dtype)) for name, v in first.items()} == {
        leaf.name: ((2, *leaf.shape), leaf.dtype) for leaf in spec.leaves
    }
    again = slots(config, 1).reset([0], [5])
    for name, value in again.items():
        np.testing.assert_array_equal(value[0], first[name][0])
    result = places.step(np.array([[1, 2], [0, 0]]), np.ones(2, np.bool_))
    assert result.observations["obs/image"].dtype == np.uint8
    assert result.rewards.tolist() == [0.5, 0.5]


def test_infos_are_passed_on():
    places = make(2, lengths=[9], success=True)
    places.reset([0, 1], [0, 1])
    result = places.step(np.array([1, 1]), np.ones(2, np.bool_))
    assert [info["is_success"] for info in result.infos] == [True, False]
    silent = make(1, lengths=[9])
    silent.reset([0], [0])
    assert silent.step(np.array([1]), np.ones(1, np.bool_)).infos is None


@pytest.mark.parametrize(
    ("fault", "words"), [("raise", "raised ValueError: the wheel fell off"), ("shape", r"shape \(2,\) in obs")]
)
def test_faults_name_the_slot(fault, words):
    places = make(3, lengths=[9], fault=fault, bad_seed=7, bad_step=0)
    places.reset([0, 1, 2], [5, 6, 7])
    with pytest.raises(SlotError, match=words) as error:
        places.step(np.array([1, 1, 1]), np.ones(3, np.bool_))
    assert error.value.slot == 2


def test_reset_faults_name_the_slot():
    places = make(2)
    places._envs[1].reset = lambda seed: (np.zeros(4), {})
    with pytest.raises(SlotError, match=r"returned shape \(4,\) in obs, but its space has \(3,\)") as error:
        places.reset([0, 1], [0, 1])
    assert error.value.slot == 1
    places._envs[1].reset = lambda seed: (np.zeros(3, np.complex128), {})
    with pytest.raises(SlotError, match="dtype complex128"):
        places.reset([1], [0])


@pytest.mark.parametrize("name", ["LunarLander-v3", "Pendulum-v1"])
def test_an_episode_depends_on_its_seed_only(name):
    """CORRECTNESS 5: neither on the slot nor on earlier episodes in it."""
    config = GymEnvConfig(id=name)
    space = describe(config).action.leaf
    places = slots(config, 2)
    first = []
    for slot, seeds in ((0, (3,)), (1, (8, 3))):
        for seed in seeds:
            start = places.reset([slot], [seed])["obs"][0]
            rng = np.random.default_rng(0)
            seen = [start]
            for _ in range(60):
                draw = rng.integers(4) if space.kind == "discrete" else rng.uniform(-1, 1, space.shape).astype(space.dtype)
                active = np.arange(2) == slot
                seen.append(places.step(np.stack([draw, draw]), active).observations["obs"][slot])
        first.append(np.stack(seen))
    np.testing.assert_array_equal(first[0], first[1])
    places.close()


@pytest.mark.parametrize(
    ("fault", "text"),
    [
        (
            "reset",
            r"returned ndarray, expected \(observation, info\); Gymnasium's API is: .*Gym's old API isn't supported",
        ),
        ("pair", r"returned tuple, expected \(observation, info\)"),
        ("seed", r"raised TypeError: .*'seed'; Gymnasium's API is: reset\(seed=\.\.\., options=\.\.\.\)"),
        ("step", r"raised ValueError: .*expected 5, got 4.*; Gymnasium's API is"),
        ("reward", r"^returned a reward of shape \(1,\), expected a number$"),
        ("list", r"^returned a reward of shape \(1,\), expected a number$"),
        ("flag", r"^returned terminated of shape \(1,\), expected a number$"),
        ("no flag", "^returned truncated of type NoneType, expected a number$"),
        ("none", "^returned a reward of type NoneType, expected a number$"),
    ],
)
@pytest.mark.parametrize("limit", [None, 5])
def test_an_environment_of_another_api_is_named(fault, text, limit):
    config = ImportEnvConfig(target="apibed:OldApi", kwargs={"fault": fault}, max_episode_steps=limit)

    def begin():
        places = slots(config, 1)
        places.reset([0], [0])
        places.step(np.array([1]), np.ones(1, np.bool_))

    with pytest.raises(SlotError, match=text):
        begin()


@pytest.mark.parametrize("fault", ["", "zero-d"])
def test_rewards_may_be_any_number(fault):
    places = slots(ImportEnvConfig(target="apibed:OldApi", kwargs={"fault": fault}), 1)
    places.reset([0], [0])
    assert places.step(np.array([1]), np.ones(1, np.bool_)).rewards.tolist() == [1.0]


def test_a_limit_truncates_an_imported_environment():
    places = slots(ImportEnvConfig(target="testbed:limited", kwargs={"spec": False}, max_episode_steps=3), 1)
    places.reset([0], [0])
    ends = [places.step(np.array([1]), np.ones(1, np.bool_)) for _ in range(3)]
    assert [bool(end.truncated[0]) for end in ends] == [False, False, True]
    assert not any(end.terminated[0] for end in ends)


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"terminated": None}, "returned terminated of type NoneType, expected a number"),
        ({"truncated": np.array([True])}, r"returned truncated of shape \(1,\), expected a number"),
        ({"info": [1]}, "returned infos of type list, expected a dict"),
        ({"obs": np.array([2.9, 3.0])}, "returned float64 in obs that does not fit uint8, its space's dtype"),
        ({"obs": np.array([-3, 300])}, "returned int64 in obs that does not fit uint8"),
        ({"obs": ["a", "b"]}, "returned <U1 in obs that does not fit uint8"),
    ],
    ids=str,
)
def test_a_step_that_contradicts_its_space_is_refused(changes, words, monkeypatch):
    """Nothing is cast silently: 2.9 does not become 2, nor -3 253."""
    monkeypatch.setattr(Odd, "changes", changes)
    places = slots(ImportEnvConfig(target="testbed:Odd"), 2)
    places.reset([0, 1], [0, 1])
    actions, active = np.zeros(2, np.int64), np.array([False, True])
    places.step(actions, active)
    with pytest.raises(SlotError, match=words) as caught:
        places.step(actions, active)
    assert caught.value.slot == 1


@pytest.mark.parametrize(
    "changes",
    [
        {"terminated": np.True_},
        {"terminated": 1},
        {"info": None},
        {"info": MappingProxyType({"a": 1})},
        {"obs": [7, 200]},
        {"obs": np.array([7.0, 200.0])},
    ],
    ids=str,
)
def test_equivalent_types_are_accepted(changes, monkeypatch):
    monkeypatch.setattr(Odd, "changes", changes)
    places = slots(ImportEnvConfig(target="testbed:Odd"), 1)
    places.reset([0], [0])
    places.step(np.zeros(1, np.int64), np.ones(1, np.bool_))
    result = places.step(np.zeros(1, np.int64), np.ones(1, np.bool_))
    assert result.observations["obs"].tolist() == [[7, 200] if "obs" in changes else [0, 0]]
    assert result.terminated.all()


def test_an_environment_that_exits_is_a_fault(monkeypatch):
    monkeypatch.setattr(Odd, "step", lambda self, action: sys.exit(3))
    places = slots(ImportEnvConfig(target="testbed:Odd"), 1)
    places.reset([0], [0])
    with pytest.raises(SlotError, match="raised SystemExit: 3"):
        places.step(np.zeros(1, np.int64), np.ones(1, np.bool_))
