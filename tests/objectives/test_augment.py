from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from gymnasium import spaces
from torch import Tensor

from distil.errors import RunError
from distil.objectives.augment import Augmenter, Draws, ImportedAugmentation, Jitter, ObservationNoise, Shift
from distil.objectives.augment_config import ImportAugmentConfig, JitterConfig, ObservationNoiseConfig, ShiftConfig
from distil.policies.config import CnnConfig, PolicyConfig
from distil.policies.policy import Policy
from distil.spaces import Leaf, SpaceSpec, action_spec, observation_spec
from distil.types import Batch


def draws(seed: int = 0, **place: int) -> Draws:
    return Draws(torch.Generator().manual_seed(seed), **place)


def observation(shape: tuple[int, ...] = (9, 7, 3)) -> SpaceSpec:
    image = spaces.Box(0, 255, shape, np.uint8)
    return observation_spec(spaces.Dict(image=image, pose=spaces.Box(-9, 9, (2,), np.float64), button=spaces.Discrete(3)))


def image_leaf(shape: tuple[int, ...] = (9, 7, 3)) -> Leaf:
    return next(leaf for leaf in observation(shape).leaves if leaf.is_image)


def batch(num: int = 6, frames: int = 2, shape: tuple[int, ...] = (9, 7, 3)) -> Batch:
    random = torch.Generator().manual_seed(7)
    return Batch(
        observations={
            "obs/image": torch.randint(0, 256, (num, frames, *shape), generator=random, dtype=torch.uint8),
            "obs/pose": torch.randn(num, frames, 2, generator=random),
            "obs/button": torch.ones(num, frames, dtype=torch.int64),
        },
        actions=torch.zeros(num, 1, 2),
        is_pad=torch.zeros(num, 1, dtype=torch.bool),
    )


@pytest.fixture
def policy() -> Policy:
    spec, action = observation(), action_spec(spaces.Box(-1, 1, (2,), np.float32))
    policy = Policy(PolicyConfig(obs_horizon=2, encoder=CnnConfig(channels=(4,), image_features=4, hidden=(8,))), spec, action)
    pose = np.stack([np.arange(50) * 2.0, np.full(50, 3.0)], 1)
    policy.fit_normaliser({"obs/pose": pose, "action": np.zeros((50, 2), "f4")})
    return policy


CPU = torch.device("cpu")
ALL = (ShiftConfig(pixels=2), JitterConfig(), ObservationNoiseConfig(std=0.1))


def slow_shift(image: Tensor, dy: int, dx: int, axes: tuple[int, int]) -> Tensor:
    """Pad by repeating the border, crop: of one image, with numpy."""
    pad = [(2, 2) if axis in axes else (0, 0) for axis in range(image.ndim)]
    padded = np.pad(image.numpy(), pad, mode="edge")
    at = [slice(None)] * image.ndim
    for axis, by in zip(axes, (dy, dx), strict=True):
        at[axis] = slice(2 + by, 2 + by + image.shape[axis])
    return torch.from_numpy(padded[tuple(at)])


@pytest.mark.parametrize(
    ("shape", "axes"),
    [((9, 7, 3), (0, 1)), ((3, 9, 7), (1, 2)), ((9, 7), (0, 1)), ((2, 9, 7, 3), (1, 2)), ((2, 3, 9, 7), (2, 3))],
)
def test_a_shift_pads_with_the_border_and_crops(shape: tuple[int, ...], axes: tuple[int, int]) -> None:
    before = batch(shape=shape, num=40)
    kept = before.observations["obs/image"].clone()
    after = Shift([image_leaf(shape)], 2)(before, draws())
    assert after.observations["obs/image"].dtype == torch.uint8
    moves = set()
    for image, moved in zip(kept, after.observations["obs/image"], strict=True):
        fits = [
            (dy, dx)
            for dy in range(-2, 3)
            for dx in range(-2, 3)
            if all(torch.equal(slow_shift(image[frame], dy, dx, axes), moved[frame]) for frame in range(2))
        ]
        assert len(fits) == 1  # one move for all frames
        moves.add(fits[0])
    assert {dy for dy, _ in moves} == {dx for _, dx in moves} == {-2, -1, 0, 1, 2}
    assert torch.equal(before.observations["obs/image"], kept)
    assert after.observations["obs/pose"] is before.observations["obs/pose"]


def test_brightness_and_contrast_are_factors() -> None:
    leaf = image_leaf()
    flat = batch(num=200)
    flat = replace(flat, observations={**flat.observations, "obs/image": torch.full((200, 2, 9, 7, 3), 100, dtype=torch.uint8)})
    bright = Jitter([leaf], 0.3, 0.5)(flat, draws()).observations["obs/image"]
    assert bright.dtype == torch.uint8
    level = bright[:, 0, 0, 0, 0].float()
    assert (bright == bright[:, :1, :1, :1, :1]).all()  # no contrast in a flat image, and one factor for both frames
    assert 70 <= level.min() < 75
    assert 125 < level.max() <= 130
    image = batch(num=200).observations["obs/image"] // 4 + 96  # far from the ends
    spread = replace(flat, observations={**flat.observations, "obs/image": image})
    after = Jitter([leaf], 0.0, 0.5)(spread, draws()).observations["obs/image"].float()
    torch.testing.assert_close(after.mean((2, 3, 4)), image.float().mean((2, 3, 4)), rtol=0, atol=0.3)
    ratio = after.std((2, 3, 4)) / image.float().std((2, 3, 4))
    torch.testing.assert_close(ratio[:, 0], ratio[:, 1], rtol=0, atol=0.05)
    assert 0.49 < ratio.min() < 0.55
    assert 1.45 < ratio.max() < 1.51
    assert torch.equal(Jitter([leaf], 0.0, 0.0)(spread, draws()).observations["obs/image"], image)


