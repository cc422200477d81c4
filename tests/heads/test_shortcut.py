import numpy as np
import torch
from chunkbed import ONE, SMALL, ones, trained

from distil.heads.iterative_config import ShortcutConfig


def test_one_step_leads_where_four_do() -> None:
    head = trained(ShortcutConfig(network=SMALL, num_steps=4), 600)
    noise = torch.randn(500, 2, generator=torch.Generator().manual_seed(0))
    four = head.sample_from(ones(500), noise)
    one = head.call(ones(500), noise.view(500, 2, 1), torch.zeros(500), torch.ones(500))
    assert (one.sign() == four.sign()).float().mean() > 0.9
    assert (one - four).abs().median() < 0.1


def test_long_steps_learn_from_two_short_ones_and_the_shortest_from_the_flow() -> None:
    head = ShortcutConfig(network=SMALL, num_halvings=2).build(ONE, 2, 1, generator=torch.Generator().manual_seed(0))
    asked = []

    def network(context, x, time, length):
        asked.append((time.tolist(), length.tolist()))
        return x + (1 - time + length)[:, None, None]  # a velocity of 1, and more for long steps: 1 + length / (1 - time)

    head.call = network
    x, start = torch.zeros(2, 1, 1), torch.tensor([0.5, 0.0])
    end = head._two_steps(ones(2), x, start, torch.tensor([0.25, 0.5]))
    assert asked == [([0.5, 0.0], [0.0, 0.5]), ([0.75, 0.5], [0.0, 0.5])]  # 1/4 is the shortest: it is told to follow the flow
    np.testing.assert_allclose(end.ravel(), [0.5, 1.75])
