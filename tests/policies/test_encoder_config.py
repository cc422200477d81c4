from collections.abc import Callable
from typing import Any

import pytest

from distil.config import validate
from distil.errors import InputError
from distil.policies.checkpoint import load_policy_ref, save_policy
from distil.policies.config import PolicyConfig

ENCODERS: list[dict[str, Any]] = [
    {"kind": "mlp", "hidden": [5, 6]},
    {"kind": "resmlp", "width": 4, "num_blocks": 2},
    {"kind": "gru", "width": 4, "num_layers": 2},
    {"kind": "transformer", "width": 4, "num_layers": 2, "num_heads": 2},
]


@pytest.mark.parametrize(
    ("data", "message"),
    [
        ({"kind": "gru"}, "encoder.kind=gru reads several observations, obs_horizon is 1: raise it, or use resmlp or mlp"),
        ({"kind": "transformer"}, "encoder.kind=transformer reads several observations"),
        ({"kind": "transformer", "width": 10}, "width=10 is no multiple of num_heads=4: change one of them"),
        ({"kind": "resmlp", "num_blocks": 0}, "num_blocks"),
        ({"kind": "resmlp", "hidden": [8]}, "encoder.hidden"),
    ],
)
def test_what_does_not_fit_is_said(data: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError, match=message):
        validate(PolicyConfig, {"encoder": data})


@pytest.mark.parametrize("encoder", ENCODERS, ids=lambda encoder: encoder["kind"])
@pytest.mark.parametrize("observation", ["vector", "image"])
def test_a_file_has_at_least_the_weights_that_its_configuration_asks_for(
    world: Callable[..., Any], tmp_path: Any, encoder: dict[str, Any], observation: str
) -> None:
    convolutions = {} if encoder["kind"] == "mlp" else {"channels": [2, 3], "image_features": 2}
    made = world(observation, "box", encoder=encoder | convolutions, obs_horizon=3)
    config, num = made.policy.spec.encoder, sum(value.numel() for value in made.policy.encoder.parameters())
    assert 0 < config.least_weights(observation == "image") <= num
    if convolutions:
        assert (config.least_weights(True) - config.least_weights(False)) == 2 + 6 + 6
    save_policy(made.policy.ref(0), tmp_path)
    assert load_policy_ref(tmp_path).spec == made.policy.spec
