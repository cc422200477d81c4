import torch
from chunkbed import ONE, SMALL

from distil.heads.base import Context
from distil.heads.iterative_config import FlowConfig


def test_the_network_that_knows_the_action_has_no_loss_and_leads_to_it() -> None:
    head = FlowConfig(network=SMALL).build(ONE, 2, 2, generator=torch.Generator().manual_seed(0))
    head.call = lambda context, x, time: torch.full_like(x, 0.3)
    labels, no_pads = torch.full((50, 2, 1), 0.3), torch.zeros(50, 2, dtype=torch.bool)
    context = Context(pooled_BD=torch.ones(50, 2))
    loss = head.loss(context, labels, no_pads, generator=torch.Generator().manual_seed(0)).loss_BT
    torch.testing.assert_close(loss, torch.zeros(50, 2), atol=1e-6, rtol=0)
    found = head.sample_from(context, torch.randn(50, 2))
    torch.testing.assert_close(found, labels)
