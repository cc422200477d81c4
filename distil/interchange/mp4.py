"""MP4 files as RGB frames, in order, through the ffmpeg that imageio-ffmpeg brings (H.264 and AV1, both ways)."""

from __future__ import annotations

import subprocess
import tempfile
from contextlib import suppress
from fractions import Fraction
from pathlib import Path
from types import TracebackType
from typing import IO, Any, Literal, Self

import numpy as np

from distil.errors import RunError
from distil.interchange.episodes import BadEpisodeError
from distil.types import Array

Codec = Literal["h264", "av1"]
_OPTIONS: dict[str, list[str]] = {
    "h264": ["-c:v", "libx264", "-preset", "fast", "-bf", "0", "-crf"],
    "av1": ["-c:v", "libsvtav1", "-preset", "12", "-svtav1-params", "log-level=0", "-crf"],
}


class _Ffmpeg:
    """A running ffmpeg; its complaints go to a file, so that neither of us waits for the other."""

    def __init__(self, path: Path, arguments: list[str], **pipes: Any) -> None:
        import imageio_ffmpeg  # type: ignore[import-untyped,unused-ignore]

        self.path = path
        self._log: IO[bytes] = tempfile.TemporaryFile()  # noqa: SIM115 (closed by `end`)
        command = [imageio_ffmpeg.get_ffmpeg_exe(), "-nostdin", "-v", "error", "-y", "-threads", "1", *arguments]
        self.process = subprocess.Popen(command, stderr=self._log, **pipes)

    def end(self, *, kill: bool) -> str:
        """Close the pipes, wait, and return ffmpeg's complaint if it failed by itself."""
        if kill:
            self.process.kill()
        for pipe in (self.process.stdin, self.process.stdout):
            if pipe is not None and not pipe.closed:
                with suppress(BrokenPipeError):
                    pipe.close()
        code = self.process.wait()
        if self._log.closed:
            return ""
        self._log.seek(0)
        lines = self._log.read().decode(errors="replace").strip().splitlines()
        self._log.close()
        return "" if code == 0 or kill else (lines[-1][:200] if lines else f"exit code {code}")


class Mp4Writer:
    """Writes frames of one size to an MP4, every second one a key frame, as LeRobot does: any is quickly reached.

    Even sizes get yuv420p, which everything plays; odd ones need yuv444p.
    """

    def __init__(self, path: Path, size: tuple[int, int], fps: int, codec: Codec, crf: int) -> None:
        """Begin a file of frames of `size` (height, width)."""
        path.parent.mkdir(parents=True, exist_ok=True)
        self.size, self.num_frames = size, 0
        self.pix_fmt = "yuv420p" if size[0] % 2 == size[1] % 2 == 0 or codec == "av1" else "yuv444p"
        source = ["-f", "rawvideo", "-pix_fmt", "rgb24", "-s", f"{size[1]}x{size[0]}", "-r", str(fps), "-i", "-"]
        options = [*_OPTIONS[codec], str(crf), "-g", "2", "-pix_fmt", self.pix_fmt, "-movflags", "+faststart"]
        self._ffmpeg = _Ffmpeg(path, [*source, *options, str(path)], stdin=subprocess.PIPE)

    def write(self, frames: Array) -> None:
        """Add frames, [N, height, width, 3] uint8."""
        pipe = self._ffmpeg.process.stdin
        assert pipe is not None
        assert frames.shape[1:] == (*self.size, 3)
        try:
            pipe.write(np.ascontiguousarray(frames).data)
        except BrokenPipeError:
            raise self._failed(self._ffmpeg.end(kill=False)) from None
        self.num_frames += len(frames)

    def close(self) -> None:
        """Finish the file; RunError when ffmpeg failed."""
        if fault := self._ffmpeg.end(kill=False):
            raise self._failed(fault)

    def abort(self) -> None:
        """Stop without finishing."""
        self._ffmpeg.end(kill=True)

    def _failed(self, fault: str) -> RunError:
        return RunError(f"{self._ffmpeg.path}: the video can't be written: {fault}; images=png needs none")


def frame_times(path: Path) -> Array:
    """Return when each frame is shown, [N] seconds from the first one, ascending. Nothing is decoded.

    Raises:
        BadEpisodeError: the file isn't a video, or is damaged.
    """
    output = ["-map", "0:v:0", "-c", "copy", "-f", "framecrc", "-"]
    ffmpeg = _Ffmpeg(path, ["-i", str(path), *output], stdout=subprocess.PIPE, stdin=subprocess.DEVNULL)
    assert ffmpeg.process.stdout is not None
    lines = ffmpeg.process.stdout.read().decode(errors="replace").splitlines()
    if fault := ffmpeg.end(kill=False):
        raise BadEpisodeError(f"the video can't be read: {fault}", file=str(path))
    unit = next((Fraction(line.removeprefix("#tb 0:").strip()) for line in lines if line.startswith("#tb 0:")), Fraction(1))
    stamps = np.array([int(line.split(",")[2]) for line in lines if not line.startswith("#")], np.int64)
    stamps = np.sort(stamps[stamps >= 0])  # those before 0 are cut off by the file's edit list
    return (stamps - stamps[:1]) * float(unit)


class Mp4Reader:
    """Reads frames in order. The position is the number of the next frame."""

    def __init__(self, path: Path) -> None:
        """Begin at the first frame; a fault shows when frames are taken."""
        self.position = 0
        output = ["-map", "0:v:0", "-fps_mode", "passthrough", "-f", "image2pipe", "-c:v", "ppm", "-pix_fmt", "rgb24", "-"]
        source = ["-xerror", "-i", str(path)]  # else damaged frames are guessed from others, and only a log says so
        self._ffmpeg = _Ffmpeg(path, [*source, *output], stdout=subprocess.PIPE, stdin=subprocess.DEVNULL)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.close()

    def close(self) -> None:
        """Stop reading."""
        self._ffmpeg.end(kill=True)

    def take(self, num: int) -> Array:
        """Return the next frames, [N, height, width, 3] uint8; fewer than `num` at the end of the video.

        Raises:
            BadEpisodeError: the file isn't a video, or is damaged.
        """
        frames: list[Array] = []
        while len(frames) < num and (frame := self._next()) is not None:
            frames.append(frame)
        self.position += len(frames)
        return np.stack(frames) if frames else np.zeros((0, 0, 0, 3), np.uint8)

    def skip(self, num: int) -> None:
        """Pass over frames."""
        for _ in range(num):
            if self._next() is None:
                return
            self.position += 1

    def _next(self) -> Array | None:
        """Return one frame of ffmpeg's PPM stream: a line "P6", one with width and height, one with 255, the pixels."""
        pipe = self._ffmpeg.process.stdout
        assert pipe is not None
        if pipe.closed or not pipe.readline():
            if fault := self._ffmpeg.end(kill=False):
                raise BadEpisodeError(f"the video can't be read: {fault}", file=str(self._ffmpeg.path))
            return None
        width, height = (int(size) for size in pipe.readline().split())
        pipe.readline()
        data = pipe.read(width * height * 3)
        if len(data) < width * height * 3:
            raise BadEpisodeError("the video ends within a frame", file=str(self._ffmpeg.path))
        return np.frombuffer(data, np.uint8).reshape(height, width, 3)
