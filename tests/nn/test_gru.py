import numpy as np
import torch

from distil.nn.gru import Gru


def _net(seed: int = 0) -> Gru:
    return Gru(3, 25, 2, torch.Generator().manual_seed(seed))


def test_a_state_knows_the_frames_up_to_its_own() -> None:
    net, x = _net(), torch.randn(2, 4, 3, generator=torch.Generator().manual_seed(1))
    changed = x.clone()
    changed[:, 2] += 1
    states, others = net(x), net(changed)
    assert states.shape == (2, 4, net.num_out)
    assert torch.equal(states[:, :2], others[:, :2])
    assert not torch.isclose(states[:, 2:], others[:, 2:]).all(-1).any()


def test_the_update_is_that_of_the_paper() -> None:
    """A single layer's first step from a state of zeros, in which the gates' order in the weights shows."""
    net = Gru(3, 5, 1, torch.Generator().manual_seed(0))
    x = torch.randn(2, 1, 3, generator=torch.Generator().manual_seed(1))
    own = net.gru
    given, held = x[:, 0] @ own.weight_ih_l0.T + own.bias_ih_l0, own.bias_hh_l0
    reset, update = ((given + held)[:, i : i + 5].sigmoid() for i in (0, 5))
    new = (given[:, 10:] + reset * held[10:]).tanh()
    torch.testing.assert_close(net(x)[:, 0], (1 - update) * new)


def test_start_is_torchs_and_seeded() -> None:
    before = torch.get_rng_state()
    one, same, other = (_net(seed).state_dict() for seed in (0, 0, 1))
    assert torch.equal(before, torch.get_rng_state())
    assert all(torch.equal(value, same[name]) for name, value in one.items())
    assert all(not torch.equal(value, other[name]) for name, value in one.items())
    start = torch.cat([value.flatten() for value in one.values()])
    assert float(start.abs().max()) <= 0.2
    np.testing.assert_allclose(float(start.std()), 0.2 / np.sqrt(3), rtol=0.02)
