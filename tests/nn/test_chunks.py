import torch

from distil.nn.chunks import ChunkMlp, ChunkSizes
from distil.nn.chunks_config import ChunkMlpConfig


def _made(seed: int = 0) -> ChunkMlp:
    return ChunkMlpConfig(width=16, num_blocks=2).build(
        ChunkSizes(num_in=3, num_out=2, chunk=4, num_scalars=2, context_dim=5), generator=torch.Generator().manual_seed(seed)
    )


def test_each_input_and_each_weight_counts() -> None:
    given = [torch.randn(6, 4, 3), torch.rand(6, 2), torch.randn(6, 5)]
    for value in given:
        value.requires_grad_()
    network = _made()
    out = network(*given)
    assert out.shape == (6, 4, 2)
    out.square().sum().backward()
    assert all(value.grad.abs().sum(0).min() > 0 for value in given)
    assert all(value.grad.any() for value in network.parameters())


def test_the_start_weights_come_from_the_generator() -> None:
    state = torch.get_rng_state()
    a, b, c = _made(), _made(), _made(1)
    assert torch.equal(state, torch.get_rng_state())
    assert all(torch.equal(x, y) for x, y in zip(a.parameters(), b.parameters(), strict=True))
    assert not torch.equal(a.out.weight, c.out.weight)
