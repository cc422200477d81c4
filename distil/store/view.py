"""Looking at data: a summary of a store, its returns and lengths, an episode as a text table, its images as RGB frames."""

from __future__ import annotations

import textwrap
from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np

from distil.errors import InputError
from distil.store.schema import environment
from distil.store.snapshot import Snapshot
from distil.store.store import Store
from distil.types import Array, Episode

_BAR = 40  # characters of a histogram's longest bar
_MIN_SIDE = 8  # pixels: uint8 arrays that are smaller are no pictures
_VIDEO_SIDE = 256  # pixels that a video has at least


def info(store: Store, version: int | str | None = None) -> dict[str, Any]:
    """Return a summary of one version (a number or a tag; default: the newest) as plain data, from the episode index alone."""
    snapshot = store.snapshot(version)
    episodes = snapshot.episodes
    return {
        "path": str(store.path),
        "uuid": store.uuid,
        "version": snapshot.version,
        "versions": len(store.versions()),
        "digest": snapshot.digest,
        "observation": store.spec.observation.describe(),
        "action": store.spec.action.describe(),
        "infos": list(store.spec.infos),
        "environment": environment(store.spec.env) or "unknown",
        "env": dict(store.spec.env),
        "shards": len(snapshot.entries),
        "bytes": sum(entry.num_bytes for entry in snapshot.entries),
        "episodes": snapshot.num_episodes,
        "transitions": snapshot.num_transitions,
        "labels": int(episodes.num_labelled.sum()),
        "acted_by_expert": int(episodes.num_acted_by_expert.sum()),
        "terminated": int(episodes.terminated.sum()),
        "truncated": int(episodes.truncated.sum()),
        "successes": int(np.sum(episodes.success == 1)) if np.any(episodes.success >= 0) else None,
        "return": _spread(episodes.total_reward),
        "length": _spread(episodes.length),
        "rounds": {str(key): int(count) for key, count in zip(*np.unique(episodes.round, return_counts=True), strict=True)},
        "sources": {str(key): int(count) for key, count in zip(*np.unique(episodes.source, return_counts=True), strict=True)},
    }


def info_text(facts: Mapping[str, Any]) -> str:
    """Return the summary of `info` for people: a line for each fact, with units."""
    episodes = facts["episodes"]
    ends = [f"{facts[name]:,} {name}" for name in ("terminated", "truncated")]
    if facts["successes"] is not None:
        ends.append(f"{facts['successes']:,} successful")
    rows = {
        "path": facts["path"],
        "version": f"{facts['version']}, of {facts['versions']} that can be read",
        "digest": facts["digest"],
        "uuid": facts["uuid"],
        "environment": facts["environment"],
        "observation": facts["observation"],
        "action": facts["action"],
        "infos": ", ".join(facts["infos"]) or "none",
        "size": f"{_size(facts['bytes'])} in {_count(facts['shards'], 'shard')}",
        "episodes": f"{episodes:,} ({', '.join(ends)})",
        "transitions": f"{facts['transitions']:,} steps",
        "labels": f"{facts['labels']:,} steps, {_share(facts['labels'], facts['transitions'])}",
        "expert acted": f"{facts['acted_by_expert']:,} steps, {_share(facts['acted_by_expert'], facts['transitions'])}",
        "return": _spread_text(facts["return"], ""),
        "length": _spread_text(facts["length"], " steps"),
        "rounds": ", ".join(f"round {name}: {_count(num, 'episode')}" for name, num in facts["rounds"].items()) or "none",
        "sources": ", ".join(f"{name or 'unnamed'}: {_count(num, 'episode')}" for name, num in facts["sources"].items())
        or "none",
    }
    width = max(map(len, rows)) + 2
    hang = " " * width
    return "\n".join(
        textwrap.fill(f"{name:<{width}}{value}", 80, subsequent_indent=hang, break_long_words=False, break_on_hyphens=False)
        for name, value in rows.items()
    )


def _count(num: int, what: str) -> str:
    return f"{num:,} {what}{'s' * (num != 1)}"


def _share(part: int, whole: int) -> str:
    return f"{100 * part / whole:.0f} %" if whole else "0 %"


def _size(num_bytes: float) -> str:
    for unit in ("B", "kB", "MB", "GB"):
        if num_bytes < 1000:
            return f"{num_bytes:.3g} {unit}"
        num_bytes /= 1000
    return f"{num_bytes:.3g} TB"


def _spread_text(spread: Mapping[str, float], unit: str) -> str:
    names = {"min": "min", "p25": "25 %", "median": "median", "p75": "75 %", "max": "max"}
    if not spread:
        return "none"
    return f"mean {spread['mean']:.6g}{unit} ({', '.join(f'{name} {spread[key]:.6g}' for key, name in names.items())})"


def _spread(values: Array) -> dict[str, float]:
    if not len(values):
        return {}
    quantiles = {"min": 0.0, "p25": 0.25, "median": 0.5, "p75": 0.75, "max": 1.0}
    return {"mean": float(np.mean(values))} | {name: float(np.quantile(values, q)) for name, q in quantiles.items()}


