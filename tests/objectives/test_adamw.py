import pytest
import torch
from torch import nn

from distil.objectives.adamw import AdamW


def weights(seed: int) -> dict[str, nn.Parameter]:
    generator = torch.Generator().manual_seed(seed)
    return {"a": nn.Parameter(torch.randn(4, 3, generator=generator)), "b": nn.Parameter(torch.randn(5, generator=generator))}


def set_gradients(named: dict[str, nn.Parameter], seed: int) -> None:
    for name, value in weights(seed).items():
        named[name].grad = 3 * value.detach()


@pytest.mark.parametrize("max_norm", [None, 1.0, 1000.0])
def test_equals_torch_s_adamw_after_clip_grad_norm(max_norm):
    ours, theirs = weights(0), weights(0)
    optimiser = AdamW(ours, weight_decay=0.1, max_norm=max_norm)
    reference = torch.optim.AdamW(list(theirs.values()), lr=1e-2, weight_decay=0.1)
    for step in range(20):
        set_gradients(ours, step + 1)
        set_gradients(theirs, step + 1)
        norm = optimiser.step(1e-2)
        if max_norm is not None:
            expected = nn.utils.clip_grad_norm_(list(theirs.values()), max_norm)
            torch.testing.assert_close(norm, expected)
        reference.step()
    for name in ours:
        torch.testing.assert_close(ours[name], theirs[name], rtol=1e-5, atol=1e-6)


def test_saved_moments_continue_the_same_path():
    ours, other = weights(0), weights(1)
    first, second = (AdamW(named, weight_decay=0.0, max_norm=1.0) for named in (ours, other))
    set_gradients(ours, 2)
    first.step(1e-2)
    second.load({name: value.clone() for name, value in first.tensors().items()})
    for name in ours:
        other[name].data.copy_(ours[name].data)
    for named, optimiser in ((ours, first), (other, second)):
        set_gradients(named, 3)
        optimiser.step(1e-2)
    assert all(torch.equal(ours[name], other[name]) for name in ours)


def test_a_weight_without_a_gradient_is_noticed():
    named = weights(0)
    optimiser = AdamW(named, weight_decay=0.0, max_norm=None)
    set_gradients(named, 1)
    optimiser.zero_grad()
    with pytest.raises(AssertionError):
        optimiser.step(1e-2)
