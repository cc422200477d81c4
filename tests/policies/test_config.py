import gymnasium as gym
import numpy as np
import pytest

from distil.config import validate
from distil.errors import InputError
from distil.heads.config import CategoricalConfig, DeterministicConfig
from distil.policies.config import AutoEncoderConfig, CnnConfig, MlpConfig, PolicyConfig
from distil.spaces import action_spec, observation_spec

VECTOR = observation_spec(gym.spaces.Box(-1, 1, (3,)))
IMAGE = observation_spec(gym.spaces.Dict(a=gym.spaces.Box(-1, 1, (3,)), b=gym.spaces.Box(0, 255, (8, 8, 3), np.uint8)))
BOX, CHOICE = action_spec(gym.spaces.Box(-1, 1, (2,))), action_spec(gym.spaces.Discrete(2))


def test_auto_follows_the_spaces() -> None:
    plain = PolicyConfig().resolve(VECTOR, BOX)
    assert (plain.encoder, plain.head) == (MlpConfig(), DeterministicConfig())
    seen = PolicyConfig(encoder=AutoEncoderConfig(hidden=(8,), activation="tanh")).resolve(IMAGE, CHOICE)
    assert (seen.encoder, seen.head) == (CnnConfig(hidden=(8,), activation="tanh"), CategoricalConfig())


def test_kind_may_be_left_out() -> None:
    assert validate(PolicyConfig, {"encoder": {"hidden": [64]}}).encoder == AutoEncoderConfig(hidden=(64,))


@pytest.mark.parametrize(
    ("data", "message"),
    [
        ({"encoder": {"hiden": [8]}}, "encoder.hiden; did you mean hidden"),
        ({"encoder": {"kind": "ml"}}, "did you mean mlp"),
        ({"encoder": {"hidden": [0]}}, r"encoder.hidden.0"),
        ({"chunk": 2, "execute": 3}, "raise chunk or lower execute"),
        ({"ensemble": 0}, "ensemble"),
        ({"temporal_ensemble": {}}, "which chunk=1 has none of: raise chunk"),
        ({"temporal_ensemble": {}, "chunk": 4, "execute": 2}, "execute=2 does not: leave execute at null"),
        ({"temporal_ensemble": {"decay": -1}, "chunk": 4}, "temporal_ensemble.decay"),
    ],
)
def test_faults_are_named(data: dict, message: str) -> None:
    with pytest.raises(InputError, match=message):
        validate(PolicyConfig, data)


def test_cnn_without_an_image_is_refused() -> None:
    with pytest.raises(InputError, match="use mlp"):
        PolicyConfig(encoder=CnnConfig()).resolve(VECTOR, BOX)


def test_only_box_actions_are_averaged() -> None:
    config = validate(PolicyConfig, {"temporal_ensemble": {}, "chunk": 4})
    assert (config.num_executed, config.is_stateful) == (1, True)
    with pytest.raises(InputError, match=r"policy.temporal_ensemble averages actions, which doesn't fit discrete actions"):
        config.resolve(VECTOR, CHOICE)
