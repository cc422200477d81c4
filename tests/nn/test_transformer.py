import torch

from distil.nn.transformer import Attention, CausalTransformer


def _net(seed: int = 0, num_layers: int = 2) -> CausalTransformer:
    generator = torch.Generator().manual_seed(seed)
    return CausalTransformer(3, 4, generator, width=8, num_layers=num_layers, num_heads=2, kind="silu")


def _frames() -> torch.Tensor:
    return torch.randn(2, 4, 3, generator=torch.Generator().manual_seed(1))


def test_attention_is_that_of_the_paper() -> None:
    """To tokens of another width, and to those before a query."""
    generator = torch.Generator().manual_seed(0)
    for causal, num in ((False, 6), (True, 4)):
        attention = Attention(8, 2, generator, source=5)
        x, source = torch.randn(3, 4, 8, generator=generator), torch.randn(3, num, 5, generator=generator)
        found = []
        for head in (slice(0, 4), slice(4, 8)):
            query, key, value = attention.query(x), *attention.key_value(source).split(8, -1)
            scores = query[..., head] @ key[..., head].mT / 2
            if causal:
                scores = scores.masked_fill(torch.ones(4, 4).triu(1).bool(), -torch.inf)
            found.append(scores.softmax(-1) @ value[..., head])
        torch.testing.assert_close(attention(x, source, causal=causal), attention.out(torch.cat(found, -1)))


def test_a_token_knows_the_frames_up_to_its_own() -> None:
    net, x = _net(), _frames()
    changed = x.clone()
    changed[:, 2] += 1
    tokens, others = net(x), net(changed)
    assert tokens.shape == (2, 4, net.num_out)
    torch.testing.assert_close(tokens[:, :2], others[:, :2], rtol=0, atol=1e-6)
    assert not torch.isclose(tokens[:, 2:], others[:, 2:]).all(-1).any()


def test_the_place_of_a_frame_counts() -> None:
    """Two of the frames before the last one change places: a single layer would see the same set of them."""
    net, x = _net(num_layers=1), _frames()
    swapped = x[:, [1, 0, 2, 3]]
    assert not torch.allclose(net(x)[:, -1], net(swapped)[:, -1])
    with torch.no_grad():
        net.places.zero_()
    torch.testing.assert_close(net(x)[:, -1], net(swapped)[:, -1])


def test_start_is_seeded_and_the_global_random_state_untouched() -> None:
    before = torch.get_rng_state()
    one, same, other = (_net(seed).state_dict() for seed in (0, 0, 1))
    assert torch.equal(before, torch.get_rng_state())
    assert all(torch.equal(value, same[name]) for name, value in one.items())
    changed = {name for name, value in one.items() if not torch.equal(value, other[name])}
    assert changed == {name for name in one if "norm" not in name and ".feed_forward.0." not in name}


def test_each_number_of_each_weight_counts() -> None:
    """Adam would follow the rounding errors of a gradient that is 0, and ranks would drift apart (CORRECTNESS 28)."""
    net = _net()
    net(_frames())[:, -1].pow(3).sum().backward()
    for name, weight in net.named_parameters():
        assert (weight.grad.abs() > 1e-6).float().mean() > 0.9, name
