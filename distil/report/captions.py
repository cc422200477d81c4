"""Captions below the frames of a video. Pillow is imported when the first one is drawn."""

from __future__ import annotations

import numpy as np

from distil.errors import RunError
from distil.types import Array

_LEAST = 240  # pixels of width: smaller frames are enlarged, so that the text can be read
_SIZE, _HEIGHT = 14, 22  # pixels of the text and of its bar
_BACK, _INK = (24, 27, 31), (232, 234, 237)


def captioned(frame: Array, text: str, width: int | None = None) -> Array:
    """Return a frame with a line of text below.

    Args:
        frame: [height, width, 3] uint8; a small one is enlarged without blur.
        text: the line; what does not fit is cut off.
        width: of the result, in pixels; None: the frame's.

    Returns:
        [height', width', 3] uint8.

    Raises:
        RunError: the frame is not an RGB image.
    """
    from PIL import Image, ImageDraw, ImageFont

    if np.ndim(frame) != 3 or np.shape(frame)[2] != 3 or frame.dtype != np.uint8:
        raise RunError(f"a frame is {np.shape(frame)} {frame.dtype}; an RGB image is (height, width, 3) uint8")
    factor = -(-_LEAST // frame.shape[1])
    if width is None and factor > 1:
        frame = frame.repeat(factor, axis=0).repeat(factor, axis=1)
    picture = Image.fromarray(np.ascontiguousarray(frame))
    if width is not None and width != picture.width:
        picture = picture.resize((width, max(1, round(picture.height * width / picture.width))), Image.Resampling.BOX)
    canvas = Image.new("RGB", (picture.width, picture.height + _HEIGHT), _BACK)
    canvas.paste(picture, (0, 0))
    ImageDraw.Draw(canvas).text((6, picture.height + 3), text, fill=_INK, font=ImageFont.load_default(_SIZE))
    return np.asarray(canvas)
