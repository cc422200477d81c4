"""What diffusion, flow, shortcut, latent and two-step heads have in common."""

import numpy as np
import pytest
import torch
from chunkbed import ONE, SMALL, TWO, ones, trained

from distil.heads.base import Context, Head
from distil.heads.iterative_config import DiffusionConfig, FlowConfig, ShortcutConfig, TwoStepConfig
from distil.heads.latent_config import LatentConfig
from distil.nn.chunks_config import ChunkMlpConfig

RANDOM = [FlowConfig(network=SMALL), DiffusionConfig(network=SMALL), ShortcutConfig(network=SMALL, num_steps=4)]
RANDOM += [DiffusionConfig(network=ChunkMlpConfig(width=64, num_blocks=2), target=target) for target in ("epsilon", "v")]
RANDOM += [LatentConfig(network=SMALL, posterior=(64,), kl_weight=0.1)]
HEADS = [*RANDOM, TwoStepConfig(network=SMALL)]


def _name(config: FlowConfig) -> str:
    return f"{config.kind}-{getattr(config, 'target', '')}"


@pytest.mark.parametrize("config", RANDOM, ids=_name)
def test_both_answers_are_learned_and_what_is_between_them_is_not_given(config: FlowConfig) -> None:
    """CORRECTNESS 25: for whole chunks."""
    samples = (
        trained(config, 300 if config in RANDOM[:2] else 600)
        .sample(ones(2000), generator=torch.Generator().manual_seed(2))
        .squeeze(-1)
        .numpy()
    )
    between = (np.abs(samples) < 0.4).any(1)
    assert between.mean() < 0.05
    assert (np.sign(samples[~between, 0]) == np.sign(samples[~between, 1])).mean() > 0.99
    assert 0.4 < (samples[:, 0] > 0).mean() < 0.6


def test_two_step_regression_lands_between_two_answers() -> None:
    """That is what it shares with other regressions."""
    assert float(trained(TwoStepConfig(network=SMALL), 100).point(ones(1)).abs().max()) < 0.3


@pytest.mark.parametrize("config", HEADS, ids=_name)
def test_steps_without_a_label_tell_the_others_nothing(config: FlowConfig) -> None:
    """CORRECTNESS 6: whatever they hold, NaN too."""
    head = config.build(TWO, 3, 3, generator=torch.Generator().manual_seed(0))
    context, is_pad = Context(pooled_BD=torch.randn(4, 3)), torch.tensor([[False, True, False]] * 4)
    labels = torch.rand(4, 3, 2) - 0.5
    found = []
    for fill in (0.9, float("nan")):
        filled = labels.masked_fill(is_pad[..., None], fill)
        found.append(head.loss(context, filled, is_pad, generator=torch.Generator().manual_seed(1)).loss_BT[~is_pad])
    assert torch.isfinite(found[0]).all()
    assert torch.equal(*found)


# Without training, the first estimates from predicted noise are cut off at the range, which is another one then.
STEADY = [config for config in HEADS if getattr(config, "target", None) != "epsilon"]


@pytest.mark.parametrize("config", STEADY, ids=_name)
def test_rescaling_moves_each_action_along_a_line(config: FlowConfig) -> None:
    """CORRECTNESS 34: and the loss of the moved labels is that of the old ones."""
    head = config.build(TWO, 3, 2, generator=torch.Generator().manual_seed(0)).requires_grad_(False)
    head.network.out.weight.mul_(0.2)  # inside the range
    context, labels, no_pads = (
        Context(pooled_BD=torch.randn(5, 3)),
        torch.rand(5, 2, 2) - 0.5,
        torch.zeros(5, 2, dtype=torch.bool),
    )
    before, loss = (f(head) for f in (lambda head: head.point(context), lambda head: _loss(head, context, labels, no_pads)))
    head.rescale(torch.tensor([0.5, 0.9]), torch.tensor([-0.2, 0.1]))
    slope, shift = head.slope, head.shift
    assert ((slope.abs() + shift.abs()) <= 1).all()  # old actions stay inside
    torch.testing.assert_close(head.point(context), before * slope + shift)
    torch.testing.assert_close(_loss(head, context, labels * slope + shift, no_pads), loss)


@pytest.mark.parametrize("config", HEADS, ids=_name)
def test_small_numbers_of_a_chunk_count_as_much_as_large_ones(config: FlowConfig) -> None:
    """Relative actions are small at the start of a chunk. The latent head's own error is in halves of the range."""
    rng = torch.Generator().manual_seed(0)
    head = config.build(TWO, 3, 3, generator=rng).requires_grad_(False)
    sizes = torch.tensor([[0.01, 0.0], [0.1, 0.1], [0.5, 0.3]])  # one number doesn't vary
    labels, no_pads = torch.randn(400, 3, 2, generator=rng) * sizes + 0.2, torch.zeros(400, 3, dtype=torch.bool)
    head.fit_labels(labels, seed=0)
    if not head.needs_labels:
        assert torch.equal(head.own(labels, no_pads), labels)
        return
    own = head.own(labels, no_pads)
    torch.testing.assert_close(own.mean(0), torch.zeros(3, 2), atol=1e-4, rtol=0)
    torch.testing.assert_close(own.std(0, correction=0), (sizes > 0).float(), atol=1e-3, rtol=0)
    head.network.out.weight.zero_()
    head.network.out.bias.fill_(9.0)  # far outside
    assert float(head.sample(Context(pooled_BD=torch.randn(5, 3))).abs().max()) <= 1


def _loss(head: Head, context: Context, labels: torch.Tensor, no_pads: torch.Tensor) -> torch.Tensor:
    return head.loss(context, labels, no_pads, generator=torch.Generator().manual_seed(1)).loss_BT


def test_what_a_wider_range_adds_can_be_reached() -> None:
    """CORRECTNESS 34: diffusion keeps its estimates inside of the range, which is the new one."""
    head = DiffusionConfig(network=SMALL).build(ONE, 2, 2, generator=torch.Generator().manual_seed(0)).requires_grad_(False)
    head.rescale(torch.tensor([0.3]), torch.tensor([-0.2]))
    head.call = lambda context, x, time: torch.full_like(x, 50.0)
    torch.testing.assert_close(head.point(ones(3)), torch.ones(3, 2, 1))
