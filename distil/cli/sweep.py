"""`distil sweep`: many runs of several families, and which configuration is best."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from distil.cli.common import JSON, OVERRIDES, console, read_overrides, show

if TYPE_CHECKING:
    pass


@click.command()
@click.argument("sweep")
@OVERRIDES
@click.option("--plan", is_flag=True, help="Print the trials, their budgets and an estimated time; start nothing.")
@click.option(
    "--resume", is_flag=True, help="Continue the sweep whose folder is SWEEP, or RUNS/NAME. A process that runs it stops first."
)
@JSON
def sweep(sweep: str, overrides: tuple[str, ...], plan: bool, resume: bool, as_json: bool) -> None:
    """Search for the best configuration of several families, and confirm it with fresh seeds.

    SWEEP is the name of a shipped sweep, a YAML file, or a sweep's folder.
    """
    from distil.sweep.config import load_sweep
    from distil.sweep.plan import plan_sweep
    from distil.sweep.sweep import run_sweep

    config = load_sweep(sweep, read_overrides(overrides))
    with console(as_json) as progress:
        if plan:
            planned = plan_sweep(config, progress=progress)
            show(as_json, planned.to_json(), planned.text)
            return
        result = run_sweep(config, resume=resume, progress=progress)
    show(as_json, result.to_json(), result.text)
