from dataclasses import dataclass

import torch

from distil.objectives.ranks import ALONE, Ranks


def test_alone_nothing_is_sent():
    assert ALONE.total([1.5, 2]) == [1.5, 2]
    assert ALONE.of_first(7) == 7
    rows = torch.arange(3.0)
    assert ALONE.gathered(rows) is rows


def test_alone_noise_is_torchs_own():
    seeded = [torch.Generator().manual_seed(3) for _ in range(2)]
    assert torch.equal(ALONE.normal(6, 2, seeded[0]), torch.randn(6, 2, generator=seeded[1]))


@dataclass(frozen=True, kw_only=True)
class Two(Ranks):
    """One of two ranks; nothing is sent."""

    world_size: int = 2


def test_ranks_have_the_noise_of_one():
    """CORRECTNESS 28: for two streams' global batches of 4 rows each, a rank has rows 0, 1 or 2, 3 of both."""
    whole = ALONE.normal(8, 3, torch.Generator().manual_seed(3), num_parts=2)
    for rank, rows in ((0, [0, 1, 4, 5]), (1, [2, 3, 6, 7])):
        generator = torch.Generator().manual_seed(3)
        assert torch.equal(Two(rank=rank).normal(4, 3, generator, num_parts=2), whole[rows])
