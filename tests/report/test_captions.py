"""Captions are below the picture, which stays as it was."""

from __future__ import annotations

import numpy as np
import pytest

from distil.errors import RunError
from distil.report import captioned


def test_the_picture_is_untouched_and_the_text_is_below() -> None:
    frame = np.random.default_rng(0).integers(0, 256, (100, 300, 3), dtype=np.uint8)
    shown = captioned(frame, "policy   step 3   return -12.5")
    assert shown.shape == (122, 300, 3)
    assert np.array_equal(shown[:100], frame)
    assert (shown[100:] > 150).any()
    assert not (captioned(frame, "")[100:] > 150).any()


def test_a_small_picture_is_enlarged_without_blur() -> None:
    frame = np.arange(32 * 32 * 3, dtype=np.uint32).astype(np.uint8).reshape(32, 32, 3)
    shown = captioned(frame, "a text that is much longer than the frame is wide " * 3)
    assert shown.shape == (32 * 8 + 22, 256, 3)
    assert np.array_equal(shown[: 32 * 8 : 8, ::8], frame)


def test_a_width_scales_the_picture() -> None:
    assert captioned(np.zeros((400, 600, 3), np.uint8), "a", 240).shape == (160 + 22, 240, 3)


def test_what_is_no_picture_is_refused() -> None:
    with pytest.raises(RunError, match=r"\(8, 8\) uint8"):
        captioned(np.zeros((8, 8), np.uint8), "a")
