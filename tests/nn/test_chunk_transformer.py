import pytest
import torch

from distil.nn.chunk_transformer import ChunkTransformer
from distil.nn.chunks import ChunkSizes
from distil.nn.chunks_config import ChunkTransformerConfig


def _made(seed: int = 0, num_scalars: int = 2) -> ChunkTransformer:
    config = ChunkTransformerConfig(width=16, num_layers=2, num_heads=2)
    return config.build(
        ChunkSizes(num_in=3, num_out=2, chunk=4, num_scalars=num_scalars, context_dim=5),
        generator=torch.Generator().manual_seed(seed),
    )


def _given(num_scalars: int = 2) -> list[torch.Tensor]:
    """A chunk, scalars, and a context with three tokens."""
    generator = torch.Generator().manual_seed(1)
    shapes = (6, 4, 3), (6, num_scalars), (6, 5), (6, 3, 5)
    return [torch.rand(shape, generator=generator) for shape in shapes]


@pytest.mark.parametrize("num_scalars", [0, 2])
def test_each_input_and_each_weight_counts(num_scalars: int) -> None:
    """The context's tokens are read where there are some, otherwise the context."""
    for unread in (2, 3):
        given, network = _given(num_scalars), _made(num_scalars=num_scalars)
        for value in given:
            value.requires_grad_()
        out = network(*given[: 4 if unread == 2 else 3])
        assert out.shape == (6, 4, 2)
        out.square().sum().backward()
        assert given[unread].grad is None
        assert all(given[i].grad.abs().sum(0).min() > 0 for i in range(4) if i != unread and given[i].numel())
        assert all(weight.grad.any() for weight in network.parameters())


def test_steps_attend_to_all_steps_and_know_their_places() -> None:
    network, (x, *rest) = _made(), _given()
    out = network(x, *rest)
    later = x.clone()
    later[:, -1] += 1
    assert not torch.isclose(network(later, *rest)[:, 0], out[:, 0], atol=1e-5).all(-1).any()
    moved = network(x.flip(1), *rest).flip(1)
    assert not torch.allclose(moved, out)
    with torch.no_grad():
        network.places.zero_()
    torch.testing.assert_close(network(x.flip(1), *rest).flip(1), network(x, *rest))


def test_a_context_without_tokens_is_one_token() -> None:
    network, (x, scalars, pooled, _) = _made(), _given()
    torch.testing.assert_close(network(x, scalars, pooled), network(x, scalars, pooled, pooled[:, None]))
    assert not torch.allclose(network(x, scalars.flip(0), pooled), network(x, scalars, pooled))


def test_the_start_weights_come_from_the_generator() -> None:
    state = torch.get_rng_state()
    a, b, c = _made().state_dict(), _made().state_dict(), _made(1).state_dict()
    assert torch.equal(state, torch.get_rng_state())
    assert all(torch.equal(value, b[name]) for name, value in a.items())
    same = {name for name, value in a.items() if torch.equal(value, c[name])}
    assert same == {name for name in a if "norm" in name or ".feed_forward.0." in name}
