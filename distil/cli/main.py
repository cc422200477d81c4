"""The command line: `distil COMMAND ...`. Each command makes a few calls of the Python API and imports heavy modules late."""

from __future__ import annotations

import gc as garbage
import os
import signal
import sys
import traceback
from pathlib import Path

import click

from distil import __version__
from distil.cli.catalogue import experts, recipes
from distil.cli.common import JSON, OVERRIDES, RECIPE, RESUME, RUN, console, pairs, read_overrides, show
from distil.cli.compare import compare
from distil.cli.interchange import store_export, store_formats, store_import
from distil.cli.label import label
from distil.cli.results import result_text
from distil.cli.reward import reward
from distil.cli.store import store
from distil.cli.store_admin import compact, diff, drop, gc, pins, recover, snapshots, tag
from distil.cli.submit import as_job, submit
from distil.cli.sweep import sweep
from distil.cli.tracking import register, sync, ui
from distil.cluster import SESSION
from distil.errors import InputError, RunError, SupersededError
from distil.redaction import redact


@click.group(context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, prog_name="distil")
def cli() -> None:
    """Learn policies from demonstrations, on a laptop or a Ray cluster.

    RECIPE is the name of a shipped recipe (`distil recipes list`) or a YAML file. KEY=VALUE overrides any of its keys,
    such as learner.num_steps=5000. --debug, at any position, shows tracebacks.
    """


@cli.command()
@click.option("--out", type=click.Path(path_type=Path), default=Path("demo"), show_default=True, help="Folder for the results.")
@click.option("--seed", type=click.IntRange(0), default=0, show_default=True, help="First root seed of episodes and learning.")
@click.option(
    "--seeds",
    type=click.IntRange(1),
    default=16,
    show_default=True,
    help="Number of training runs with the middle number of episodes; the other rows have a third.",
)
@click.option(
    "--episodes", type=click.IntRange(1), multiple=True, help="Number of labelled episodes; repeatable.  [default: 5, 10, 200]"
)
@click.option(
    "--steps",
    type=click.IntRange(0),
    default=10_000,
    show_default=True,
    help="Steps in the environment of learning by interaction; 0 leaves it out.",
)
@OVERRIDES
@JSON
def demo(
    out: Path, seed: int, seeds: int, episodes: tuple[int, ...], steps: int, overrides: tuple[str, ...], as_json: bool
) -> None:
    """Run the whole pipeline in a few minutes: expert, rollouts, store, three families of learning, evaluation."""
    from distil.demo import EPISODES, run_demo

    changes = read_overrides(overrides)
    with console(as_json) as progress:
        result = run_demo(
            out,
            seed=seed,
            num_seeds=seeds,
            episodes=episodes or EPISODES,
            steps=steps,
            overrides=changes,
            progress=progress,
        )
    show(as_json, result.to_json(), result.text)


@cli.command()
@RECIPE
@OVERRIDES
@JSON
def collect(recipe: str, overrides: tuple[str, ...], as_json: bool) -> None:
    """Collect the demonstrations of a recipe into its store."""
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
@RESUME
@RUN
@JSON
def train(recipe: str, overrides: tuple[str, ...], resume: bool, run: str | None, as_json: bool) -> None:
    """Train a policy: collect missing demonstrations, learn, evaluate.

    If RECIPE is a run's folder, the run is repeated; with --resume it is continued.
    """
    from distil import api

    with console(as_json) as progress:
        done = api.train(recipe, read_overrides(overrides), resume=resume, run=run, progress=progress)
    result = {"run": str(done.path)} | dict(done.metrics)
    show(as_json, result, lambda: f"{result_text(done)}\n\nrun: {done.path}\npolicy: {done.path / 'policy'}")


@cli.command()
@click.argument("run", type=click.Path(path_type=Path))
@click.option("--episodes", type=click.IntRange(1), default=None, help="Number of held-out episodes; default: as in the run.")
@click.option("--video", is_flag=True, help="Also record the first episode to RUN/video.mp4.")
@JSON
def evaluate(run: Path, episodes: int | None, video: bool, as_json: bool) -> None:
    """Evaluate a run's policy, its expert and a random policy on the held-out episodes."""
    from distil import api

    with console(as_json) as progress:
        outcome = api.evaluate_run(run, episodes=episodes, video=video, progress=progress)
    show(as_json, outcome.to_json(), outcome.text)


