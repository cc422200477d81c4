import torch
from torch.nn.functional import layer_norm

from distil.nn.resmlp import ResMlp


def _net(seed: int = 0) -> ResMlp:
    return ResMlp(3, 4, 2, "tanh", torch.Generator().manual_seed(seed))


def test_blocks_add_to_their_input() -> None:
    net, x = _net(), torch.randn(5, 3, generator=torch.Generator().manual_seed(1))
    h = net.first(x)
    for _, first, _, second in net.blocks:
        h = h + second(first(layer_norm(h, (4,))).tanh())
    torch.testing.assert_close(net(x), layer_norm(h, (4,)))
    assert net.num_out == 4


def test_start_is_seeded_and_the_global_random_state_untouched() -> None:
    before = torch.get_rng_state()
    one, same, other = (_net(seed).state_dict() for seed in (0, 0, 1))
    assert torch.equal(before, torch.get_rng_state())
    assert all(torch.equal(value, same[name]) for name, value in one.items())
    assert not torch.equal(one["blocks.1.3.weight"], other["blocks.1.3.weight"])
