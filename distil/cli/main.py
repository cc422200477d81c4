"""The command line: `distil COMMAND ...`. Every command is a few calls of the Python API; heavy imports wait for them."""

from __future__ import annotations

import sys
from pathlib import Path

import click

from distil import __version__
from distil.cli.catalogue import experts, recipes
from distil.cli.common import JSON, OVERRIDES, RECIPE, console, pairs, read_overrides, show
from distil.cli.interchange import store_export, store_formats, store_import
from distil.cli.label import label
from distil.cli.store import store
from distil.cli.store_admin import compact, diff, drop, gc, recover, snapshots, tag
from distil.errors import InputError, RunError


@click.group(context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, prog_name="distil")
def cli() -> None:
    """Learn policies from demonstrations, on a laptop or a Ray cluster.

    RECIPE is the name of a shipped one (`distil recipes list`) or a YAML file; KEY=VALUE overrides any of its keys,
    such as learner.num_steps=5000. --debug anywhere shows tracebacks.
    """


@cli.command()
@click.option("--out", type=click.Path(path_type=Path), default=Path("demo"), show_default=True, help="Where results go.")
@click.option("--seed", default=0, show_default=True, help="Root seed of demonstrations and learning.")
@JSON
def demo(out: Path, seed: int, as_json: bool) -> None:
    """The main job, end to end: expert, rollouts, store, cloning, evaluation, in under five minutes."""
    from distil.demo import run_demo

    with console(as_json) as progress:
        result = run_demo(out, seed=seed, progress=progress)
    show(as_json, result.to_json(), result.text)


@cli.command()
@RECIPE
@OVERRIDES
@JSON
def collect(recipe: str, overrides: tuple[str, ...], as_json: bool) -> None:
    """Collect the recipe's demonstrations into its store."""
    from distil import api

    with console(as_json) as progress:
        store, report = api.collect_with_report(recipe, read_overrides(overrides), progress=progress)
    snapshot = store.snapshot()
    result = {
        "store": str(store.path),
        "snapshot": snapshot.version,
        "new_episodes": report.num_episodes,
        "env_steps": report.env_steps,
        "episodes": snapshot.num_episodes,
        "transitions": snapshot.num_transitions,
    } | {key: report.metrics[key] for key in sorted(report.metrics)}
    show(as_json, result, lambda: pairs(result))


@cli.command()
@RECIPE
@OVERRIDES
@click.option("--resume", is_flag=True, help="Continue the unfinished run with this configuration, from its last durable step.")
@click.option(
    "--run", default=None, metavar="NAME", help="Name of the run's folder; with --resume it is continued if it exists."
)
@JSON
def train(recipe: str, overrides: tuple[str, ...], resume: bool, run: str | None, as_json: bool) -> None:
    """Train a policy: collect what is missing, learn, evaluate.

    A run's folder as RECIPE repeats that run, with --resume it continues that run.
    """
    from distil import api

    with console(as_json) as progress:
        done = api.train(recipe, read_overrides(overrides), resume=resume, run=run, progress=progress)
    result = {"run": str(done.path)} | dict(done.metrics)
    show(as_json, result, lambda: f"{pairs(dict(done.metrics))}\n\nrun: {done.path}\npolicy: {done.path / 'policy'}")


@cli.command()
@click.argument("run", type=click.Path(path_type=Path))
@click.option(
    "--episodes", type=click.IntRange(1), default=None, help="How many held-out episodes; the run's own number unless given."
)
@click.option("--video", is_flag=True, help="Also record the first episode to RUN/video.mp4.")
@JSON
def evaluate(run: Path, episodes: int | None, video: bool, as_json: bool) -> None:
    """Score a run's policy on the held-out episodes, beside its expert and a random policy."""
    from distil import api

    with console(as_json) as progress:
        outcome = api.evaluate_run(run, episodes=episodes, video=video, progress=progress)
    show(as_json, outcome.to_json(), outcome.text)


@cli.command()
@click.option("--port", default=5000, show_default=True)
@click.option("--uri", default=None, help="The tracking store; sqlite:///mlflow.db in this folder unless given.")
def ui(port: int, uri: str | None) -> None:
    """Open MLflow on 127.0.0.1 to compare runs."""
    import subprocess

    from distil.tracking import DEFAULT_URI

    uri = uri or DEFAULT_URI
    if uri == DEFAULT_URI and not Path("mlflow.db").exists():
        raise InputError("mlflow.db: no runs in this folder yet; run `distil demo` first, or give --uri")
    click.echo(f"MLflow on http://127.0.0.1:{port} (Ctrl-C stops it)")
    command = [sys.executable, "-m", "mlflow", "ui", "--backend-store-uri", uri, "--host", "127.0.0.1", "--port", str(port)]
    code = subprocess.call(command)
    if code > 0:
        raise RunError(f"mlflow ui ended with code {code}; is port {port} free? try --port {port + 1}")


for command in (label, snapshots, tag, diff, drop, gc, compact, recover, store_import, store_export, store_formats):
    store.add_command(command)
for group in (store, experts, recipes):
    cli.add_command(group)


def main() -> None:
    """Run the command line. Bad input exits with 2, a failed run with 1, Ctrl-C with 130, each with one line."""
    arguments = [argument for argument in sys.argv[1:] if argument != "--debug"]
    debug = len(arguments) < len(sys.argv) - 1
    try:
        cli.main(arguments, prog_name="distil", standalone_mode=False)
        return
    except click.ClickException as error:
        message, code = error.format_message(), 2
    except InputError as error:
        message, code = str(error), 2
    except (RunError, OSError) as error:
        message, code = str(error), 1
    except (KeyboardInterrupt, click.Abort):
        message, code = "interrupted; what was committed is kept: the same command goes on (train: with --resume)", 130
    if debug:
        import traceback

        traceback.print_exc()
    click.echo(f"distil: {' '.join(message.split())}", err=True)
    sys.exit(code)
