"""Which frames of a LeRobot dataset's MP4 files are an episode's, by the video's own clock.

A file holds many episodes; `meta/episodes` says from which time to which each lasts. That is compared with the time stamps in
the file before any frame is taken: counting frames alone would give neighbouring episodes' frames where the clocks differ.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np

from distil.interchange.episodes import BadEpisodeError, Finding, Report
from distil.interchange.mp4 import Mp4Reader, frame_times
from distil.types import Array

_JITTER = 0.03  # of the rate: more is another rate
_TOLERANCE = 0.1  # frames of the dataset: how far a time stamp may be from the one that is wanted


@dataclass(frozen=True, kw_only=True)
class Span:
    """An episode's part of a video file."""

    episode: int
    length: int
    start_s: float
    end_s: float


class Films:
    """The videos of a dataset, read in the episodes' order."""

    def __init__(self, source: Path, info: Mapping[str, Any], meta: Mapping[int, Mapping[str, Any]], report: Report) -> None:
        """Prepare; nothing is opened.

        Args:
            source: the dataset's folder.
            info: meta/info.json.
            meta: episode -> its row of meta/episodes.
            report: told of a clock that isn't the dataset's but can be followed.
        """
        self._source, self._fps, self._pattern = source, float(info["fps"]), str(info.get("video_path"))
        self._meta, self._report = meta, report
        self._readers: dict[str, tuple[Path, Mp4Reader]] = {}
        self._maps: dict[Path, dict[int, Array] | BadEpisodeError] = {}

    def take(self, name: str, episode: int) -> Array:
        """Return an episode's frames of one camera, [T, height, width, 3] uint8.

        Raises:
            BadEpisodeError: the video is missing or damaged, or its clock contradicts the metadata.
        """
        path = self._path(name, episode)
        if path not in self._maps:
            self._maps[path] = self._match(name, path, self._place(name, episode))
        found = self._maps[path]
        if isinstance(found, BadEpisodeError):
            raise BadEpisodeError(found.what, file=str(path))
        wanted, reader = found[episode], self._reader(name, path, int(found[episode][0]))
        frames: list[Array] = []
        for number in wanted.tolist():
            reader.skip(number - reader.position)
            taken = reader.take(1)
            if not len(taken):
                what = f"its video ends {len(wanted) - len(frames)} frames too early"
                raise BadEpisodeError(what, step=len(frames), file=str(path))
            frames.append(taken[0])
        return np.stack(frames)

    def close(self) -> None:
        """Close the videos."""
        for _, reader in self._readers.values():
            reader.close()
        self._readers.clear()

    def _path(self, name: str, episode: int) -> Path:
        place = self._place(name, episode)
        if None in place:
            raise BadEpisodeError(f"meta/episodes doesn't say where its video of {name} is")
        chunk, file = (int(index) for index in place)
        path = self._source / self._pattern.format(video_key=name, chunk_index=chunk, file_index=file)
        if not path.resolve().is_relative_to(self._source.resolve()) or not path.is_file():
            raise BadEpisodeError("its video is missing", file=str(path))
        return path

    def _reader(self, name: str, path: Path, first: int) -> Mp4Reader:
        opened = self._readers.get(name)
        if opened is None or opened[0] != path or opened[1].position > first:
            if opened is not None:
                opened[1].close()
            self._readers[name] = opened = (path, Mp4Reader(path))
        return opened[1]

    def _match(self, name: str, path: Path, place: tuple[Any, Any]) -> dict[int, Array] | BadEpisodeError:
        """Return episode -> the numbers of its frames, of all episodes in a file; or what is wrong with the file."""
        key, spans = f"videos/{name}", []
        for episode, row in self._meta.items():
            if self._place(name, episode) == place and int(row["length"]):
                begins, ends = (row.get(f"{key}/{name}_timestamp") for name in ("from", "to"))
                start, length = float("nan" if begins is None else begins), int(row["length"])
                end = start + length / self._fps if ends is None else float(ends)
                spans.append(Span(episode=episode, length=length, start_s=start, end_s=end))
        try:
            times = frame_times(path)
            return match(times, spans, self._fps, lambda what: self._report(Finding(file=str(path), what=what)))
        except BadEpisodeError as bad:
            return bad

    def _place(self, name: str, episode: int) -> tuple[Any, Any]:
        row = self._meta[episode]
        return row.get(f"videos/{name}/chunk_index"), row.get(f"videos/{name}/file_index")


