from functools import partial

import pytest
import torch

from distil.nn.rows import RowGenerator, integers, normal, uniform

CPU = torch.device("cpu")


def _generator(rank: int, world_size: int) -> RowGenerator:
    made = RowGenerator()
    made.rank, made.world_size = rank, world_size
    made.manual_seed(7)
    return made


@pytest.mark.parametrize("draw", [normal, uniform, partial(integers, 100)])
def test_ranks_draw_what_one_draws_alone(draw: partial) -> None:
    """CORRECTNESS 28: twice, so the state moves alike."""
    alone = _generator(0, 1)
    whole = [draw((6, 2), alone, CPU) for _ in range(2)]
    parts = [[draw((3, 2), each, CPU) for _ in range(2)] for each in (_generator(0, 2), _generator(1, 2))]
    assert all(torch.equal(torch.cat(both), one) for *both, one in zip(*parts, whole, strict=True))


def test_a_plain_generator_will_do() -> None:
    one, two = (normal((2,), torch.Generator().manual_seed(0), CPU) for _ in range(2))
    assert torch.equal(one, two)
    assert normal((2,), None, CPU).shape == (2,)
