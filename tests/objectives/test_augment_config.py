import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from gymnasium import spaces

from distil.config import validate
from distil.errors import InputError
from distil.learners.config import LearnerConfig
from distil.spaces import observation_spec

IMAGE = observation_spec(spaces.Box(0, 255, (3, 8, 6), np.uint8))
VECTOR = observation_spec(spaces.Box(-1, 1, (3,), np.float64))
CHOICE = observation_spec(spaces.Discrete(3))

not_callable = 3


@pytest.fixture(autouse=True)
def _here(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(Path(__file__).parent))


def made(*augment: dict[str, Any]) -> LearnerConfig:
    return validate(LearnerConfig, {"augment": list(augment)})


def test_augmentations_are_applied_in_order() -> None:
    config = made({"kind": "shift", "pixels": 2}, {"kind": "jitter"}, {"kind": "noise", "std": 1})
    assert [augmentation.kind for augmentation in config.augment] == ["shift", "jitter", "noise"]
    assert LearnerConfig().augment == ()


@pytest.mark.parametrize(
    ("augment", "text"),
    [
        ({"kind": "shaft"}, "no kind 'shaft'; did you mean shift"),
        ({"kind": "shift", "pixel": 3}, "did you mean pixels"),
        ({"kind": "shift", "pixels": 0}, "pixels"),
        ({"kind": "noise", "std": 0}, "std"),
        ({"kind": "jitter", "contrast": 1.5}, "contrast"),
    ],
)
def test_what_is_wrong_is_named(augment: dict[str, Any], text: str) -> None:
    with pytest.raises(InputError, match=text):
        made(augment)


@pytest.mark.parametrize(
    ("augment", "observation", "text"),
    [
        ({"kind": "shift"}, VECTOR, r"shift is for images .* the observation is Box\(3\) float64; leave it out"),
        ({"kind": "jitter"}, CHOICE, "jitter is for images"),
        ({"kind": "noise"}, IMAGE, "noise is for boxes of floats"),
        ({"kind": "shift", "pixels": 6}, IMAGE, "a shift by 6 pixels, obs has only 6; lower pixels"),
        ({"kind": "import", "target": "test_augment_config:not_callable"}, IMAGE, "can't be called"),
        ({"kind": "import", "target": "test_augment_config:no_callable"}, IMAGE, "did you mean not_callable"),
        ({"kind": "import", "target": "fractions:Fraction", "kwargs": {"x": 1}}, IMAGE, "TypeError: .*or its kwargs"),
        (
            {"kind": "import", "target": "fractions:Fraction", "kwargs": {"numerator": "x"}},
            IMAGE,
            "^augmentation .*: ValueError: ",
        ),
    ],
)
def test_what_does_not_fit_the_observation_is_refused(augment: dict[str, Any], observation: Any, text: str) -> None:
    (config,) = made(augment).augment
    with pytest.raises(InputError, match=text):
        config.check(observation)


@pytest.mark.parametrize(
    ("augment", "fits", "other"),
    [
        ({"kind": "shift", "pixels": 5}, IMAGE, observation_spec(spaces.Box(0, 255, (3, 8, 5), np.uint8))),
        ({"kind": "jitter"}, IMAGE, VECTOR),
        ({"kind": "noise"}, VECTOR, IMAGE),
    ],
    ids=["shift", "jitter", "noise"],
)
def test_what_fits_is_accepted_and_only_that(augment: dict[str, Any], fits: Any, other: Any) -> None:
    (config,) = made(augment).augment
    config.check(fits)
    with pytest.raises(InputError, match=r"learner\.augment"):
        config.check(other)


def test_the_configuration_needs_no_torch() -> None:
    code = "import sys, distil.objectives.augment_config, distil.learners.config; assert 'torch' not in sys.modules"
    subprocess.run([sys.executable, "-c", code], check=True)
