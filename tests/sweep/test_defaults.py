import pytest

from distil.config import apply_overrides, validate
from distil.runconfig import _BY_KIND, RunConfig
from distil.sweep.defaults import DEFAULTS
from distil.sweep.space import Distribution

FAMILIES = [kind for kind in _BY_KIND if kind != "import"]


@pytest.mark.parametrize("kind", FAMILIES)
def test_each_algorithm_has_a_space_of_keys_that_it_takes(kind: str) -> None:
    expert = {} if kind == "rl" else {"expert": {"kind": "scripted"}}
    data = {"env": {"id": "Pendulum-v1"}, "algorithm": {"kind": kind}, **expert}
    base = validate(RunConfig, data).model_dump(mode="json")
    for key, value in DEFAULTS[kind].items():
        for end in validate(Distribution, value).ends:
            validate(RunConfig, apply_overrides(base, {key: end}, RunConfig))
