"""The jobs of a Ray cluster from the command line: their status and output, how one is followed to its end and stopped."""

from __future__ import annotations

import os
import sys
import time
from typing import TYPE_CHECKING, Any

import click
from click.core import ParameterSource

from distil.cli.common import JSON, listing, pairs, show
from distil.errors import InputError

if TYPE_CHECKING:
    from distil.jobs.client import Dashboard
    from distil.jobs.job import Job

ADDRESS = click.option(
    "--address", metavar="URL", help="The cluster's dashboard, such as http://HOST:8265; default: RAY_API_SERVER_ADDRESS."
)
_ID = click.argument("job_id", metavar="ID")


def open_dashboard(context: click.Context) -> Dashboard:
    """Return the dashboard, once it has answered; the address may be given before or after the command."""
    from distil.jobs.address import auth_token, dashboard_url, unused_ray_address
    from distil.jobs.client import Dashboard

    above = context.parent.params if context.parent is not None else {}
    url = dashboard_url(context.params.get("address") or above.get("address"), os.environ)
    if note := unused_ray_address(url, os.environ):
        say(note)
    dashboard = Dashboard(url, auth_token(os.environ))
    dashboard.probe()
    return dashboard


def _look(context: click.Context) -> Dashboard:
    """Return the dashboard, for a command that only looks after jobs; InputError for an option of a submission."""
    assert context.parent is not None
    for option in context.parent.command.params:
        is_given = context.parent.get_parameter_source(str(option.name)) is ParameterSource.COMMANDLINE
        if is_given and option.name != "address":
            place = f"write it after {context.info_name}" if option.name == "as_json" else "leave it out"
            raise InputError(f"{option.opts[0]} has no effect on `distil submit {context.info_name}`: {place}")
    return open_dashboard(context)


def follow_job(context: click.Context, dashboard: Dashboard, job_id: str, *, as_json: bool, python: str = "") -> None:
    """Follow a job to its end, and exit with its code. Ctrl-C leaves it alone."""
    from distil.jobs.follow import Follower

    def write(text: str) -> None:
        click.echo(text, nl=False, err=as_json)
        (sys.stderr if as_json else sys.stdout).flush()

    try:
        job = Follower(dashboard, job_id, write, say).follow()
    except KeyboardInterrupt:
        say(f"job {job_id} continues. {how_to_continue(job_id, dashboard.url)}")
        context.exit(130)
    if as_json:
        show(True, job.to_json(), str)
    say(f"job {job.id}: {job.status}{f' with exit code {job.code}' if job.code else ''} after {_age(job.age_s)}")
    if fault := job.fault(python):
        say(f"job {job.id}: {fault}")
    context.exit(job.exit_code or 0)


def how_to_continue(job_id: str, url: str) -> str:
    """Return the commands that follow and stop a job."""
    return (
        f"Follow it: distil submit logs {job_id} --follow --address {url}; stop it: distil submit stop {job_id} --address {url}"
    )


def say(text: str) -> None:
    """Print a line about the work of this command; stdout is for the job's output."""
    click.echo(f"distil: {text}", err=True)


@click.command()
@_ID
@ADDRESS
@JSON
@click.pass_context
def status(context: click.Context, /, job_id: str, as_json: bool, **_: Any) -> None:
    """Print the status of a job."""
    from distil.jobs.job import find_job

    job = find_job(_look(context), job_id)
    show(as_json, job.to_json(), lambda: pairs(_row(job) | ({"fault": fault} if (fault := job.fault()) else {})))


@click.command()
@_ID
@ADDRESS
@click.option("--follow", is_flag=True, help="Until the job ends; exit with its code.")
@JSON
@click.pass_context
def logs(context: click.Context, /, job_id: str, follow: bool, as_json: bool, **_: Any) -> None:
    """Print what a job has printed."""
    from distil.jobs.follow import Follower
    from distil.jobs.job import find_job

    dashboard = _look(context)
    find_job(dashboard, job_id)
    if follow:
        follow_job(context, dashboard, job_id, as_json=as_json)
    parts: list[str] = []
    job = Follower(dashboard, job_id, parts.append, say).print_once()
    text = "".join(parts)
    show(as_json, job.to_json() | {"logs": text}, lambda: text.removesuffix("\n"))


@click.command()
@_ID
@ADDRESS
@JSON
@click.pass_context
def stop(context: click.Context, /, job_id: str, as_json: bool, **_: Any) -> None:
    """Stop a job: SIGINT, and SIGKILL after 30 s."""
    from distil.jobs.follow import stop as stop_job
    from distil.jobs.job import find_job

    dashboard = _look(context)
    job = find_job(dashboard, job_id)
    if job.has_ended:
        raise InputError(f"job {job_id}: has ended already: {job.status}, exit code {job.exit_code}")
    job, what = stop_job(dashboard, job)
    show(as_json, job.to_json() | {"what": what}, lambda: f"job {job_id}: {what}")


@click.command("list")
@ADDRESS
@JSON
@click.pass_context
def list_(context: click.Context, /, as_json: bool, **_: Any) -> None:
    """List the jobs that distil submitted, the newest first."""
    from distil.jobs.job import list_jobs

    jobs = list_jobs(_look(context))
    rows = {job.id: f"{job.status:<10}{_age(time.time() - job.started_s):<16}{job.command}" for job in jobs}
    show(as_json, {"jobs": [job.to_json() for job in jobs]}, lambda: listing(rows) or "no job of distil on this cluster")


def _row(job: Job) -> dict[str, Any]:
    code = {} if job.exit_code is None else {"exit code": job.exit_code}
    return {"job": job.id, "status": job.status, "command": job.command, "for": _age(job.age_s)} | code


def _age(seconds: float) -> str:
    from distil.console import duration

    return duration(seconds)
