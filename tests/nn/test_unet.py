import pytest
import torch
from torch.nn.functional import conv1d

from distil.nn.chunks import ChunkSizes
from distil.nn.chunks_config import ChunkUnetConfig
from distil.nn.unet import ChunkUnet, Conv


def _made(seed: int = 0, chunk: int = 6, num_blocks: int = 1) -> ChunkUnet:
    config = ChunkUnetConfig(channels=(8, 16, 24), num_blocks=num_blocks)
    return config.build(
        ChunkSizes(num_in=3, num_out=2, chunk=chunk, num_scalars=2, context_dim=5),
        generator=torch.Generator().manual_seed(seed),
    )


def _given(chunk: int = 6) -> list[torch.Tensor]:
    generator = torch.Generator().manual_seed(1)
    given = [torch.randn(6, chunk, 3, generator=generator), torch.rand(6, 2, generator=generator)]
    return [*given, torch.randn(6, 5, generator=generator)]


@pytest.mark.parametrize(("kernel", "stride"), [(5, 1), (3, 2), (1, 1)])
def test_a_convolution_is_torchs(kernel: int, stride: int) -> None:
    generator = torch.Generator().manual_seed(0)
    conv, x = Conv(3, 4, generator, kernel, stride), torch.randn(2, 3, 8, generator=generator)
    expected = conv1d(x, conv.weight.transpose(1, 2), conv.bias, stride, kernel // 2)
    torch.testing.assert_close(conv(x[:, :, None]).squeeze(2), expected)
    bound = (3 * kernel) ** -0.5
    assert 0.8 * bound < float(conv.weight.detach().abs().max()) <= bound


@pytest.mark.parametrize("chunk", [1, 6, 8])
@pytest.mark.parametrize("num_blocks", [1, 2])
def test_each_input_and_each_weight_counts(chunk: int, num_blocks: int) -> None:
    """Chunks that can't be halved twice, too."""
    given, network = _given(chunk), _made(chunk=chunk, num_blocks=num_blocks)
    for value in given:
        value.requires_grad_()
    out = network(*given)
    assert out.shape == (6, chunk, 2)
    out.square().sum().backward()
    assert all(value.grad.abs().sum(0).min() > 0 for value in given)
    assert all(weight.grad.any() for name, weight in network.named_parameters())


def test_times_and_context_decide_what_becomes_of_a_chunk() -> None:
    network, given = _made(), _given()
    out = network(*given)
    for i in (1, 2):
        changed = [value.flip(0) if i == at else value for at, value in enumerate(given)]
        assert not torch.isclose(network(*changed), out).all(-1).any()


def test_the_first_step_and_the_last_one_know_each_other() -> None:
    """The shortest length sees the whole chunk."""
    network, (x, scalars, pooled) = _made(chunk=8), _given(8)
    changed = x.clone()
    changed[:, -1] += 1
    assert not torch.allclose(network(changed, scalars, pooled)[:, 0], network(x, scalars, pooled)[:, 0], atol=1e-5)


def test_the_start_weights_come_from_the_generator() -> None:
    state = torch.get_rng_state()
    a, b, c = _made().state_dict(), _made().state_dict(), _made(1).state_dict()
    assert torch.equal(state, torch.get_rng_state())
    assert all(torch.equal(value, b[name]) for name, value in a.items())
    assert {name for name, value in a.items() if torch.equal(value, c[name])} == {name for name in a if "norm" in name}
