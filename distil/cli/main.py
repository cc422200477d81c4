"""The command line: `distil COMMAND ...`. Every command is a few calls of the Python API; heavy imports wait for them."""

from __future__ import annotations

import os
import signal
import sys
import traceback
from contextlib import suppress
from pathlib import Path

import click

from distil import __version__
from distil.cli.catalogue import experts, recipes
from distil.cli.common import JSON, OVERRIDES, RECIPE, console, pairs, read_overrides, show
from distil.cli.interchange import store_export, store_formats, store_import
from distil.cli.label import label
from distil.cli.store import store
from distil.cli.store_admin import compact, diff, drop, gc, pins, recover, snapshots, tag
from distil.errors import InputError, RunError
from distil.redaction import redact


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
@click.option("--port", type=click.IntRange(1, 65535), default=5000, show_default=True)
@click.option("--uri", default=None, help="The tracking store; MLFLOW_TRACKING_URI or sqlite:///mlflow.db unless given.")
def ui(port: int, uri: str | None) -> None:
    """Open MLflow on 127.0.0.1 to compare runs."""
    from distil.tracking import DEFAULT_URI, TrackingConfig

    config = TrackingConfig(uri=uri)
    uri = config.address()
    if uri == DEFAULT_URI and not Path("mlflow.db").exists():
        raise InputError("mlflow.db: no runs in this folder yet; run `distil demo` first, or give --uri")
    config.build("Default").check()  # MLflow itself would answer with its traceback
    click.echo(f"MLflow on http://127.0.0.1:{port} (Ctrl-C stops it)")
    command = [sys.executable, "-m", "mlflow", "ui", "--host", "127.0.0.1", "--port", str(port)]
    code = _serve(command, {"MLFLOW_BACKEND_STORE_URI": str(uri)})
    if code:
        raise RunError(f"mlflow ui ended with code {code}; is port {port} free? try --port {port + 1}")


def _serve(command: list[str], env: dict[str, str]) -> int:
    """Run a server until it ends; when we are stopped, so are it and its workers. The environment shows no password in `ps`."""
    import subprocess

    with subprocess.Popen(command, env=os.environ | env, start_new_session=True) as server:
        try:
            return server.wait()
        finally:
            with suppress(ProcessLookupError):
                os.killpg(server.pid, signal.SIGTERM)


for command in (label, snapshots, tag, pins, diff, drop, gc, compact, recover, store_import, store_export, store_formats):
    store.add_command(command)
for group in (store, experts, recipes):
    cli.add_command(group)


def main() -> None:
    """Run the command line. Bad input exits with 2, a failed run with 1, Ctrl-C and SIGTERM with 130, each with one line."""
    arguments = [argument for argument in sys.argv[1:] if argument != "--debug"]
    debug = len(arguments) < len(sys.argv) - 1
    _stop_on_sigterm()
    try:
        cli.main(arguments, prog_name="distil", standalone_mode=False)
    except BaseException as error:
        if isinstance(error, SystemExit) and isinstance(error.__context__, BrokenPipeError):
            raise  # nobody reads the output any more
        if isinstance(error, click.exceptions.NoArgsIsHelpError):  # a group without a command: its help, as it is
            click.echo(error.format_message(), err=True)
            sys.exit(2)
        told = _told(error)
        if debug or told is None:
            click.echo(redact("".join(traceback.format_exception(error))), err=True, nl=False)
        message, code = told or (f"{type(error).__name__}: {error}; this is a fault of distil, please report it", 1)
        click.echo(f"distil: {redact(' '.join(message.split()))}", err=True)
        sys.exit(code)


def _told(error: BaseException) -> tuple[str, int] | None:
    """Return what an exception says to the user, and the exit code; None: it should not have come here."""
    match error:
        case click.ClickException():
            return error.format_message(), 2
        case InputError():
            return str(error), 2
        case RunError() | OSError():
            return str(error), 1
        case KeyboardInterrupt() | click.Abort():
            return "interrupted; what was committed is kept: the same command continues (train: with --resume)", 130
        case SystemExit():
            return f"ended by sys.exit({error.code}) in the code of the environment or the expert; take it out", 1
    return None


def _stop_on_sigterm() -> None:
    """Have a job's stop do what Ctrl-C does: seal, and end. Forked helper processes just end."""
    pid = os.getpid()

    def stop(number: int, frame: object) -> None:
        if os.getpid() == pid:
            raise KeyboardInterrupt
        signal.signal(number, signal.SIG_DFL)
        os.kill(os.getpid(), number)

    signal.signal(signal.SIGTERM, stop)