def match(times: Array, spans: Sequence[Span], fps: float, note: Any) -> dict[int, Array]:
    """Return episode -> the numbers of its frames in a video file.

    Each episode's span holds as many frames as the episode has steps: they are taken one for one. Or there is a frame at the
    time of each step (a video of a higher rate): those are taken. It must be so for all episodes of the file.

    Args:
        times: [N] seconds, ascending: when each frame of the video is shown.
        spans: the episodes in the file.
        fps: steps a second, as the dataset says.
        note: called with a text where the video's rate isn't the dataset's.

    Raises:
        BadEpisodeError: neither holds, or two episodes claim the same time.
    """
    ordered = _ordered(times, spans, fps)
    slack = _slack(times, fps)
    rate = (len(times) - 1) / float(times[-1]) if len(times) > 1 else fps
    bounds = [np.searchsorted(times, (span.start_s - slack, span.end_s - slack)) for span in ordered]
    counts = [(span, int(end - first)) for span, (first, end) in zip(ordered, bounds, strict=True)]
    runs_at = f"runs at {rate:.4g} frames a second, meta/info.json says {fps:g}"
    if all(held == span.length for span, held in counts):
        if abs(rate / fps - 1) > _JITTER:
            note(f"{runs_at}: frames are taken one for one")
        return {span.episode: np.arange(*bound) for span, bound in zip(ordered, bounds, strict=True)}
    near = {span.episode: _nearest(times, span.start_s + np.arange(span.length) / fps, _TOLERANCE / fps) for span in ordered}
    if any(found is None for found in near.values()):
        off, held = next((span, held) for span, held in counts if held != span.length)
        raise BadEpisodeError(
            f"its video contradicts the metadata: it has {len(times)} frames at {rate:.4g} a second, its episodes have "
            f"{sum(span.length for span in spans)} steps at {fps:g} a second; {held} frames are in the time of episode "
            f"{off.episode}, which has {off.length} steps; encode the video again from its frames, or correct the metadata"
        )
    note(f"{runs_at}: the frames at the steps' times are taken")
    return {episode: found for episode, found in near.items() if found is not None}


def _slack(times: Array, fps: float) -> float:
    """Return half of the shortest time between frames, [s]: rounding never moves a time stamp that far."""
    return 0.5 * min(float(np.min(np.diff(times), initial=1 / fps)), 1 / fps)


def _ordered(times: Array, spans: Sequence[Span], fps: float) -> list[Span]:
    """Return the spans in the order of their times; BadEpisodeError if they overlap or say no times."""
    if not len(times):
        raise BadEpisodeError("its video has no frames")
    for span in spans:
        if not (np.isfinite(span.start_s) and np.isfinite(span.end_s)):
            raise BadEpisodeError(f"its metadata don't say when episode {span.episode} begins and ends")
    ordered = sorted(spans, key=lambda span: span.start_s)
    for left, right in pairwise(ordered):
        if left.end_s > right.start_s + _slack(times, fps):
            raise BadEpisodeError(f"episodes {left.episode} and {right.episode} claim the same time of the video")
    return ordered


def _nearest(times: Array, wanted: Array, tolerance_s: float) -> Array | None:
    """Return the numbers of the frames nearest to the times `wanted`, or None if one is farther than the tolerance."""
    after = np.clip(np.searchsorted(times, wanted), 1, max(len(times) - 1, 1))
    near: Array = np.where(wanted - times[after - 1] <= times[after % len(times)] - wanted, after - 1, after % len(times))
    return near if np.all(np.abs(times[near] - wanted) <= tolerance_s) else None
