"""`distil compare ...`: which method is best, and how sure that is."""

from __future__ import annotations

from pathlib import Path

import click

from distil.cli.common import JSON, console, show


@click.command()
@click.argument("names", nargs=-1, required=True, metavar="EXPERIMENT|RUN|SWEEP...")
@click.option(
    "--out",
    type=click.Path(path_type=Path, dir_okay=False),
    default=Path("compare.html"),
    show_default=True,
    help="The page to write.",
)
@click.option(
    "--uri", default=None, help="Where MLflow's experiments are; default: MLFLOW_TRACKING_URI or sqlite:///mlflow.db."
)
@click.option("--video", is_flag=True, help="Run the best four methods again, and show their worst, median and best episodes.")
@JSON
def compare(names: tuple[str, ...], out: Path, uri: str | None, video: bool, as_json: bool) -> None:
    """Compare runs of one environment: a table, a verdict, and one page with everything.

    Each name is a run's folder, a sweep's folder, a folder of runs, or an MLflow experiment. Runs with equal configurations,
    apart from the seed and from where they ran, are one method.
    """
    from distil.compare import comparison, page, sources, summary
    from distil.tracking import TrackingConfig

    if video:
        from distil.compare import films

    records = sources.read_all(names, TrackingConfig(uri=uri).address() or "")
    found = comparison.compare(records)
    with console(as_json) as progress:
        shown = films.record_films(found, progress) if video else ()
    page.write(found, out, shown)
    show(as_json, summary.to_json(found) | {"page": str(out)}, lambda: f"{summary.summary(found)}\n\npage: {out}")
