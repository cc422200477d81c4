"""`distil reward ...`: the reward that a run learned."""

from __future__ import annotations

from pathlib import Path

import click

from distil.cli.common import JSON, console, read_overrides, show
from distil.cli.reward_page import RewardGroup, reward_page
from distil.errors import InputError


@click.group(cls=RewardGroup)
def reward() -> None:
    """Show the reward that a run learned, or train on it in another environment."""


reward.add_command(reward_page)


@reward.command("transfer")
@click.argument("arguments", nargs=-1, required=True, metavar="RUN... KEY=VALUE...")
@click.option("--out", type=click.Path(path_type=Path, file_okay=False), default=None, help="Default: transfer/RUN.")
@click.option("--seeds", type=click.IntRange(1), default=1, show_default=True, help="Training runs on each reward.")
@click.option("--restarts", type=click.IntRange(1), default=1, show_default=True, help="Trainings of which the best counts.")
@click.option("--recipe", default=None, help="Of reinforcement learning; default: the run's own step.")
@click.option("--clone-steps", type=click.IntRange(1), default=5000, show_default=True, help="Gradient steps of a clone.")
@JSON
def reward_transfer(
    arguments: tuple[str, ...],
    out: Path | None,
    seeds: int,
    restarts: int,
    recipe: str | None,
    clone_steps: int,
    as_json: bool,
) -> None:
    """Train a policy on a run's reward in another environment, and compare it with what else could be carried over.

    KEY=VALUE says what is different there, such as env.kwargs.gap=right. Several runs that differ by their seed give intervals
    over these. Running the command again continues it.
    """
    from distil.transfer.transfer import default_out, transfer

    runs = [text for text in arguments if "=" not in text]
    changes = read_overrides(tuple(text for text in arguments if "=" in text))
    if not changes:
        raise InputError("nothing is different: say what is, such as env.kwargs.gap=right")
    with console(as_json) as progress:
        place = out or default_out(runs)
        how = {"num_seeds": seeds, "restarts": restarts, "clone_steps": clone_steps}
        found = transfer(runs, changes, out=place, **how, recipe=recipe, progress=progress)
    show(as_json, found.to_json(), found.text)