def test_bright_pixels_are_clamped() -> None:
    white = batch()
    white = replace(
        white, observations={**white.observations, "obs/image": torch.full((6, 2, 9, 7, 3), 250, dtype=torch.uint8)}
    )
    after = Jitter([image_leaf()], 1.0, 0.0)(white, draws(3)).observations["obs/image"]
    assert after.max() == 255  # not wrapped around


def test_noise_is_in_units_of_the_deviation(policy: Policy) -> None:
    (before,) = (batch(num=4000),)
    noise = ObservationNoiseConfig(std=0.1).build(policy)
    assert isinstance(noise, ObservationNoise)
    after = noise(before, draws())
    change = after.observations["obs/pose"] - before.observations["obs/pose"]
    assert after.observations["obs/pose"].dtype == torch.float32
    std = float(np.std(np.arange(50) * 2.0))
    assert float(change[..., 0].std()) == pytest.approx(0.1 * std, rel=0.03)
    assert float(change[..., 1].std()) == pytest.approx(0.1, rel=0.03)  # constant in training: its own unit
    assert abs(float(change[..., 0].mean())) < 0.05 * std * 0.1
    frames = torch.stack([change[:, 0, 0], change[:, 1, 0]])
    assert abs(float(torch.corrcoef(frames)[0, 1])) < 0.05  # each frame its own
    assert after.observations["obs/button"] is before.observations["obs/button"]


@pytest.mark.parametrize("world_size", [2, 3])
def test_ranks_draw_what_one_rank_draws(policy: Policy, world_size: int) -> None:
    """CORRECTNESS 28."""
    whole = batch()
    alone = Augmenter([config.build(policy) for config in ALL], CPU)
    alone.reseed(5)
    expected, size = [alone(whole), alone(whole)], 6 // world_size
    for rank in range(world_size):
        augmenter = Augmenter([config.build(policy) for config in ALL], CPU, rank=rank, world_size=world_size)
        augmenter.reseed(5)
        rows = slice(rank * size, (rank + 1) * size)
        part = Batch(
            observations={name: value[rows] for name, value in whole.observations.items()},
            actions=whole.actions[rows],
            is_pad=whole.is_pad[rows],
        )
        for want in expected:
            got = augmenter(part)
            for name, value in got.observations.items():
                assert torch.equal(value, want.observations[name][rows])


def test_a_seed_restarts_the_randomness(policy: Policy) -> None:
    augmenter, results = Augmenter([config.build(policy) for config in ALL], CPU), []
    for seed in (1, 1, 2):
        augmenter.reseed(seed)
        results.append([augmenter(batch()).observations["obs/image"] for _ in range(2)])
    assert torch.equal(results[0][1], results[1][1])
    assert not torch.equal(results[0][0], results[0][1])
    assert not torch.equal(results[0][1], results[2][1])
    nothing = batch()
    assert Augmenter((), CPU)(nothing) is nothing


def test_integers_are_uniform_and_below_their_end() -> None:
    values = draws().integers(5, 5000)
    assert values.unique().tolist() == [0, 1, 2, 3, 4]
    assert torch.bincount(values).min() > 900
    assert draws().uniform(3, 2).shape == draws().normal(3, 2).shape == (3, 2)


class Mirror:
    """Somebody's own: mirrors images of samples that a draw picks."""

    def __init__(self, chance: float) -> None:
        self.chance = chance

    def __call__(self, batch: Batch, draws: Draws) -> Batch:
        image = batch.observations["obs/image"]
        chosen = (draws.uniform(len(image)) < self.chance).reshape(-1, 1, 1, 1, 1)
        return replace(batch, observations={**batch.observations, "obs/image": torch.where(chosen, image.flip(3), image)})


def test_a_user_s_augmentation(policy: Policy, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(Path(__file__).parent))
    augmenter = Augmenter([ImportAugmentConfig(target="test_augment:Mirror", kwargs={"chance": 1.0}).build(policy)], CPU)
    before = batch()
    assert torch.equal(augmenter(before).observations["obs/image"], before.observations["obs/image"].flip(3))


def _raises(batch: Batch, draws: Draws) -> Any:
    raise ValueError("no\nluck")


@pytest.mark.parametrize(
    ("function", "text"),
    [
        (_raises, "augmentation mine failed: ValueError: no luck; fix it"),
        (lambda batch, draws: None, "augmentation mine returned NoneType, not a Batch"),
        (lambda batch, draws: replace(batch, observations={}), "augmentation mine returned"),
        (lambda batch, draws: replace(batch, actions=batch.actions[:2]), "augmentation mine returned"),
    ],
)
def test_results_of_a_user_s_augmentation_are_checked(function: Callable[..., Any], text: str) -> None:
    with pytest.raises(RunError, match=text) as error:
        ImportedAugmentation("mine", function)(batch(), draws())
    assert "\n" not in str(error.value)
