from typing import Any

import gymnasium as gym
import numpy as np
import pytest
import torch
from densitybed import ones

from distil.heads.codes import CodesHead
from distil.heads.config import CodesConfig
from distil.spaces import action_spec


def _head(labels: np.ndarray, **settings: Any) -> CodesHead:
    """A head that was fitted on labels [R, T, A], of random weights on one feature."""
    leaf = action_spec(gym.spaces.Box(-1, 1, labels.shape[2:])).leaf
    config = CodesConfig(hidden=16, **settings)
    head = config.build(leaf, 1, labels.shape[1], generator=torch.Generator().manual_seed(0))
    assert head.codes.isnan().all()
    head.fit_labels(torch.from_numpy(labels.astype(np.float32)), 3)
    return head


def _two_ways(num: int, seed: int = 0) -> np.ndarray:
    """Chunks of three steps that go left or, in 70 % of them, right."""
    rng = np.random.default_rng(seed)
    return np.where(rng.random((num, 1, 1)) < 0.7, 0.6, -0.6) + 0.05 * rng.normal(size=(num, 3, 1))


def _whole(head: CodesHead, labels: np.ndarray) -> tuple[torch.Tensor, torch.Tensor]:
    actions = torch.from_numpy(labels.astype(np.float32))
    return actions, torch.zeros(actions.shape[:2], dtype=torch.bool)


def test_codes_are_the_centres_of_the_labels_and_depend_on_the_seed_alone() -> None:
    rng = np.random.default_rng(1)
    centres = np.array([[[-0.8], [0.1]], [[0.5], [0.5]], [[0.9], [-0.9]]])
    labels = centres[rng.integers(3, size=600)] + 0.01 * rng.normal(size=(600, 2, 1))
    head = _head(labels, num_codes=3)
    found = head.codes[0].numpy()
    np.testing.assert_allclose(found[np.argsort(found[:, 0])], centres[:, :, 0], atol=0.01)
    assert torch.equal(_head(labels, num_codes=3).codes, head.codes)


def test_each_level_refines_what_the_one_before_left_over() -> None:
    labels = np.random.default_rng(0).uniform(-1, 1, (2000, 2, 2))
    head = _head(labels, num_codes=8, num_levels=3)
    codes = head._nearest(*_whole(head, labels))
    left = torch.from_numpy(labels.astype(np.float32)).flatten(1)
    errors = []
    for level in range(3):
        distance = torch.cdist(left, head.codes[level])
        assert torch.equal(distance.argmin(1), codes[:, level])
        left = left - head.codes[level][codes[:, level]]
        errors.append(float(left.square().mean()))
    assert errors[1] < 0.7 * errors[0]
    assert errors[2] < 0.7 * errors[1]


@pytest.mark.parametrize("num", [1, 2, 5])
def test_fewer_distinct_chunks_than_codes(num: int) -> None:
    """Each is a code; the codes that repeat them are nobody's. Also of constant actions."""
    chunks = np.linspace(-0.5, 0.5, num).reshape(-1, 1, 1) * np.ones((1, 3, 2))
    labels = chunks.repeat(4, 0)
    head = _head(labels, num_codes=8, num_levels=2)
    codes = head._nearest(*_whole(head, labels))
    assert len(set(codes[:, 0].tolist())) == num
    assert (codes < num).all()
    rebuilt = head.codes[0][codes[:, 0]] + head.codes[1][codes[:, 1]]
    np.testing.assert_allclose(rebuilt, labels.reshape(len(labels), -1), atol=1e-6)


def test_steps_without_a_label_choose_no_code_and_count_for_nothing() -> None:
    """CORRECTNESS 6 and 25: whatever they hold, in the middle of a chunk too."""
    head = _head(_two_ways(500), num_codes=4, num_levels=2)
    is_pad = torch.tensor([[False, True, False]])
    labels = [torch.tensor([[[0.55], [value], [0.6]]]) for value in (-0.9, 0.9, np.nan)]
    codes = [head._nearest(each, is_pad) for each in labels]
    losses = [head.loss(ones(1), each, is_pad).loss_BT[~is_pad] for each in labels]
    assert torch.equal(codes[0], codes[1])
    assert torch.equal(codes[0], codes[2])
    assert torch.equal(losses[0], losses[1])
    assert torch.equal(losses[0], losses[2])
    assert head.codes[0][codes[0][0, 0]].mean() > 0.4


