"""The statistics that LeRobot's policies normalise with: of each feature, over an episode and over all of them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from distil.types import Array

Statistics = dict[str, dict[str, Array]]  # feature -> min, max, mean, std, count, q01 ... q99

_QUANTILES = {"q01": 0.01, "q10": 0.10, "q50": 0.50, "q90": 0.90, "q99": 0.99}
_MAX_PICTURES = 100  # of an episode that images' statistics are taken from


def statistics(columns: Mapping[str, Array], pictures: Mapping[str, Array]) -> Statistics:
    """Return the statistics of one episode.

    Args:
        columns: feature -> [T, ...] numbers; theirs have the shape of a frame.
        pictures: feature -> [T, height, width, 3] uint8; theirs are a channel's over [0, 1], of shape (3, 1, 1).
    """
    out = {}
    for name, values in columns.items():
        rows = values.reshape(len(values), -1).astype(np.float64)
        shape = values.shape[1:] or (1,)
        out[name] = {key: value.reshape(shape) for key, value in _describe(rows).items()} | {"count": np.array([len(rows)])}
    for name, frames in pictures.items():
        taken = np.unique(np.linspace(0, len(frames) - 1, min(len(frames), _MAX_PICTURES)).round().astype(np.int64))
        pixels = frames[taken].reshape(-1, frames.shape[-1]) / 255
        out[name] = {key: value.reshape(-1, 1, 1) for key, value in _describe(pixels).items()} | {
            "count": np.array([len(taken)])
        }
    return out


def _describe(rows: Array) -> dict[str, Array]:
    quantiles = np.quantile(rows, list(_QUANTILES.values()), axis=0)
    out = {"min": rows.min(axis=0), "max": rows.max(axis=0), "mean": rows.mean(axis=0), "std": rows.std(axis=0)}
    return out | dict(zip(_QUANTILES, quantiles, strict=True))


def merged(parts: Sequence[Statistics]) -> Statistics:
    """Return the statistics over all episodes: exact but for the quantiles, which are weighted means, as LeRobot's are."""
    out = {}
    for name in parts[0]:
        found = [part[name] for part in parts]
        counts = np.array([item["count"][0] for item in found], np.float64)
        weights = (counts / counts.sum()).reshape(-1, *[1] * found[0]["mean"].ndim)
        stacked = {key: np.stack([item[key] for item in found]) for key in found[0] if key != "count"}
        mean = np.sum(weights * stacked["mean"], axis=0)
        variance = np.sum(weights * (stacked["std"] ** 2 + (stacked["mean"] - mean) ** 2), axis=0)
        out[name] = {
            "min": stacked["min"].min(axis=0),
            "max": stacked["max"].max(axis=0),
            "mean": mean,
            "std": np.sqrt(variance),
            "count": np.array([int(counts.sum())]),
        } | {key: np.sum(weights * stacked[key], axis=0) for key in _QUANTILES}
    return out
