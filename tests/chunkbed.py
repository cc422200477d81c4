"""Small heads that refine chunks, and their training on chunks with two right answers."""

from __future__ import annotations

from functools import cache

import gymnasium as gym
import torch

from distil.heads.base import Context, Head
from distil.heads.iterative_config import FlowConfig
from distil.nn.chunks_config import ChunkMlpConfig
from distil.spaces import action_spec

ONE, TWO = (action_spec(gym.spaces.Box(-1, 1, (size,))).leaf for size in (1, 2))
SMALL = ChunkMlpConfig(width=64, num_blocks=1)


def ones(num: int) -> Context:
    """`num` equal contexts."""
    return Context(pooled_BD=torch.ones(num, 2))


@cache
def trained(config: FlowConfig, num_steps: int) -> Head:
    """A head that has learned chunks of two actions, both close to 0.8 or both close to -0.8; the same one for all callers."""
    head = config.build(ONE, 2, 2, generator=torch.Generator().manual_seed(0))
    optimiser = torch.optim.Adam(head.parameters(), lr=5e-3)
    generator, no_pads = torch.Generator().manual_seed(1), torch.zeros(256, 2, dtype=torch.bool)
    for step in range(num_steps):
        optimiser.param_groups[0]["lr"] = 5e-3 * (1 - step / num_steps)
        side = torch.randint(2, (256, 1, 1), generator=generator) * 1.6 - 0.8
        labels = side + 0.05 * torch.randn(256, 2, 1, generator=generator)
        loss = head.loss(ones(256), labels, no_pads, generator=generator).loss_BT.mean()
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
    return head.requires_grad_(False)
