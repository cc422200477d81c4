from distil.envs import GymEnvConfig, ListSlots, slots


def test_known_environments_use_their_native_form():
    config = GymEnvConfig(id="CartPole-v1")
    assert not isinstance(slots(config, 2), ListSlots)
    assert isinstance(slots(config, 2, native=False), ListSlots)
    assert slots(config, 2, native=False).envs is not None
