"""Fits of gates: short ones, and what they were fitted to."""

import numpy as np
import pytest

from distil.experts.gates import evidence, regressor


@pytest.fixture
def few(monkeypatch):
    """Few steps of the regressor."""
    monkeypatch.setattr(regressor, "_NUM_STEPS", 20)


@pytest.fixture
def fitted(monkeypatch, few):
    """What the regressors were fitted to: (observations, targets, high)."""
    seen, fit = [], evidence.fit_regressor

    def spy(observations, targets, high, spec, seed):
        seen.append(({name: np.array(values) for name, values in observations.items()}, np.array(targets), high))
        return fit(observations, targets, high, spec, seed)

    monkeypatch.setattr(evidence, "fit_regressor", spy)
    return seen
