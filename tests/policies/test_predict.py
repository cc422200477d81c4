from collections.abc import Callable

import numpy as np
import pytest

from distil.errors import InputError
from distil.policies.predict import Predictor


@pytest.mark.parametrize(
    ("observation", "action"), [("vector", "box"), ("ram", "scalar"), ("nested", "discrete"), ("discrete", "multi_binary")]
)
def test_one_observation_or_a_batch(world: Callable, observation: str, action: str) -> None:
    made = world(observation, action)
    predictor = Predictor(made.policy.ref(0))
    single = predictor.predict(made.observation_space.sample())
    assert made.action_space.contains(single)
    leaves = made.observations(3)
    batch = predictor.predict(made.observation.unflatten(leaves))
    assert batch.shape == (3, *made.action.leaf.shape)
    alone = predictor.predict(made.observation.unflatten({name: value[1] for name, value in leaves.items()}))
    np.testing.assert_allclose(alone, batch[1], atol=1e-6)


def test_reset_begins_a_new_episode(world: Callable) -> None:
    made = world(chunk=3, obs_horizon=2)
    predictor = Predictor(made.policy.ref(0))
    first, second = made.observation_space.sample(), made.observation_space.sample()
    action = predictor.predict(first)
    queued = predictor.predict(second)
    predictor.reset()
    assert not np.array_equal(predictor.predict(second), queued)
    predictor.reset()
    np.testing.assert_array_equal(predictor.predict(first), action)


def test_sampling_follows_the_seed(world: Callable) -> None:
    made = world(head={"kind": "gaussian"})
    predictor = Predictor(made.policy.ref(0))
    observation, actions = made.observation_space.sample(), []
    for seed in (1, 1, 2):
        predictor.reset(seed)
        actions.append(predictor.predict(observation, deterministic=False))
    np.testing.assert_array_equal(actions[0], actions[1])
    assert not np.array_equal(actions[0], actions[2])


def test_a_wrong_observation_is_named(world: Callable) -> None:
    predictor = Predictor(world().policy.ref(0))
    with pytest.raises(InputError, match=r"observation obs has shape \(4,\), the policy takes \(5,\)"):
        predictor.predict(np.zeros(4))
    nested = world("nested")
    with pytest.raises(InputError, match="isn't of the policy's space"):
        Predictor(nested.policy.ref(0)).predict({"a": np.zeros(3)})
    torn = nested.observation_space.sample() | {"a": np.zeros((2, 3))}
    with pytest.raises(InputError, match="disagree"):
        Predictor(nested.policy.ref(0)).predict(torn)
