import pytest
import torch
from chunkbed import ONE, SMALL

from distil.heads.base import Context
from distil.heads.iterative_config import DiffusionConfig
from distil.heads.samplers import signal_and_noise


@pytest.mark.parametrize("target", ["epsilon", "x0", "v"])
def test_the_network_that_knows_the_action_has_no_loss_and_gives_it(target: str) -> None:
    """DDPM, equation 4: x = signal a + share noise; here a = 0.3, whatever the noise is."""

    def network(context, x, time):
        signal, share = signal_and_noise(time[:, None, None], torch.sqrt, torch.cos)
        noise = (x - signal * 0.3) / share
        return {"epsilon": noise, "x0": torch.full_like(x, 0.3), "v": signal * noise - share * 0.3}[target]

    head = DiffusionConfig(network=SMALL, target=target).build(ONE, 2, 2, generator=torch.Generator().manual_seed(0))
    head.call = network
    labels, no_pads = torch.full((50, 2, 1), 0.3), torch.zeros(50, 2, dtype=torch.bool)
    context = Context(pooled_BD=torch.ones(50, 2))
    loss = head.loss(context, labels, no_pads, generator=torch.Generator().manual_seed(0)).loss_BT
    torch.testing.assert_close(loss, torch.zeros(50, 2), atol=1e-6, rtol=0)
    torch.testing.assert_close(head.sample_from(context, torch.randn(50, 2)), labels, atol=1e-4, rtol=0)
