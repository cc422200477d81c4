import itertools

import gymnasium as gym
import numpy as np
import pytest
import torch
from scipy import stats

from distil.heads.base import Context
from distil.heads.config import CategoricalConfig
from distil.spaces import action_spec

SPACES = [gym.spaces.Discrete(4), gym.spaces.MultiDiscrete([2, 4, 3]), gym.spaces.MultiBinary(3)]


@pytest.mark.parametrize("space", SPACES)
def test_log_prob_sums_to_one(space: gym.Space) -> None:
    """CORRECTNESS 24: over every combination of choices, ragged factors included."""
    leaf = action_spec(space).leaf
    head = CategoricalConfig().build(leaf, 3, 1, generator=torch.Generator().manual_seed(0))
    every = torch.tensor(list(itertools.product(*[range(n) for n in leaf.nvec]))).unsqueeze(1)
    context = Context(pooled_BD=torch.randn(1, 3, generator=torch.Generator().manual_seed(1)).expand(len(every), 3))
    np.testing.assert_allclose(head.log_prob(context, every).exp().sum().item(), 1, atol=1e-5)


@pytest.mark.parametrize("space", SPACES)
def test_samples_match_the_probabilities(space: gym.Space) -> None:
    """CORRECTNESS 24: a chi-squared test of the joint counts."""
    leaf = action_spec(space).leaf
    head = CategoricalConfig().build(leaf, 3, 1, generator=torch.Generator().manual_seed(0))
    every = torch.tensor(list(itertools.product(*[range(n) for n in leaf.nvec]))).unsqueeze(1)
    context = torch.randn(1, 3, generator=torch.Generator().manual_seed(1))
    expected = head.log_prob(Context(pooled_BD=context.expand(len(every), 3)), every).exp().detach().double().numpy().ravel()
    drawn = (
        head.sample(Context(pooled_BD=context.expand(20_000, 3)), generator=torch.Generator().manual_seed(0)).squeeze(1).numpy()
    )
    index = np.ravel_multi_index(tuple(drawn.T), leaf.nvec)
    counts = np.bincount(index, minlength=len(every))
    assert stats.chisquare(counts, expected / expected.sum() * counts.sum()).pvalue > 0.01


def test_the_point_is_the_likeliest_choice() -> None:
    leaf = action_spec(gym.spaces.MultiDiscrete([2, 3])).leaf
    head = CategoricalConfig().build(leaf, 1, 1, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        head.linear.weight.zero_()
        head.linear.bias.copy_(torch.tensor([0.0, 1.0, 9.0, 0.0, 2.0, 1.0]))  # 9: the choice that factor 0 hasn't got
    assert head.point(Context(pooled_BD=torch.ones(1, 1))).tolist() == [[[1, 1]]]