for command in (label, snapshots, tag, pins, diff, drop, gc, compact, recover, store_import, store_export, store_formats):
    store.add_command(command)
for work in (train, sweep, collect, evaluate):
    submit.add_command(as_job(work))
for found in (store, experts, recipes, compare, register, reward, submit, sweep, sync, ui):
    cli.add_command(found)


def main() -> None:
    """Run the command line. Bad input exits with 2, a failed run with 1, Ctrl-C and SIGTERM with 130, each with one line.

    A run that a newer attempt has taken over exits with 3, and a job that is followed with its own code.
    """
    # imports make half a million objects and no garbage: searching for it takes a third of their time
    garbage.set_threshold(50_000, 50, 10)
    arguments = [argument for argument in sys.argv[1:] if argument != "--debug"]
    debug = len(arguments) < len(sys.argv) - 1
    _stop_on_signals()
    try:
        if _is_folder_gone():
            raise RunError(_folder_fault())
        code = cli.main(arguments, prog_name="distil", standalone_mode=False)
    except BaseException as error:
        if isinstance(error, SystemExit) and isinstance(error.__context__, BrokenPipeError):
            raise  # the reader of the output is gone
        if isinstance(error, click.exceptions.NoArgsIsHelpError):  # a group without a command: its help, as it is
            click.echo(error.format_message(), err=True)
            sys.exit(2)
        told = _told(error)
        if debug or told is None:
            click.echo(redact("".join(traceback.format_exception(error))), err=True, nl=False)
        message, code = told or (f"{type(error).__name__}: {error}; this is a bug in distil, please report it", 1)
        click.echo(f"distil: {redact(' '.join(message.split()))}", err=True)
        sys.exit(code)
    finally:
        garbage.freeze()  # the interpreter ends without a last search for garbage, which takes a second
    if code:  # of a job
        sys.exit(code)


def _told(error: BaseException) -> tuple[str, int] | None:
    """Return an exception's message for the user and the exit code; None for an unexpected exception."""
    if _is_of_missing_file(error) and _is_folder_gone():  # the error's own message names no file, or a wrong cause
        return _folder_fault(), 1
    match error:
        case click.ClickException():
            return error.format_message(), 2
        case InputError():
            return str(error), 2
        case SupersededError():
            return str(error), 3
        case RunError() | OSError():
            return str(error), 1
        case KeyboardInterrupt() | click.Abort():
            return "interrupted; committed data is kept; rerun the command to continue (train, sweep: with --resume)", 130
        case SystemExit():
            return f"ended by sys.exit({error.code}) in the code of the environment or the expert; remove that call", 1
    return None


def _is_of_missing_file(error: BaseException | None) -> bool:
    """Return whether a file that was not found raised an error, or led to it."""
    while error is not None and not isinstance(error, FileNotFoundError):
        error = error.__cause__ or error.__context__
    return error is not None


def _is_folder_gone() -> bool:
    try:
        Path.cwd()
    except FileNotFoundError:
        return True
    return False


def _folder_fault() -> str:
    """Return what a current folder that was removed means. A job's is among the files of Ray on its node."""
    if SESSION in os.environ:
        return (
            "the job's folder has been removed from its node: Ray there has ended or is being restarted; submit the command "
            "again (a run with a name continues)"
        )
    return "the current folder has been removed; run the command in a folder that exists"


def _stop_on_signals() -> None:
    """Handle SIGTERM like Ctrl-C: seal the run and exit. Forked helper processes exit immediately.

    A job is stopped by SIGINT, which it would ignore if its cluster was started in the background of a script.
    """
    if os.environ.get("RAY_JOB_STOP_SIGNAL") == "SIGINT" and signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)
    pid = os.getpid()

    def stop(number: int, frame: object) -> None:
        if os.getpid() == pid:
            raise KeyboardInterrupt
        signal.signal(number, signal.SIG_DFL)
        os.kill(os.getpid(), number)

    signal.signal(signal.SIGTERM, stop)
