import pytest

from distil.cluster import num_cores
from distil.config import validate
from distil.errors import InputError
from distil.rollouts import NoiseConfig, RolloutConfig


def test_the_default_is_chosen_from_the_work():
    assert RolloutConfig().num_workers == "auto"
    assert RolloutConfig().num_cpus == num_cores()
    assert NoiseConfig().kind == "none"


@pytest.mark.parametrize(
    "data",
    [
        {"num_workers": -1},
        {"num_workers": 1.5},
        {"num_workers": "many"},
        {"num_envs": 0},
        {"shard_bytes": 0},
        {"num_envs": 2.5},
    ],
)
def test_impossible_values_are_refused(data):
    with pytest.raises(InputError, match=next(iter(data))):
        validate(RolloutConfig, data)


def test_unknown_noise_is_refused():
    with pytest.raises(InputError, match="kind"):
        validate(NoiseConfig, {"kind": "pink"})


def test_a_wrong_number_of_workers_is_one_line():
    with pytest.raises(InputError) as error:
        validate(RolloutConfig, {"num_workers": "many"})
    assert str(error.value) == "num_workers: should be auto or a number of Ray actors, such as 4 (0: no Ray), not 'many'"
