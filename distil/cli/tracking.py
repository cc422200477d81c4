"""`distil sync` and `distil ui`: what runs have recorded, in MLflow."""

from __future__ import annotations

import os
import signal
import sys
from contextlib import suppress
from pathlib import Path

import click

from distil.cli.common import JSON, console, show
from distil.errors import InputError, RunError

_STOP_S = 10.0  # for a server to end


@click.command()
@click.argument("runs", type=click.Path(path_type=Path), nargs=-1, metavar="[RUN|RUNS]...")
@click.option("--uri", default=None, help="The tracking store; default: the one that each run was recorded for.")
@JSON
def sync(runs: tuple[Path, ...], uri: str | None, as_json: bool) -> None:
    """Send to MLflow what runs have recorded while it did not answer.

    RUNS is the folder of a run or one that holds runs at any depth; default: runs. Sending twice changes nothing.
    """
    from distil.tracking.sync import sync as send

    with console(as_json) as progress:
        done = send(runs or [Path("runs")], uri=uri, progress=progress)
    result = {"runs": done.num_runs, "records": done.num_records, "to": list(done.to)}
    show(as_json, result, lambda: f"{done.num_records} records of {done.num_runs} runs sent to MLflow at {', '.join(done.to)}")


@click.command()
@click.option("--port", type=click.IntRange(1, 65535), default=5000, show_default=True)
@click.option("--uri", default=None, help="The tracking store; default: MLFLOW_TRACKING_URI or sqlite:///mlflow.db.")
def ui(port: int, uri: str | None) -> None:
    """Open MLflow on 127.0.0.1 to compare runs."""
    from distil.tracking import DEFAULT_URI, TrackingConfig

    config = TrackingConfig(uri=uri)
    uri = config.address()
    if uri == DEFAULT_URI and not Path("mlflow.db").exists():
        raise InputError("mlflow.db: this folder has no runs yet; run `distil demo` first, or give --uri")
    config.check("Default")  # MLflow itself would answer with its traceback
    click.echo(f"MLflow on http://127.0.0.1:{port} (Ctrl-C stops it)")
    command = [sys.executable, "-m", "mlflow", "ui", "--host", "127.0.0.1", "--port", str(port)]
    code = _serve(command, {"MLFLOW_BACKEND_STORE_URI": str(uri)})
    if code:
        raise RunError(f"mlflow ui ended with code {code}; is port {port} free? try --port {port + 1}")


def _serve(command: list[str], env: dict[str, str]) -> int:
    """Run a server and its workers until it ends or Ctrl-C ends it; return its exit code. `env` keeps passwords out of `ps`."""
    import subprocess

    with subprocess.Popen(command, env=os.environ | env, start_new_session=True) as server:
        try:
            return server.wait()
        except KeyboardInterrupt:
            return 0  # the announced way to stop it
        finally:
            for number in (signal.SIGTERM, signal.SIGKILL):
                with suppress(ProcessLookupError):
                    os.killpg(server.pid, number)
                with suppress(subprocess.TimeoutExpired):
                    server.wait(_STOP_S)
