"""`distil sync`, `distil register` and `distil ui`: what runs have recorded, in MLflow."""

from __future__ import annotations

import os
import signal
import sys
from contextlib import suppress
from pathlib import Path

import click

from distil.cli.common import JSON, console, show
from distil.errors import InputError, RunError

_START_S, _STOP_S = 60, 10.0  # for a server to answer; to end
_QUIET = ("--uvicorn-opts", "--log-level error")
_SERVER = {
    "MLFLOW_LOGGING_LEVEL": "ERROR",
    "MLFLOW_DISABLE_TELEMETRY": "true",
    "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false",  # seven processes that poll, for what compares no runs
    "PYTHONWARNINGS": "ignore",
}


@click.command()
@click.argument("runs", type=click.Path(path_type=Path), nargs=-1, metavar="[RUN|RUNS]...")
@click.option("--uri", default=None, help="The tracking store; default: the one that each run was recorded for.")
@JSON
def sync(runs: tuple[Path, ...], uri: str | None, as_json: bool) -> None:
    """Send to MLflow what runs have recorded while it did not answer.

    RUNS is the folder of a run or one that holds runs at any depth; default: runs. Sending twice changes nothing. Runs that
    were killed are shown as such until --resume continues them.
    """
    from distil.abandoned import end_abandoned
    from distil.tracking.sync import sync as send

    folders = runs or (Path("runs"),)
    with console(as_json) as progress:
        for folder in folders:
            end_abandoned(folder)
        done = send(folders, uri=uri, progress=progress)
    result = {"runs": done.num_runs, "records": done.num_records, "to": list(done.to)}
    show(as_json, result, lambda: f"{done.num_records} records of {done.num_runs} runs sent to MLflow at {', '.join(done.to)}")


@click.command()
@click.argument("run", type=click.Path(path_type=Path))
@click.option("--name", default=None, help="Name of the registered model; default: the environment's.")
@click.option("--alias", default="champion", show_default=True, help="Moves to this policy.")
@click.option("--uri", default=None, help="The tracking store; default: the one that the run was recorded for.")
@JSON
def register(run: Path, name: str | None, alias: str, uri: str | None, as_json: bool) -> None:
    """Put a run's policy into MLflow's model registry."""
    from distil.registry import register as put

    with console(as_json) as progress:
        done = put(run, name=name, alias=alias, uri=uri, progress=progress)
    result = {"name": done.name, "version": done.version, "alias": done.alias, "before": done.before, "uri": done.uri}
    show(as_json, result, done.text)


@click.command()
@click.option("--port", type=click.IntRange(1, 65535), default=5000, show_default=True)
@click.option("--uri", default=None, help="The tracking store; default: MLFLOW_TRACKING_URI or sqlite:///mlflow.db.")
@click.option(
    "--open/--no-open", "opens", default=True, help="Open the newest experiment in the browser, if there is a display."
)
def ui(port: int, uri: str | None, opens: bool) -> None:
    """Open MLflow on 127.0.0.1 to compare runs."""
    from distil.tracking import DEFAULT_URI, TrackingConfig

    config = TrackingConfig(uri=uri)
    uri = config.address()
    if uri == DEFAULT_URI and not Path("mlflow.db").exists():
        raise InputError("mlflow.db: this folder has no runs yet; run `distil demo` first, or give --uri")
    assert uri is not None, "tracking is enabled"
    config.check("Default")  # MLflow itself would answer with its traceback
    address = f"http://127.0.0.1:{port}"
    links = _links(uri, address)
    click.echo(f"MLflow on {address} (Ctrl-C stops it)")
    for name, link in links.items():
        click.echo(f"  {name}  {link}")
    if opens and links and _has_display():
        _open_when_ready(port, next(iter(links.values())))
    command = [sys.executable, "-m", "mlflow", "ui", "--host", "127.0.0.1", "--port", str(port), *_QUIET]
    code = _serve(command, {"MLFLOW_BACKEND_STORE_URI": uri} | _SERVER)
    if code:
        raise RunError(f"mlflow ui ended with code {code}; is port {port} free? try --port {port + 1}")


def _links(uri: str, address: str) -> dict[str, str]:
    """Return the addresses of the experiments that have distil's view, newest first."""
    from distil.tracking.server import Server
    from distil.tracking.view import TAG, link

    found = Server(uri).client.search_experiments(max_results=1000, order_by=["last_update_time DESC"])
    return {each.name: link(address, each.experiment_id) for each in found if TAG in each.tags}


def _has_display() -> bool:
    return sys.stdout.isatty() and (sys.platform == "darwin" or bool(os.environ.keys() & {"DISPLAY", "WAYLAND_DISPLAY"}))


def _open_when_ready(port: int, link: str) -> None:
    """Open a link in the browser once the server answers, from a thread."""
    import socket
    import threading
    import time
    import webbrowser

    def wait() -> None:
        for _ in range(_START_S):
            with suppress(OSError):
                socket.create_connection(("127.0.0.1", port), 1.0).close()
                webbrowser.open(link)
                return
            time.sleep(1.0)

    threading.Thread(target=wait, daemon=True).start()


def _serve(command: list[str], env: dict[str, str]) -> int:
    """Run a server and its workers until it ends or Ctrl-C ends it; return its exit code. `env` keeps passwords out of `ps`."""
    import subprocess

    import psutil

    with subprocess.Popen(command, env=os.environ | env, start_new_session=True, stdout=subprocess.DEVNULL) as server:
        try:
            return server.wait()
        except KeyboardInterrupt:
            return 0  # the announced way to stop it
        finally:
            others = []  # some start sessions of their own
            with suppress(psutil.NoSuchProcess):
                others = psutil.Process(server.pid).children(recursive=True)
            for number in (signal.SIGTERM, signal.SIGKILL):
                with suppress(ProcessLookupError):
                    os.killpg(server.pid, number)
                for process in others:
                    with suppress(psutil.NoSuchProcess):
                        process.send_signal(number)
                with suppress(subprocess.TimeoutExpired):
                    server.wait(_STOP_S)
