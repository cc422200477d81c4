import gymnasium as gym
import numpy as np
import pytest
import torch
from gatebed import VECTOR

from distil.experts.gates import regressor
from distil.experts.gates.evidence import predicted
from distil.experts.gates.regressor import fit_regressor
from distil.objectives.supervised import Supervised
from distil.policies.acting import acting
from distil.policies.numpy_policy import numpy_policy
from distil.policies.spec import PolicyRef
from distil.spaces import observation_spec

SPEC = observation_spec(VECTOR)


@pytest.fixture
def few(monkeypatch):
    monkeypatch.setattr(regressor, "_NUM_STEPS", 5)


def rows(num=600):
    return np.random.default_rng(0).uniform(-50, 30, size=(num, 3)).astype(np.float32)


def fit(targets, high=2.0, seed=1) -> PolicyRef:
    return fit_regressor({"obs": rows(len(targets))}, targets, high, SPEC, seed)


def test_it_finds_the_number_that_is_expected_at_an_observation():
    """The mean where targets differ, and observations in units of their own."""
    seen = rows()[:, 0]
    coin = np.random.default_rng(1).random(len(seen)) < 0.25
    ref = fit(np.where(seen > -10, 1.5, coin * 1.0))
    found = predicted(ref, {"obs": rows()})
    assert found.shape == (600,)
    assert abs(np.median(found[seen > 0]) - 1.5) < 0.1
    assert abs(found[seen < -20].mean() - 0.25) < 0.1


def test_predictions_stay_between_zero_and_the_largest_number(monkeypatch):
    """A number beyond counts as the most: it doesn't outweigh the others."""
    monkeypatch.setattr(regressor, "_NUM_STEPS", 200)
    high, coin = rows()[:, 0] > -10, np.random.default_rng(1).random(600) < 0.5
    found = predicted(fit(np.where(high, 99.0, np.where(coin, 99.0, -99.0)), high=0.5), {"obs": rows()})
    assert found.min() >= 0
    assert 0.4 < found.max() <= 0.5
    assert abs(found[rows()[:, 0] < -20].mean() - 0.25) < 0.05


def test_it_is_a_pure_function_of_data_and_seed(few):
    """CORRECTNESS 14: a resumed run fits the same one, whatever else has drawn numbers."""
    targets, before = rows()[:, 0] / 30, torch.get_rng_state()
    one = fit(targets)
    assert torch.equal(torch.get_rng_state(), before)
    torch.rand(1)
    np.random.default_rng(3).random()
    two, other = fit(targets), fit(targets, seed=2)
    assert one.arrays.keys() == two.arrays.keys()
    for name, values in one.arrays.items():
        assert np.array_equal(values, two.arrays[name]), name
    assert any(not np.array_equal(values, other.arrays[name]) for name, values in one.arrays.items())


def test_workers_run_it_without_torch_where_there_is_no_image(few):
    assert numpy_policy(fit(rows()[:, 0]), 4) is not None


def test_images_and_trees_of_observations(few, monkeypatch):
    """A batch of images is smaller: it costs so much more."""
    space = gym.spaces.Dict(image=gym.spaces.Box(0, 255, (9, 8, 3), np.uint8), kind=gym.spaces.Discrete(4))
    rng, sizes, step = np.random.default_rng(0), set(), Supervised.step
    monkeypatch.setattr(Supervised, "step", lambda self, batches: sizes.add(len(batches["demos"])) or step(self, batches))
    data = {"obs/image": rng.integers(256, size=(30, 9, 8, 3), dtype=np.uint8), "obs/kind": rng.integers(4, size=30)}
    ref = fit_regressor(data, rng.random(30), 1.0, observation_spec(space), 1)
    assert numpy_policy(ref, 4) is None
    found = acting(ref, 30).act(data)
    assert found.shape == (30, 1)
    assert ((found >= 0) & (found <= 1)).all()
    assert len(np.unique(found)) > 10
    assert max(sizes) <= 64