@pytest.mark.parametrize("settings", [{"num_codes": 8}, {"num_codes": 4, "num_levels": 2}], ids=["bet", "residual"])
def test_both_answers_are_learned_and_their_mean_is_not_given(settings: dict[str, Any]) -> None:
    """CORRECTNESS 25: in the shares of the data, and one way through a whole chunk."""
    head, steps = _head(_two_ways(500), **settings), 200
    optimiser = torch.optim.Adam(head.parameters(), lr=0.01)
    for step in range(steps):
        actions, is_pad = _whole(head, _two_ways(256, step))
        optimiser.zero_grad()
        head.loss(ones(256), actions, is_pad).loss_BT.mean().backward()
        optimiser.step()
    samples = head.sample(ones(2000), generator=torch.Generator().manual_seed(0)).detach().numpy().reshape(-1, 3)
    inside = ((np.abs(samples) > 0.4) & (np.abs(samples) < 0.8)).all(1) & (np.ptp(np.sign(samples), 1) == 0)
    assert inside.mean() > 0.98
    assert 0.6 < (samples[inside] > 0).mean() < 0.8
    assert (head.point(ones(1)) > 0.4).all()
    assert (head.point(ones(1)) < 0.8).all()


def test_the_offset_corrects_the_code_that_was_chosen() -> None:
    """A head whose codes are off by more than they should be learns the difference, for each code its own."""
    head = _head(_two_ways(500), num_codes=2)
    head.codes.add_(torch.tensor([0.3, -0.2, 0.1]) * head.codes.sign())
    optimiser = torch.optim.Adam(head.parameters(), lr=0.01)
    for step in range(200):
        actions, is_pad = _whole(head, _two_ways(256, step))
        optimiser.zero_grad()
        found = head.loss(ones(256), actions, is_pad)
        found.loss_BT.mean().backward()
        optimiser.step()
    assert float(found.extras["offset_loss"].detach().mean()) < 0.005
    np.testing.assert_allclose(abs(head.sample(ones(100)).detach().numpy()), 0.6, atol=0.05)


def test_the_focal_loss_weighs_what_is_likely_already_less() -> None:
    labels = _two_ways(500)
    plain, focal = (_head(labels, num_codes=2, focal=focal) for focal in (0.0, 2.0))
    actions, is_pad = _whole(plain, labels[:50])
    p = (-plain.loss(ones(50), actions, is_pad).extras["code_loss"]).exp()
    found = focal.loss(ones(50), actions, is_pad).extras["code_loss"]
    torch.testing.assert_close(found, -((1 - p) ** 2) * p.log())


def test_rescaling_keeps_all_actions() -> None:
    """CORRECTNESS 34: a and its place in the wider range are the same action."""
    labels = np.random.default_rng(0).uniform(-0.9, 0.9, (300, 3, 2))
    head = _head(labels, num_codes=4, num_levels=2)
    noise = torch.rand(50, 2, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        head.offset.weight.mul_(0.1)
        head.offset.bias.mul_(0.1)
        before = head.sample_from(ones(50), noise)
        slope, shift = np.array([0.5, 1.0]), np.array([0.2, 0.0])
        high, low = np.arctanh(shift + 0.5 * slope), np.arctanh(shift - 0.5 * slope)
        head.rescale(torch.from_numpy((high - low) / 2 / np.arctanh(0.5)).float(), torch.from_numpy((high + low) / 2).float())
        after = head.sample_from(ones(50), noise)
    kept = before.abs() < 0.99
    expected = before * torch.from_numpy(slope).float() + torch.from_numpy(shift).float()
    torch.testing.assert_close(after[kept], expected[kept], atol=1e-5, rtol=0)
