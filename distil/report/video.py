"""Videos from frames, written by ffmpeg, which is imported only when one is written."""

from __future__ import annotations

import os
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np

from distil.errors import RunError
from distil.types import Array


def video(frames: Iterable[Array], path: Path | str, fps: float, *, crf: int = 20) -> Path:
    """Write frames as an MP4 (H.264, plays in every browser), one at a time, so memory does not grow; return `path`.

    Args:
        frames: [height, width, 3] uint8 each, all of one size; an odd size loses its last row or column.
        path: the .mp4 to write; it appears when it is complete.
        fps: frames per second.
        crf: quality of H.264: higher is smaller and worse.

    Raises:
        RunError: there are no frames, a frame is not an RGB image of the first one's size, or ffmpeg fails.
    """
    import imageio_ffmpeg  # type: ignore[import-untyped,unused-ignore]

    path = Path(path)
    part = path.with_name(f".{path.name}.part.mp4")
    path.parent.mkdir(parents=True, exist_ok=True)
    writer: Any = None
    shape: tuple[int, ...] = ()
    try:
        for index, frame in enumerate(frames):
            if writer is None:
                shape = _video_shape(frame, path)
                writer = _open_video(imageio_ffmpeg, part, shape, fps, crf)
            if np.shape(frame) != shape or frame.dtype != np.uint8:
                raise RunError(f"{path}: frame {index} is {np.shape(frame)} {frame.dtype}; the first frame was {shape} uint8")
            writer.send(np.ascontiguousarray(frame[: shape[0] // 2 * 2, : shape[1] // 2 * 2]))
        if writer is None:
            raise RunError(f"{path}: no frames to write: does the environment render (render_mode='rgb_array')?")
        writer.close()
        os.replace(part, path)
    except OSError as error:
        raise RunError(f"{path}: the video can't be written: {str(error).splitlines()[0]}") from error
    finally:
        if writer is not None:
            writer.close()
        part.unlink(missing_ok=True)
    return path


def _video_shape(frame: Array, path: Path) -> tuple[int, ...]:
    shape = np.shape(frame)
    if len(shape) != 3 or shape[2] != 3 or min(shape[:2]) < 2:
        raise RunError(f"{path}: a frame has shape {shape}; an RGB image has (height, width, 3)")
    return shape


def _open_video(imageio_ffmpeg: Any, path: Path, shape: tuple[int, ...], fps: float, crf: int) -> Any:
    writer = imageio_ffmpeg.write_frames(
        str(path),
        (shape[1] // 2 * 2, shape[0] // 2 * 2),  # the widely supported pixel format needs even sizes
        fps=fps,
        codec="libx264",
        quality=None,
        macro_block_size=1,
        ffmpeg_log_level="error",
        output_params=["-crf", str(crf), "-preset", "veryfast", "-movflags", "+faststart"],
    )
    writer.send(None)
    return writer