def episode_text(episode: Episode, max_steps: int = 20) -> str:
    """Return a header and a table of the episode's first `max_steps` steps; `acted` and `label` say who acted and what for."""
    end = (
        " and ".join(name for name in ("terminated", "truncated") if getattr(episode, name))
        or "neither terminated nor truncated"
    )
    lines = [
        f"episode {episode.uid}: {episode.length} steps, return {episode.total_reward:.6g}, {end}",
        f"seed {episode.seed}, round {episode.round}, policy version {episode.policy_version}, source {episode.source or '-'}",
        "",
    ]
    rows = [["step", *episode.observations, "action", "reward", "acted", "label"]]
    for step in range(min(max_steps, episode.length)):
        observations = [_cell(values[step]) for values in episode.observations.values()]
        label = _cell(episode.expert_actions[step]) if episode.labelled[step] else "-"
        who = "expert" if episode.acted_by_expert[step] else "policy"
        rows.append([str(step), *observations, _cell(episode.actions[step]), f"{episode.rewards[step]:.6g}", who, label])
    widths = [max(len(row[i]) for row in rows) for i in range(len(rows[0]))]
    lines += ["  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows]
    if episode.length > max_steps:
        lines.append(f"... {episode.length - max_steps} more")
    return "\n".join(lines)


def _cell(value: Array) -> str:
    flat = np.asarray(value).reshape(-1)
    if flat.size > 8:
        return f"{np.asarray(value).shape} mean {flat.mean():.3g}"
    return " ".join(f"{v:.3g}" if isinstance(v, float) else str(v) for v in flat.tolist())


def distribution_text(snapshot: Snapshot, bins: int = 10) -> str:
    """Return how the episodes' returns and lengths are spread, as two histograms in text, and a line a source."""
    facts = snapshot.episodes
    lines = [f"{snapshot.path}: version {snapshot.version}, episodes: {len(facts)}, transitions: {snapshot.num_transitions}"]
    if not len(facts):
        return lines[0]
    for name, values in (("return", facts.total_reward), ("length", facts.length)):
        lines += ["", *_histogram(name, values.astype(np.float64), bins)]
    lines += ["", f"{'source':<{_source_width(facts.source)}}  episodes  mean return  mean length"]
    for source in np.unique(facts.source):
        mask = facts.source == source
        mean_return, mean_length = facts.total_reward[mask].mean(), facts.length[mask].mean()
        lines.append(
            f"{source or '-':<{_source_width(facts.source)}}  {mask.sum():>8}  {mean_return:>11.6g}  {mean_length:>11.6g}"
        )
    return "\n".join(lines)


def _source_width(sources: Array) -> int:
    return max(len("source"), *(len(str(source)) for source in np.unique(sources)))


def _histogram(name: str, values: Array, bins: int) -> list[str]:
    spread = _spread(values)
    head = f"{name}: mean {spread['mean']:.6g}, min {spread['min']:.6g}, median {spread['median']:.6g}, max {spread['max']:.6g}"
    if spread["min"] == spread["max"]:
        return [head]
    counts, edges = np.histogram(values, bins=bins)
    width = max(len(f"{edge:.4g}") for edge in edges)
    bars = np.ceil(counts / counts.max() * _BAR).astype(np.int64)
    rows = zip(edges, edges[1:], counts, bars, strict=False)
    return [head] + [
        f"  {low:>{width}.4g} .. {high:>{width}.4g}  {count:>6}  {'#' * bar}".rstrip() for low, high, count, bar in rows
    ]


def image_leaves(observations: Mapping[str, Array]) -> list[str]:
    """Return the names of the leaves that are images: uint8, two to four dimensions a step, at least 8 pixels each way."""
    out = []
    for name, values in observations.items():
        if values.dtype == np.uint8 and values.ndim in (3, 4, 5) and sorted(values.shape[1:])[-2] >= _MIN_SIDE:
            out.append(name)
    return out


def as_image(frame: Array) -> Array:
    """Return one image observation as RGB, [height, width, 3] uint8.

    Channels may be first or last; one channel is grey, three are RGB, any other number is shown as its mean. Of a stack
    [K, ...] with channels the last image is shown.
    """
    frame = frame[-1] if frame.ndim == 4 else frame
    if frame.ndim == 3 and frame.shape[0] < min(frame.shape[1:]):
        frame = np.moveaxis(frame, 0, -1)
    if frame.ndim == 3 and frame.shape[2] == 3:
        return frame
    grey = frame if frame.ndim == 2 else frame.mean(axis=2).round().astype(np.uint8)
    return np.repeat(grey[:, :, None], 3, axis=2)


def frames(episode: Episode, leaf: str | None = None) -> Iterator[Array]:
    """Yield an episode's image observations as RGB frames, small ones enlarged without blur, for a video.

    Args:
        episode: T + 1 frames come from it.
        leaf: which observation; the first image unless given.

    Raises:
        InputError: there is no such image.
    """
    images = image_leaves(episode.observations)
    name = leaf or (images[0] if images else "")
    if name not in images:
        has = f"the images are {', '.join(images)}" if images else f"episode {episode.uid} has no image observation"
        raise InputError(f"{leaf or 'video'}: {has}")
    scale = max(1, _VIDEO_SIDE // min(as_image(episode.observations[name][0]).shape[:2]))
    for frame in episode.observations[name]:
        yield as_image(frame).repeat(scale, axis=0).repeat(scale, axis=1)
