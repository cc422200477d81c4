from __future__ import annotations

import numpy as np
import pytest

from distil.store.interchange.episodes import BadEpisodeError
from distil.store.interchange.pictures import decode_images, png


@pytest.mark.parametrize("channels", [1, 3])
def test_images_come_back(channels: int) -> None:
    frames = np.random.default_rng(0).integers(0, 256, (3, 7, 5, channels), dtype=np.uint8)
    np.testing.assert_array_equal(decode_images([png(frame) for frame in frames], "x"), frames)


def test_what_is_no_image_is_said_with_its_step() -> None:
    good = png(np.zeros((7, 5, 3), np.uint8))
    with pytest.raises(BadEpisodeError, match="x can't be read") as error:
        decode_images([good, good[:40]], "x")
    assert error.value.step == 1
    with pytest.raises(BadEpisodeError, match="different sizes"):
        decode_images([good, png(np.zeros((5, 7, 3), np.uint8))], "x")
    with pytest.raises(BadEpisodeError, match="can't be read"):
        decode_images([None], "x")
