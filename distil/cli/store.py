"""`distil store ...`: look into a demonstration store."""

from __future__ import annotations

from pathlib import Path

import click

from distil.cli.common import JSON, pairs, show
from distil.errors import InputError, RunError


@click.group()
def store() -> None:
    """Look into a demonstration store."""


@store.command("info")
@click.argument("path", type=click.Path(path_type=Path))
@JSON
def store_info(path: Path, as_json: bool) -> None:
    """Spaces, episodes, returns and lengths, versions."""
    from distil.store import Store
    from distil.store.view import info

    result = info(Store.open(path))
    show(as_json, result, lambda: pairs(result))


@store.command("verify")
@click.argument("path", type=click.Path(path_type=Path))
@JSON
def store_verify(path: Path, as_json: bool) -> None:
    """Check every shard and manifest against its checksum; faults are listed and the exit code is 1."""
    from distil.store import Store

    faults = Store.open(path).verify()
    show(as_json, {"path": str(path), "faults": faults}, lambda: "\n".join(faults) or f"{path}: no faults")
    if faults:
        raise RunError(f"{path}: {len(faults)} fault{'s' * (len(faults) > 1)}; restore the named files from a copy")


@store.command("view")
@click.argument("path", type=click.Path(path_type=Path))
@click.option("--episode", default=0, show_default=True, help="Which one, in the store's order.")
@click.option("--steps", default=20, show_default=True, help="How many steps to print.")
@click.option("--plot", type=click.Path(path_type=Path), default=None, help="Also draw the episode into this PNG.")
def store_view(path: Path, episode: int, steps: int, plot: Path | None) -> None:
    """Print an episode, and draw it."""
    from distil.store import Store
    from distil.store.view import episode_text, plot_episode

    snapshot = Store.open(path).snapshot()
    if not 0 <= episode < snapshot.num_episodes:
        raise InputError(f"--episode {episode}: {path} has {snapshot.num_episodes} episodes, the first is 0")
    found = snapshot.episode(episode)
    click.echo(episode_text(found, max_steps=steps))
    if plot is not None:
        plot_episode(found, plot)
        click.echo(f"plot: {plot}")
