import pytest

from distil.algorithms.rl import RlConfig
from distil.algorithms.rllib_config import RllibConfig
from distil.config import validate
from distil.errors import InputError


def test_its_keys_need_its_backend() -> None:
    assert validate(RlConfig, {"backend": "rllib", "rllib": {"config": {"lr": 0.1}}}).rllib == RllibConfig(config={"lr": 0.1})
    assert validate(RlConfig, {"backend": "rllib"}).needs.backend == "rllib"
    with pytest.raises(InputError, match="rllib has no effect with backend=distil: set backend=rllib"):
        validate(RlConfig, {"rllib": {"normalise": True}})
    with pytest.raises(InputError, match=r"rllib\.algorithm"):
        validate(RlConfig, {"backend": "rllib", "rllib": {"algorithm": "DQN"}})
