"""Images as PNG bytes and back, through Pillow."""

from __future__ import annotations

from collections.abc import Iterable
from io import BytesIO
from typing import Any

import numpy as np

from distil.interchange.episodes import BadEpisodeError
from distil.interchange.guard import Claims
from distil.types import Array


def png(frame: Array) -> bytes:
    """Return an image, [height, width, 1 or 3] uint8, as PNG."""
    from PIL import Image

    out = BytesIO()
    Image.fromarray(np.ascontiguousarray(frame if frame.shape[2] == 3 else frame[:, :, 0])).save(out, "PNG")
    return out.getvalue()


def decode_images(items: Iterable[Any], name: str) -> Array:
    """Return images of one size, [N, height, width, channels], from the bytes of files (PNG, JPEG).

    Raises:
        BadEpisodeError: one can't be read, or they differ in size.
    """
    from PIL import Image, UnidentifiedImageError

    frames, items = [], list(items)
    claims = Claims(sum(len(data) for data in items if isinstance(data, bytes)))
    for step, data in enumerate(items):
        try:
            with Image.open(BytesIO(data), formats=("PNG", "JPEG")) as image:
                claims.add("an image", image.width * image.height * len(image.getbands()), len(data))
                frame = np.asarray(image)
        except (OSError, TypeError, ValueError, SyntaxError, Image.DecompressionBombError) as error:
            why = "it is no PNG or JPEG" if isinstance(error, UnidentifiedImageError) else error
            raise BadEpisodeError(f"{name} can't be read ({why})", step=step) from None
        frames.append(frame if frame.ndim == 3 else frame[:, :, None])
    if len({frame.shape for frame in frames}) != 1:
        raise BadEpisodeError(f"{name}: its images are of different sizes, or there are none")
    return np.stack(frames)
