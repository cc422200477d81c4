import torch
from chunkbed import ONE, SMALL

from distil.heads.base import Context
from distil.heads.iterative_config import TwoStepConfig


def test_the_second_step_sees_the_firstones_answer() -> None:
    head = TwoStepConfig(network=SMALL, level=0.8).build(ONE, 2, 2, generator=torch.Generator().manual_seed(0))
    head.call = lambda context, x, time: torch.where(time[:, None, None] == 0, 0.5 + x, 0.1 + x)
    torch.testing.assert_close(head.point(Context(pooled_BD=torch.ones(3, 2))), torch.full((3, 2, 1), 0.8 * 0.5 + 0.1))


def test_both_steps_are_supervised_and_the_second_one_sees_a_noisy_label() -> None:
    head = TwoStepConfig(network=SMALL, level=0.8).build(ONE, 2, 1, generator=torch.Generator().manual_seed(0))
    seen = []
    head.call = lambda context, x, time: seen.append((x, time)) or torch.zeros_like(x)
    labels, no_pads = torch.full((4000, 1, 1), 0.5), torch.zeros(4000, 1, dtype=torch.bool)
    loss = head.loss(Context(pooled_BD=torch.ones(4000, 2)), labels, no_pads, generator=torch.Generator().manual_seed(0))
    torch.testing.assert_close(loss.loss_BT, torch.full((4000, 1), 2 * 0.25))
    (first, start), (second, level) = seen
    assert not first.any()
    assert not start.any()
    assert (level == 0.8).all()
    torch.testing.assert_close(second.mean(), torch.tensor(0.4), atol=0.02, rtol=0)
    torch.testing.assert_close(second.std(), torch.tensor(0.2), atol=0.02, rtol=0)
