"""`learner.augment:` random changes of training batches that keep the labels correct. Imports no torch."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import TYPE_CHECKING, Annotated, Any, Literal

from pydantic import Field

from distil.config import Config, import_target
from distil.errors import InputError
from distil.spaces import Leaf, SpaceSpec

if TYPE_CHECKING:
    from distil.objectives.augment import Augmentation
    from distil.policies.policy import Policy


class ShiftConfig(Config):
    """Random shifts of images: pad by repeating the border, crop at random (Yarats et al., 2021, section 3.1)."""

    kind: Literal["shift"] = "shift"
    pixels: int = Field(default=4, ge=1)  # at most, in each direction; the frames of a window move together

    def check(self, observation: SpaceSpec) -> None:
        """Raise InputError unless there are images, all of them larger than the shift."""
        for leaf in images(observation, self.kind):
            size = min(sorted(leaf.shape)[-2:])
            if self.pixels >= size:
                raise InputError(f"learner.augment: a shift by {self.pixels} pixels, {leaf.name} has only {size}; lower pixels")

    def build(self, policy: Policy) -> Augmentation:
        """Return the augmentation of batches for `policy`."""
        from distil.objectives.augment import Shift

        return Shift(images(policy.observation, self.kind), self.pixels)


class JitterConfig(Config):
    """Random brightness and contrast of images, each a factor that is uniform in [1 - value, 1 + value]."""

    kind: Literal["jitter"] = "jitter"
    brightness: float = Field(default=0.2, ge=0, le=1)
    contrast: float = Field(default=0.2, ge=0, le=1)  # about the mean of each frame

    def check(self, observation: SpaceSpec) -> None:
        """Raise InputError unless there are images."""
        images(observation, self.kind)

    def build(self, policy: Policy) -> Augmentation:
        """Return the augmentation of batches for `policy`."""
        from distil.objectives.augment import Jitter

        return Jitter(images(policy.observation, self.kind), self.brightness, self.contrast)


class ObservationNoiseConfig(Config):
    """Gaussian noise on observations of floats, drawn independently for each dimension of each frame."""

    kind: Literal["noise"] = "noise"
    std: float = Field(default=0.02, gt=0)  # in standard deviations of the dimension, as the policy's statistics have them

    def check(self, observation: SpaceSpec) -> None:
        """Raise InputError unless there are boxes of floats."""
        vectors(observation, self.kind)

    def build(self, policy: Policy) -> Augmentation:
        """Return the augmentation of batches for `policy`, whose statistics must be fitted."""
        from distil.objectives.augment import ObservationNoise

        names = [leaf.name for leaf in vectors(policy.observation, self.kind)]
        return ObservationNoise({name: policy.encoder.features.deviation(name) * self.std for name in names})


class ImportAugmentConfig(Config):
    """The user's own augmentation: a function `augment(batch, draws) -> Batch`, or a class whose instance is one.

    It gets tensors on the learner's device, must not modify them, and takes random numbers from `draws`
    (`distil.objectives.augment.Draws`), so that a resumed run draws the same ones.
    """

    kind: Literal["import"] = "import"
    target: str
    kwargs: dict[str, Any] = Field(default_factory=dict)

    def check(self, observation: SpaceSpec) -> None:
        """Raise InputError unless the target can be made and called."""
        self._make()

    def build(self, policy: Policy) -> Augmentation:
        """Return the augmentation of batches for `policy`."""
        from distil.objectives.augment import ImportedAugmentation

        return ImportedAugmentation(self.target, self._make())

    def _make(self) -> Callable[..., Any]:
        target = import_target(self.target, "augmentation")
        if isinstance(target, type):
            try:
                target = target(**self.kwargs)
            except InputError:
                raise
            except Exception as error:  # the user's own code
                reason = " ".join(f"{type(error).__name__}: {error}".split())
                raise InputError(f"augmentation {self.target}: {reason}; fix the class, or its kwargs") from error
        elif self.kwargs and callable(target):
            target = functools.partial(target, **self.kwargs)
        if not callable(target):
            raise InputError(f"augmentation {self.target}: can't be called; name a function augment(batch, draws), or a class")
        return target  # type: ignore[no-any-return]


AugmentConfig = Annotated[
    ShiftConfig | JitterConfig | ObservationNoiseConfig | ImportAugmentConfig, Field(discriminator="kind")
]


def images(observation: SpaceSpec, kind: str) -> list[Leaf]:
    """Return the leaves that are images; InputError if there are none for the augmentation `kind`."""
    found = [leaf for leaf in observation.leaves if leaf.is_image]
    if not found:
        raise InputError(
            f"learner.augment: {kind} is for images (uint8), the observation is {observation.describe()}; leave it out"
        )
    return found


def vectors(observation: SpaceSpec, kind: str) -> list[Leaf]:
    """Return the leaves that are boxes of floats; InputError if there are none for the augmentation `kind`."""
    found = [leaf for leaf in observation.leaves if leaf.kind == "box" and leaf.dtype.startswith("float")]
    if not found:
        raise InputError(
            f"learner.augment: {kind} is for boxes of floats, the observation is {observation.describe()}; leave it out"
        )
    return found
