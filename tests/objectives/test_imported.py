from pathlib import Path
from typing import Any

import pytest
from torch import Tensor

from distil.errors import InputError
from distil.objectives.gradient import GradientObjective
from distil.objectives.imported import make
from distil.objectives.optimiser_config import OptimiserConfig
from distil.objectives.ranks import ALONE


class Scaled(GradientObjective):
    """The policy's loss, times a factor."""

    def __init__(self, *parts: Any, factor: float) -> None:
        super().__init__(*parts)
        self.factor = factor

    def loss(self, policy, batches, generator) -> Tensor:
        return self.factor * policy.loss(batches["demos"])


class Unfinished(GradientObjective):
    """Without a loss."""


class Lacking:
    """Knows a step alone."""

    needs, policy = {"demos": {}}, None

    def __init__(self, *parts: Any) -> None:
        pass

    def step(self, batches):
        return {}


@pytest.fixture(autouse=True)
def _importable(monkeypatch):
    monkeypatch.syspath_prepend(Path(__file__).parent)


def made(make_policy, name: str, **kwargs: Any):
    return make(f"test_imported:{name}", kwargs, make_policy(), OptimiserConfig(), ALONE)


def test_a_user_s_class_is_made_with_its_arguments(make_policy, make_batch):
    objective = made(make_policy, "Scaled", factor=3.0)
    objective.begin(5)
    expected = 3 * float(make_policy().loss(make_batch()).mean().detach())
    assert float(objective.step({"demos": make_batch()})["loss"]) == pytest.approx(expected)


@pytest.mark.parametrize(
    ("name", "kwargs", "message"),
    [
        ("Unfinished", {}, r"has no method 'loss'; write it, or derive"),
        ("Lacking", {}, r"has no 'fit_statistics'; write it, or derive"),
        ("Scaled", {}, r"failed: TypeError: .*missing 1 required keyword-only argument: 'factor'; fix it"),
        ("made", {}, r"is no class"),
        ("Scald", {}, r"did you mean Scaled"),
    ],
)
def test_what_is_wrong_with_a_class_is_named_in_one_line(make_policy, name, kwargs, message):
    with pytest.raises(InputError, match=rf"^objective.* .?test_imported:{name}.*{message}[^\n]*$"):
        made(make_policy, name, **kwargs)
