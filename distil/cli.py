"""The command line: `distil COMMAND ...`. Every command is a few calls of the Python API; heavy imports wait for them."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from distil import __version__
from distil.errors import InputError, RunError

if TYPE_CHECKING:
    from distil.console import Console

RECIPE = click.argument("recipe")
OVERRIDES = click.argument("overrides", nargs=-1, metavar="[KEY=VALUE]...")
JSON = click.option("--json", "as_json", is_flag=True, help="Print machine-readable results.")


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

    with _console(as_json) as console:
        result = run_demo(out, seed=seed, progress=console)
    _show(as_json, result.to_json(), result.text)


@cli.command()
@RECIPE
@OVERRIDES
@JSON
def collect(recipe: str, overrides: tuple[str, ...], as_json: bool) -> None:
    """Collect the recipe's demonstrations into its store."""
    from distil import api

    with _console(as_json) as console:
        store, report = api.collect_with_report(recipe, _overrides(overrides), progress=console)
    snapshot = store.snapshot()
    result = {
        "store": str(store.path),
        "snapshot": snapshot.version,
        "new_episodes": report.num_episodes,
        "env_steps": report.env_steps,
        "episodes": snapshot.num_episodes,
        "transitions": snapshot.num_transitions,
    } | {key: report.metrics[key] for key in sorted(report.metrics)}
    _show(as_json, result, lambda: _pairs(result))


@cli.command()
@RECIPE
@OVERRIDES
@click.option("--resume", is_flag=True, help="Go on with the newest run of this recipe, from its last durable step.")
@JSON
def train(recipe: str, overrides: tuple[str, ...], resume: bool, as_json: bool) -> None:
    """Train a policy: collect what is missing, learn, evaluate. RUN/config.yaml as RECIPE repeats a run."""
    from distil import api

    with _console(as_json) as console:
        run = api.train(recipe, _overrides(overrides), resume=resume, progress=console)
    result = {"run": str(run.path)} | dict(run.metrics)
    _show(as_json, result, lambda: f"{_pairs(dict(run.metrics))}\n\nrun: {run.path}\npolicy: {run.path / 'policy'}")


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

    with _console(as_json) as console:
        outcome = api.evaluate_run(run, episodes=episodes, video=video, progress=console)
    _show(as_json, outcome.to_json(), outcome.text)


@cli.group()
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
    _show(as_json, result, lambda: _pairs(result))


@store.command("verify")
@click.argument("path", type=click.Path(path_type=Path))
@JSON
def store_verify(path: Path, as_json: bool) -> None:
    """Check every shard and manifest against its checksum; faults are listed and the exit code is 1."""
    from distil.store import Store

    faults = Store.open(path).verify()
    _show(as_json, {"path": str(path), "faults": faults}, lambda: "\n".join(faults) or f"{path}: no faults")
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


@cli.group()
def experts() -> None:
    """Experts that demonstrate."""


@experts.command("list")
def experts_list() -> None:
    """The kinds of experts and the scripted ones."""
    from distil.experts import catalogue

    for kind, text in catalogue().items():
        click.echo(f"{kind:<42}{text}")


@experts.command("evaluate")
@RECIPE
@OVERRIDES
@JSON
def experts_evaluate(recipe: str, overrides: tuple[str, ...], as_json: bool) -> None:
    """Measure a recipe's expert, beside a random policy, on the held-out episodes."""
    from distil import api

    with _console(as_json) as console:
        outcome = api.evaluate_expert(recipe, _overrides(overrides), progress=console)
    _show(as_json, outcome.to_json(), outcome.text)


@cli.group()
def recipes() -> None:
    """Recipes that ship with distil."""


@recipes.command("list")
def recipes_list() -> None:
    """Names and what they do."""
    from importlib import resources

    from distil.config import recipe_names

    for name in recipe_names():
        first = (resources.files("distil.recipes") / f"{name}.yaml").read_text().splitlines()[0]
        click.echo(f"{name:<20}{first.lstrip('# ')}")


@recipes.command("show")
@RECIPE
@OVERRIDES
def recipes_show(recipe: str, overrides: tuple[str, ...]) -> None:
    """The whole configuration of a recipe, defaults and overrides resolved."""
    from distil.config import to_yaml
    from distil.runconfig import load_config

    click.echo(to_yaml(load_config(recipe, _overrides(overrides))), nl=False)


@recipes.command("schema")
def recipes_schema() -> None:
    """The JSON schema of a recipe, for editors."""
    from distil.runconfig import RunConfig

    click.echo(json.dumps(RunConfig.model_json_schema(), indent=2))


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


def _console(as_json: bool) -> Console:
    from distil.console import Console

    return Console(quiet=as_json)


def _overrides(texts: tuple[str, ...]) -> dict[str, Any]:
    from distil.config import parse_override

    return dict(parse_override(text) for text in texts)


def _show(as_json: bool, data: Mapping[str, Any], text: Callable[[], str]) -> None:
    click.echo(json.dumps(data, indent=2) if as_json else text())


def _pairs(data: Mapping[str, Any]) -> str:
    width = max(len(key) for key in data) + 2
    return "\n".join(f"{key:<{width}}{f'{value:.4g}' if isinstance(value, float) else value}" for key, value in data.items())


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
        message, code = "interrupted; what was committed is kept, `distil train ... --resume` goes on", 130
    if debug:
        import traceback

        traceback.print_exc()
    click.echo(f"distil: {' '.join(message.split())}", err=True)
    sys.exit(code)
