"""`distil store ...`: inspect a demonstration store."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from distil.cli.common import JSON, VERSION, Finite, parse_version, show
from distil.errors import InputError, RunError

if TYPE_CHECKING:
    from distil.types import Episode


@click.group()
def store() -> None:
    """Inspect and manage demonstration stores."""


@store.command("info")
@click.argument("path")
@VERSION
@JSON
def store_info(path: str, version: str | None, as_json: bool) -> None:
    """Show spaces, episodes, returns, lengths and versions."""
    from distil.store import Store
    from distil.store.view import info, info_text

    result = info(Store.open(path), parse_version(version))
    show(as_json, result, lambda: info_text(result))


@store.command("verify")
@click.argument("path")
@JSON
def store_verify(path: str, as_json: bool) -> None:
    """Check every shard and manifest against its checksum; list the faults and exit with 1 if there are any."""
    from distil.store import Store

    faults = Store.open(path).verify()
    show(as_json, {"path": str(path), "faults": faults}, lambda: "\n".join(faults) or f"{path}: no faults")
    if faults:
        raise RunError(f"{path}: {len(faults)} fault{'s' * (len(faults) > 1)}; restore the named files from a copy")


@store.command("view")
@click.argument("path")
@VERSION
@click.option("--episode", type=int, default=None, help="Show one episode, by its number in the store.")
@click.option("--steps", type=click.IntRange(0), default=20, show_default=True, help="Number of its steps to print.")
@click.option(
    "--plot", type=click.Path(path_type=Path, dir_okay=False), default=None, help="Also plot the printed data to this PNG."
)
@click.option(
    "--video", type=click.Path(path_type=Path, dir_okay=False), default=None, help="Write the episode's images to this MP4."
)
@click.option("--image", default=None, help="Observation to show in the video; default: the first image.")
@click.option("--fps", type=Finite(0, min_open=True), default=30, show_default=True, help="Frames per second.")
def store_view(
    path: str,
    version: str | None,
    episode: int | None,
    steps: int,
    plot: Path | None,
    video: Path | None,
    image: str | None,
    fps: float,
) -> None:
    """Show the distribution of returns and lengths, or with --episode or --video one episode, step by step."""
    from distil.store import Store
    from distil.store.plots import plot_distribution, plot_episode
    from distil.store.schema import environment
    from distil.store.view import distribution_text, episode_text

    found_store = Store.open(path)
    snapshot = found_store.snapshot(parse_version(version))
    if episode is None and video is None:
        click.echo(distribution_text(snapshot))
        if plot is not None:
            plot_distribution(snapshot, plot)
    else:
        number = episode or 0
        if not 0 <= number < snapshot.num_episodes:
            raise InputError(f"--episode {number}: {path} has {snapshot.num_episodes} episodes, numbered from 0")
        found = snapshot.episode(number)
        click.echo(episode_text(found, max_steps=steps))
        if plot is not None:
            plot_episode(found, plot, environment(found_store.spec.env))
        if video is not None:
            _film(found, video, image, fps)
            click.echo(f"video: {video}")
    if plot is not None:
        click.echo(f"plot: {plot}")


def _film(episode: Episode, path: Path, image: str | None, fps: float) -> None:
    from distil.report import captioned, video
    from distil.store.view import frames

    returns = [0.0, *episode.rewards.cumsum().tolist()]  # before each frame
    source = episode.source or "episode"
    shown = zip(frames(episode, image), returns, strict=True)
    video((captioned(frame, f"{source}   step {i}   return {total:.1f}") for i, (frame, total) in enumerate(shown)), path, fps)
