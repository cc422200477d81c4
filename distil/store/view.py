"""Looking at data: a summary of a store, and an episode as a text table or a figure."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from distil.store.store import Store
from distil.types import Array, Episode

_MAX_LINES = 8  # dimensions drawn in one panel


def info(store: Store, version: int | None = None) -> dict[str, Any]:
    """Return a summary of one version (default: the newest) as plain data, from the episode index alone."""
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
        "env": dict(store.spec.env),
        "shards": len(snapshot.entries),
        "bytes": sum(entry.num_bytes for entry in snapshot.entries),
        "episodes": snapshot.num_episodes,
        "transitions": snapshot.num_transitions,
        "labels": int(episodes.num_labelled.sum()),
        "acted_by_expert": int(episodes.num_acted_by_expert.sum()),
        "terminated": int(episodes.terminated.sum()),
        "truncated": int(episodes.truncated.sum()),
        "return": _spread(episodes.total_reward),
        "length": _spread(episodes.length),
        "rounds": {str(key): int(count) for key, count in zip(*np.unique(episodes.round, return_counts=True), strict=True)},
        "sources": {str(key): int(count) for key, count in zip(*np.unique(episodes.source, return_counts=True), strict=True)},
    }


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


def plot_episode(episode: Episode, path: Path) -> None:
    """Draw observations, executed and expert actions, and rewards over time into an image file.

    Observations of more than one dimension are drawn as their mean.
    """
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    panels = len(episode.observations) + 2
    figure = Figure(figsize=(9, 2.2 * panels), layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.subplots(panels, 1, sharex=True)
    for axis, (name, values) in zip(axes, episode.observations.items(), strict=False):
        _lines(axis, values, "-")
        axis.set_ylabel(name)
    _lines(axes[-2], episode.actions, "-")
    labels = np.where(episode.labelled.astype(bool)[:, None], _flat(episode.expert_actions).astype(np.float64), np.nan)
    axes[-2].set_prop_cycle(None)
    _lines(axes[-2], labels, ":")
    axes[-2].set_ylabel("action (expert's dotted)")
    axes[-1].plot(episode.rewards)
    axes[-1].set_ylabel("reward")
    axes[-1].set_xlabel("step")
    expert = np.flatnonzero(episode.acted_by_expert)
    if 0 < expert.size < episode.length:
        axes[-1].plot(expert, np.full(expert.size, np.nanmin(episode.rewards)), "|", color="black", label="the expert acted")
        axes[-1].legend(loc="upper right")
    axes[0].set_title(f"{episode.uid}: {episode.length} steps, return {episode.total_reward:.6g}")
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=100)


def _flat(values: Array) -> Array:
    return values.reshape(len(values), -1)


def _lines(axis: Any, values: Array, style: str) -> None:
    flat = _flat(values) if values.ndim <= 2 else _flat(values).mean(axis=1, keepdims=True)
    axis.plot(flat[:, :_MAX_LINES], style)
