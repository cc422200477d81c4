import pytest
import torch
from headbed import Layer
from torch import nn

from distil.errors import InputError, RunError
from distil.nn.imported import class_of, make, naming_class, naming_faults

HERE = "headbed:Layer"


def test_start_weights_follow_the_generator_and_not_the_global_state() -> None:
    before = torch.get_rng_state()
    first, same, other = (
        make(Layer, HERE, "layer", {"size": 3}, torch.Generator().manual_seed(seed)).linear.weight for seed in (0, 0, 1)
    )
    assert torch.equal(first, same)
    assert not torch.equal(first, other)
    assert torch.equal(before, torch.get_rng_state())


@pytest.mark.parametrize(
    ("target", "fault"),
    [
        ("nowhere:Layer", "no module named 'nowhere'"),
        ("headbed:Layr", "has no 'Layr'; did you mean Layer"),
        ("headbed:SIZE", "not a subclass of torch.nn.modules.linear.Linear"),
        (HERE, "not a subclass of torch.nn.modules.linear.Linear; derive the class from it"),
    ],
)
def test_a_target_of_another_kind_is_refused(target: str, fault: str) -> None:
    with pytest.raises(InputError, match=fault):
        class_of(target, "layer", nn.Linear)


def test_a_constructor_that_raises_is_one_line() -> None:
    with pytest.raises(InputError, match=rf"layer {HERE}: Layer\(...\) raises TypeError: .*'width'; fix the class"):
        make(Layer, HERE, "layer", {"width": 3}, torch.Generator())
    with (
        pytest.raises(InputError, match="layer x:Y: loss raises RuntimeError: a b; fix"),
        naming_faults("x:Y", "layer", "loss"),
    ):
        raise RuntimeError("a\n  b")


class Falls(nn.Module):
    def forward(self) -> None:
        raise KeyError("a\n  b")


class Inherits(Falls):
    pass


def test_a_class_that_raises_in_a_run_is_named_in_one_line() -> None:
    fault = rf"policy {__name__}:Inherits raised KeyError: .*; fix the class"
    with pytest.raises(RunError, match=fault) as caught, naming_class([f"{__name__}:Inherits", HERE]):
        Inherits()()
    assert "\n" not in str(caught.value)
    with pytest.raises(KeyError), naming_class([HERE]):
        Falls()()
