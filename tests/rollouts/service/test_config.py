import pytest

from distil.config import validate
from distil.errors import InputError
from distil.rollouts import RolloutConfig


def test_experts_live_in_the_workers_unless_a_service_is_wanted():
    assert RolloutConfig().service is None
    assert RolloutConfig(num_workers=3).num_cpus == 3
    config = validate(RolloutConfig, {"num_workers": 3, "service": {"replicas": 2, "num_cpus": 0.75}})
    assert config.num_cpus == 3 + 2  # a session of Ray must have room for both


@pytest.mark.parametrize("key", ["replicas", "max_batch", "timeout_s", "cache", "calls_per_s", "concurrency"])
def test_impossible_sizes_are_refused(key):
    with pytest.raises(InputError, match=rf"service\.{key}"):
        validate(RolloutConfig, {"service": {key: 0}})


def test_a_typo_is_named():
    with pytest.raises(InputError, match="retries"):
        validate(RolloutConfig, {"service": {"retris": 1}})
