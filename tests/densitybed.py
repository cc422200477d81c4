"""What every density of one number in (-1, 1) must keep, for the tests of heads."""

from __future__ import annotations

import numpy as np
import torch
from scipy import stats

from distil.heads.base import Context, DensityHead


def ones(num: int) -> Context:
    """Return `num` equal contexts of one feature."""
    return Context(pooled_BD=torch.ones(num, 1))


def integral(head: DensityHead) -> float:
    """Return the integral of exp(log_prob) over (-1, 1), but for the last 2e-6 on each side."""
    u = torch.linspace(-9, 9, 200_001, dtype=torch.float64)  # a grid in atanh(a) is fine where the density is steep
    a = u.tanh().float().clamp(-1 + 1e-6, 1 - 1e-6)
    density = head.log_prob(ones(len(a)), a.reshape(-1, 1, 1)).exp().detach().double().squeeze()
    inside = a.abs() < 1 - 2e-6
    return float(torch.trapezoid((density * (1 - u.tanh().square()))[inside], u[inside]))


def p_value_of_samples(head: DensityHead) -> float:
    """Return the p-value of a two-sample test of 4,000 samples against rejection samples of exp(log_prob)."""
    ours = head.sample(ones(4000), generator=torch.Generator().manual_seed(0)).detach().numpy().ravel()
    rng = np.random.default_rng(0)
    proposal = rng.uniform(-1, 1, 40_000).astype(np.float32)
    density = head.log_prob(ones(40_000), torch.from_numpy(proposal).reshape(-1, 1, 1)).exp().detach().numpy().ravel()
    theirs = proposal[rng.uniform(0, density.max() * 1.001, 40_000) < density]
    assert len(theirs) > 2000
    return float(stats.ks_2samp(ours, theirs).pvalue)
