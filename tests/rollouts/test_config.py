import pytest

from distil.config import validate
from distil.errors import InputError
from distil.rollouts import NoiseConfig, RolloutConfig


def test_defaults_are_a_fleet_of_two():
    assert RolloutConfig().num_workers == 2
    assert NoiseConfig().kind == "none"


@pytest.mark.parametrize("data", [{"num_workers": -1}, {"num_envs": 0}, {"shard_bytes": 0}, {"num_envs": 2.5}])
def test_impossible_values_are_refused(data):
    with pytest.raises(InputError, match=next(iter(data))):
        validate(RolloutConfig, data)


def test_unknown_noise_is_refused():
    with pytest.raises(InputError, match="kind"):
        validate(NoiseConfig, {"kind": "pink"})
