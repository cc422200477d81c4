import numpy as np
import pytest

from distil.envs import ImportEnvConfig, SlotError, slots
from distil.envs.vector import _split
from distil.errors import InputError

MODES = ["NextStep", "SameStep", "Disabled"]


def make(num, target="vector", **kwargs):
    return slots(ImportEnvConfig(target=f"testbed:{target}", vectorised=True, kwargs=kwargs), num)


@pytest.mark.parametrize("mode", MODES)
def test_final_observation_is_kept_under_autoreset(mode):
    """CORRECTNESS 2: the step counter identifies the observation; after a reset it would be 0."""
    places = make(3, mode=mode, lengths=[2, 4, 3])
    places.reset([0, 1, 2], [0, 1, 2])
    active, finals = np.ones(3, np.bool_), {}
    for _ in range(4):
        result = places.step(np.array([1, 2, 3]), active)
        for slot in np.flatnonzero((result.terminated | result.truncated) & active):
            finals[int(slot)] = result.observations["obs"][slot].tolist()
        active &= ~(result.terminated | result.truncated)
    assert finals == {0: [0, 2, 1], 1: [1, 4, 2], 2: [2, 3, 3]}


@pytest.mark.parametrize("mode", MODES)
def test_a_slot_restarts_from_its_own_seed(mode):
    places = make(2, mode=mode, lengths=[2, 9])
    assert not places.resets_together
    places.reset([0, 1], [0, 1])
    active = np.ones(2, np.bool_)
    for _ in range(2):
        places.step(np.array([1, 1]), active)
    np.testing.assert_array_equal(places.reset([0], [40])["obs"], [[40, 0, 0]])
    result = places.step(np.array([2, 2]), active)
    np.testing.assert_array_equal(result.observations["obs"], [[40, 1, 2], [1, 3, 2]])
    assert result.rewards.tolist() == [1, 1]


@pytest.mark.parametrize("mode", MODES)
def test_idle_slots_may_be_stepped(mode):
    places = make(2, mode=mode, lengths=[1, 9])
    places.reset([0, 1], [0, 1])
    for step in range(1, 9):
        result = places.step(np.array([1, 1]), np.array([step == 1, True]))
        assert result.observations["obs"][1].tolist() == [1, step, 1]


@pytest.mark.parametrize("mode", ["NextStep", "SameStep"])
def test_environments_without_partial_reset_are_reset_together(mode):
    places = make(2, "PlainVector", mode=mode, lengths=[2, 3])
    assert places.resets_together
    for seeds in ([0, 1], [10, 11]):
        first = places.reset([0, 1], seeds)
        np.testing.assert_array_equal(first["obs"][:, :2], [[seeds[0], 0], [seeds[1], 0]])
        for step in range(1, 4):
            result = places.step(np.array([1, 1]), np.array([step <= 2, True]))
            assert result.observations["obs"][1].tolist() == [seeds[1], step, 1]


@pytest.mark.parametrize("kind", ["sync", "async"])
@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("started", [[0], [2], [1, 2]])
def test_the_first_reset_may_start_some_slots_only(mode, kind, started):
    """The others continue and end repeatedly; they never affect the requested episodes."""
    places = make(4, mode=mode, kind=kind, lengths=[5, 5, 5, 5])
    try:
        for wave in (started, [3]):  # another slot starts for the first time after the others' episodes
            seeds = [slot + 100 for slot in wave]
            np.testing.assert_array_equal(places.reset(wave, seeds)["obs"], [[seed, 0, 0] for seed in seeds])
            active = np.zeros(4, np.bool_)
            active[wave] = True
            for step in range(1, 6):
                result = places.step(np.full(4, 2), active)
                np.testing.assert_array_equal(result.observations["obs"][wave], [[seed, step, 2] for seed in seeds])
                assert result.terminated[wave].all() == (step == 5)
    finally:
        places.close()


@pytest.mark.parametrize("target", ["vector", "vector_of_lists"])
@pytest.mark.parametrize("mode", MODES)
def test_infos_are_those_of_the_step(mode, target):
    places = make(2, target, mode=mode, lengths=[1, 2], success=True)
    places.reset([0, 1], [0, 1])
    result = places.step(np.array([1, 1]), np.ones(2, np.bool_))
    assert [info["count"] for info in result.infos] == [1, 1]
    assert [bool(info["is_success"]) for info in result.infos] == [True, False]


@pytest.mark.parametrize("mode", MODES)
def test_nested_observations(mode):
    places = make(2, mode=mode, env="Nested")
    first = places.reset([0, 1], [3, 4])
    assert first["obs/image"].shape == (2, 4, 4, 3)
    single = slots(ImportEnvConfig(target="testbed:Nested"), 2)
    single.reset([0, 1], [3, 4])
    actions, active = np.zeros((2, 2), np.int64), np.ones(2, np.bool_)
    for _ in range(3):
        one, two = places.step(actions, active), single.step(actions, active)
        for name, value in two.observations.items():
            np.testing.assert_array_equal(one.observations[name], value)
    assert one.terminated.all()


def test_processes_work_too():
    places = make(2, kind="async", lengths=[1, 3], mode="SameStep")
    try:
        places.reset([0, 1], [0, 1])
        result = places.step(np.array([1, 1]), np.ones(2, np.bool_))
        np.testing.assert_array_equal(result.observations["obs"], [[0, 1, 1], [1, 1, 1]])
        np.testing.assert_array_equal(places.reset([0], [6])["obs"], [[6, 0, 0]])
    finally:
        places.close()


def test_an_unreliable_reset_is_refused():
    with pytest.raises(InputError, match="DISABLED"):
        make(1, kind="async", shared_memory=False)


def test_faults_are_slot_errors():
    places = make(2, lengths=[9], fault="raise", bad_seed=1, bad_step=0)
    places.reset([0, 1], [0, 1])
    with pytest.raises(SlotError, match="ValueError: the wheel fell off"):
        places.step(np.array([1, 1]), np.ones(2, np.bool_))


def test_rewards_of_another_shape_are_named():
    places = make(3, "column_vector")
    places.reset([0, 1, 2], [0, 1, 2])
    with pytest.raises(SlotError, match=r"^returned rewards of shape \(3, 1\), expected shape \(3,\)$"):
        places.step(np.array([1, 1, 1]), np.ones(3, np.bool_))


def test_a_shared_info_is_given_to_every_slot():
    found = _split(
        {"lr": 0.1, "name": "ab", "own": np.array([1, 2]), "part": np.array([3, 0]), "_part": np.array([True, False])}, 2
    )
    assert found == [{"lr": 0.1, "name": "ab", "own": 1, "part": 3}, {"lr": 0.1, "name": "ab", "own": 2}]


def test_a_reset_with_a_single_seed_is_refused():
    places = make(2, "OneSeed", mode="NextStep")
    with pytest.raises(InputError, match=r"testbed:OneSeed: reset takes one seed for all its environments.* list of seeds"):
        places.reset([0, 1], [4, 5])
