from __future__ import annotations

import zlib

import numpy as np
import pytest

from distil.interchange.episodes import BadEpisodeError
from distil.interchange.pictures import decode_images, png


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


def test_sizes_are_checked_and_other_formats_refused() -> None:
    """A header may claim any size, and Pillow opens formats that run programs."""
    header = png(np.zeros((7, 5, 3), np.uint8))
    at = header.index(b"IHDR")
    chunk = b"IHDR" + (9000).to_bytes(4, "big") * 2 + header[at + 12 : at + 17]
    liar = header[:at] + chunk + zlib.crc32(chunk).to_bytes(4, "big") + header[at + 21 :]
    with pytest.raises(BadEpisodeError, match="claims 243,000,000 bytes"):
        decode_images([liar], "x")
    assert decode_images([png(np.zeros((2000, 2000, 3), np.uint8))] * 3, "x").shape == (3, 2000, 2000, 3)
    with pytest.raises(BadEpisodeError, match=r"x can't be read \(it is no PNG or JPEG\)"):
        decode_images([b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n"], "x")
