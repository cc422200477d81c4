"""Augmentations: random changes of training batches, on the learner's device, that keep the labels correct.

Random numbers belong to a sample's position in the global batch, so they don't depend on the number of ranks.

Legend: B batch (this rank's), H observation horizon, L frames (and leading channels), Y height, X width, C trailing channels.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any, Protocol

import torch
from torch import Tensor

from distil.errors import InputError, RunError
from distil.nn.cnn import channels_last
from distil.spaces import Leaf
from distil.types import Batch


class Draws:
    """Random numbers for this rank's slice of a global batch: each rank draws the same ones for the whole batch."""

    def __init__(self, generator: torch.Generator, *, rank: int = 0, world_size: int = 1) -> None:
        """Draw from `generator`, whose state is the same on all ranks, on its device."""
        self._generator, self._rank, self._world_size = generator, rank, world_size

    def uniform(self, num: int, *shape: int) -> Tensor:
        """Return [num, *shape] in [0, 1), where `num` is the number of samples in this rank's batch."""
        return self._draw(torch.rand, num, shape)

    def normal(self, num: int, *shape: int) -> Tensor:
        """Return [num, *shape] of the standard normal distribution."""
        return self._draw(torch.randn, num, shape)

    def integers(self, high: int, num: int, *shape: int) -> Tensor:
        """Return [num, *shape] int64 in [0, high)."""
        return (self.uniform(num, *shape) * high).long().clamp_(max=high - 1)

    def _draw(self, function: Callable[..., Tensor], num: int, shape: tuple[int, ...]) -> Tensor:
        everywhere = function((num * self._world_size, *shape), generator=self._generator, device=self._generator.device)
        return everywhere[self._rank * num : (self._rank + 1) * num]


class Augmentation(Protocol):
    """A random change of a batch. It reads no scalar from the device, and doesn't modify the batch's tensors."""

    def __call__(self, batch: Batch, draws: Draws) -> Batch:
        """Return the changed batch."""


class Augmenter:
    """Applies augmentations in order, with the generator that they draw from."""

    def __init__(
        self, augmentations: Sequence[Augmentation], device: torch.device, *, rank: int = 0, world_size: int = 1
    ) -> None:
        """Apply `augmentations` to batches on `device`."""
        self._generator = torch.Generator(device)
        self._draws = Draws(self._generator, rank=rank, world_size=world_size)
        self._augmentations = tuple(augmentations)

    def reseed(self, seed: int) -> None:
        """Restart the randomness at `seed`."""
        self._generator.manual_seed(seed)

    @torch.no_grad()
    def __call__(self, batch: Batch) -> Batch:
        """Return `batch`, this rank's slice of a global one, after all augmentations."""
        for augmentation in self._augmentations:
            batch = augmentation(batch, self._draws)
        return batch


class Shift:
    """Moves each image by up to `pixels` in each direction; the border is repeated (Yarats et al., 2021, section 3.1)."""

    def __init__(self, leaves: Sequence[Leaf], pixels: int) -> None:
        """Shift the images `leaves`."""
        self._leaves, self._pixels = leaves, pixels

    def __call__(self, batch: Batch, draws: Draws) -> Batch:
        """Return the batch with shifted images; all frames of a window move alike."""
        return replace(
            batch, observations={**batch.observations} | {x.name: self._moved(x, batch, draws) for x in self._leaves}
        )

    def _moved(self, leaf: Leaf, batch: Batch, draws: Draws) -> Tensor:
        image = batch.observations[leaf.name]
        image_BLYXC = _canonical(leaf, image)
        num, frames, height, width, _ = image_BLYXC.shape
        by_B2 = draws.integers(2 * self._pixels + 1, num, 2) - self._pixels
        count = torch.arange(max(num, frames, height, width), device=image.device)
        row_BY = (count[:height] + by_B2[:, :1]).clamp_(0, height - 1)
        column_BX = (count[:width] + by_B2[:, 1:]).clamp_(0, width - 1)
        moved_BLYXC = image_BLYXC[
            count[:num, None, None, None], count[:frames, None, None], row_BY[:, None, :, None], column_BX[:, None, None, :]
        ]
        return moved_BLYXC.view(image.shape)


