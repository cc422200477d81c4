import json
from collections.abc import Callable

import pytest

from distil.errors import InputError
from distil.heads.config import DeterministicConfig
from distil.policies.spec import PolicySpec


@pytest.mark.parametrize(
    ("observation", "action"), [("vector", "unbounded"), ("nested", "multi_discrete"), ("image", "scalar")]
)
@pytest.mark.parametrize("size", [1, 3])
def test_a_spec_goes_through_json(world: Callable, observation: str, action: str, size: int) -> None:
    spec = world(observation, action, ensemble=size, obs_horizon=2).policy.ref(0).spec
    data = json.loads(json.dumps(spec.to_json(), allow_nan=False))
    assert PolicySpec.from_json(data) == spec
    assert PolicySpec.from_json(data).to_json() == data


def test_what_an_earlier_version_left_out_has_its_default(world: Callable) -> None:
    spec = world().policy.ref(0).spec
    data = spec.to_json()
    del data["config"]["ensemble"]
    assert PolicySpec.from_json(data) == spec


def test_a_policy_of_an_earlier_version_keeps_its_tanh(world: Callable) -> None:
    data = world().policy.ref(0).spec.to_json()
    assert data["config"]["head"].pop("bound") == "clip"
    assert PolicySpec.from_json(data).config.head == DeterministicConfig(bound="tanh")


def test_an_unknown_key_is_refused(world: Callable) -> None:
    data = world().policy.ref(0).spec.to_json()
    data["config"]["chunks"] = 2
    with pytest.raises(InputError, match="its config: unknown key chunks; did you mean chunk"):
        PolicySpec.from_json(data)


def test_a_policy_prints_without_its_weights(world: Callable) -> None:
    ref = world(encoder={"hidden": [100, 100]}).policy.ref(3)
    assert "version=3" in repr(ref)
    assert "array" not in repr(ref)
