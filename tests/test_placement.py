"""Labels and resources of actors: what is refused before anything starts."""

import pytest

from distil.config import validate
from distil.errors import InputError
from distil.learners import LearnerConfig
from distil.placement import PlacementConfig
from distil.rollouts import RolloutConfig


@pytest.mark.parametrize("value", ["spot", "!spot", "in(a, b)", "!in(a,b-2)", "a_b.c"])
@pytest.mark.parametrize("key", ["role", "ray.io/node-group", "example.com/a_b"])
def test_labels_are_those_of_ray_without_spaces(key: str, value: str) -> None:
    assert validate(PlacementConfig, {"labels": {key: value}}).labels == {key: value.replace(" ", "")}


@pytest.mark.parametrize(
    ("data", "wanted"),
    [
        ({"labels": {"my role": "a"}}, "labels: 'my role' is no label's key: letters, digits"),
        ({"labels": {"role": "in()"}}, "labels: role='in\\(\\)' is no label's value: such as spot, !spot"),
        ({"labels": {"role": "-a"}}, "labels: role='-a' is no label's value"),
        ({"resources": {"CPU": 2.0}}, "resources: CPU is not set here"),
        ({"resources": {"big": 0.0}}, "resources: big=0: should be above 0"),
    ],
)
@pytest.mark.parametrize("config", [PlacementConfig, RolloutConfig, LearnerConfig])
def test_what_ray_would_refuse_later_is_named(config: type, data: dict[str, object], wanted: str) -> None:
    with pytest.raises(InputError, match=wanted):
        validate(config, data)
