"""`distil reward RUN`: a page about the reward that a run learned."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from distil.cli.common import JSON, show

if TYPE_CHECKING:
    from distil.rewardpage.study import Study


class RewardGroup(click.Group):
    """A group whose arguments are those of one of its commands unless they name another.

    Attributes:
        default_command: its name.
    """

    default_command = "page"

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """Put the default command before other arguments."""
        if args and args[0] not in (*self.commands, "-h", "--help"):
            args = [self.default_command, *args]
        return super().parse_args(ctx, args)

    def format_usage(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Name both ways to call it."""
        formatter.write_usage(ctx.command_path, "RUN [OPTIONS]")
        formatter.write_usage(ctx.command_path, "COMMAND [ARGS]...", prefix="       ")


@click.command(RewardGroup.default_command)
@click.argument("run", type=click.Path(path_type=Path))
@click.option(
    "--out", type=click.Path(path_type=Path, dir_okay=False), default=None, help="The page to write; default: RUN/reward.html."
)
@click.option("--slice", "cut_along", default=None, metavar="DIM,DIM", help="Such as obs[0],obs[1]; default: what varies most.")
@JSON
def reward_page(run: Path, out: Path | None, cut_along: str | None, as_json: bool) -> None:
    """Show the reward that a run learned: along episodes, over the states, and against the true one."""
    from distil.compare.html import save
    from distil.rewardpage.page import render
    from distil.rewardpage.study import study

    found = study(run, cut_along)
    page = save(render(found), out or run / "reward.html")
    show(as_json, found.to_json() | {"page": str(page)}, lambda: _text(found, page))


def _text(found: Study, page: Path) -> str:
    from distil.report.tables import table

    spec = found.function.ref.spec
    lines = [f"The reward ({spec.config.kind}, sees the {spec.sees}) says {found.function.about}."]
    lines += [
        f"correlation with the true reward over the steps of {source}: {'-' if value is None else f'{value:.3f}'}"
        for source, value in found.correlations
    ]
    for each in found.distances:
        rows: list[dict[str, Any]] = [
            {"reward": row.name} | {name: None if value is None else f"{value:.3f}" for name, value in row.values.items()}
            for row in each.rows
        ]
        lines += ["", table(rows, f"distance to the true reward over {each.coverage}", numeric=list(each.rows[0].values))]
    return "\n".join([*lines, *found.notes, f"page: {page}"])
