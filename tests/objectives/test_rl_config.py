import pytest
from pydantic import TypeAdapter

from distil.config import validate
from distil.errors import InputError
from distil.objectives.rl_config import PpoConfig, SacConfig, SoftQConfig, StepConfig


@pytest.mark.parametrize("kind", [SacConfig, SoftQConfig, PpoConfig])
def test_the_kind_chooses_the_step(kind: type) -> None:
    adapter = TypeAdapter(StepConfig)
    assert adapter.validate_python({"kind": kind.model_fields["kind"].default}) == kind()


@pytest.mark.parametrize(
    ("kind", "key", "value"),
    [
        (SacConfig, "discount", 1.0),
        (SacConfig, "num_critics", 0),
        (SacConfig, "temperature", 0.0),
        (SacConfig, "hidden", [0]),
        (SoftQConfig, "target_rate", 0.0),
        (PpoConfig, "epochs", 0),
        (PpoConfig, "clip", 0.0),
        (PpoConfig, "trace", 1.1),
    ],
)
def test_wrong_values_are_named(kind: type, key: str, value: object) -> None:
    with pytest.raises(InputError, match=key):
        validate(kind, {key: value})


@pytest.mark.parametrize(
    ("keys", "named"),
    [
        ({"combine": "pairs", "num_critics": 3}, "even number of critics"),
        ({"optimism": 1.0, "num_critics": 4}, "set combine=pairs"),
        ({"combine": "pairs", "optimism": 1.0, "num_critics": 2}, "num_critics=4"),
    ],
)
def test_pairs_of_critics_have_to_be_pairs(keys: dict[str, object], named: str) -> None:
    with pytest.raises(InputError, match=named):
        validate(SacConfig, keys)