class Jitter:
    """Scales the brightness of each image, and its contrast about each frame's mean."""

    def __init__(self, leaves: Sequence[Leaf], brightness: float, contrast: float) -> None:
        """Change the images `leaves` by factors that are uniform in [1 - value, 1 + value]."""
        self._leaves, self._widths = leaves, (brightness, contrast)

    def __call__(self, batch: Batch, draws: Draws) -> Batch:
        """Return the batch with changed images, uint8 again; all frames of a window get the same factors."""
        return replace(batch, observations={**batch.observations} | {x.name: self._lit(x, batch, draws) for x in self._leaves})

    def _lit(self, leaf: Leaf, batch: Batch, draws: Draws) -> Tensor:
        image = batch.observations[leaf.name]
        spread_B2 = 2 * draws.uniform(len(image), 2) - 1
        brightness, contrast = (
            (1 + width * spread_B2[:, i]).reshape(-1, *[1] * (image.ndim - 1)) for i, width in enumerate(self._widths)
        )
        bright = image.float() * brightness
        mean = bright.mean(tuple(range(2, image.ndim)), keepdim=True)
        lit: Tensor = (bright - mean) * contrast + mean
        return lit.round_().clamp_(0, 255).to(torch.uint8)


class ObservationNoise:
    """Adds Gaussian noise to observations."""

    def __init__(self, std: Mapping[str, Tensor]) -> None:
        """Noise by leaf name; `std` has the leaf's shape, and its unit."""
        self._std = std

    def __call__(self, batch: Batch, draws: Draws) -> Batch:
        """Return the batch with noisy observations."""
        noisy = {name: self._noisy(batch.observations[name], std, draws) for name, std in self._std.items()}
        return replace(batch, observations={**batch.observations} | noisy)

    def _noisy(self, values: Tensor, std: Tensor, draws: Draws) -> Tensor:
        return values + (draws.normal(*values.shape) * std).to(values.dtype)


class ImportedAugmentation:
    """The user's own augmentation; its results are checked."""

    def __init__(self, target: str, function: Callable[..., Any]) -> None:
        """Call `function(batch, draws)`, which the configuration names `target`."""
        self._target, self._function = target, function

    def __call__(self, batch: Batch, draws: Draws) -> Batch:
        """Return the function's result; RunError if it raises, or doesn't return a batch of the same shapes."""
        try:
            out = self._function(batch, draws)
        except (InputError, RunError):
            raise
        except Exception as error:
            reason = " ".join(f"{type(error).__name__}: {error}".split())
            raise RunError(
                f"augmentation {self._target} failed: {reason}; fix it, or remove it from learner.augment"
            ) from error
        have, want = _shapes(out) if isinstance(out, type(batch)) else type(out).__name__, _shapes(batch)
        if have != want:
            raise RunError(f"augmentation {self._target} returned {have}, not a {type(batch).__name__} of {want}; fix it")
        return out  # type: ignore[no-any-return]


def _canonical(leaf: Leaf, image: Tensor) -> Tensor:
    """Return images [B, H, *shape] as [B, L, Y, X, C]."""
    last = channels_last(leaf.shape)
    height, width = leaf.shape[-3:-1] if last else leaf.shape[-2:]
    return image.reshape(len(image), -1, height, width, leaf.shape[-1] if last else 1)


def _shapes(batch: Batch) -> dict[str, tuple[int, ...]]:
    tensors = {**batch.observations, "actions": batch.actions, "is_pad": batch.is_pad}
    return {name: tuple(getattr(value, "shape", ())) for name, value in tensors.items()}
