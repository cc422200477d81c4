"""`distil submit`: a command of distil as a job of a Ray cluster, and what becomes of it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from distil.cli.common import JSON, listing, read_overrides, show
from distil.cli.jobs import ADDRESS, follow_job, how_to_continue, list_, logs, open_dashboard, say, status, stop
from distil.errors import InputError

if TYPE_CHECKING:
    from distil.jobs.client import Dashboard
    from distil.jobs.job import Job
    from distil.jobs.paths import Homes
    from distil.jobs.submit import Submission
    from distil.jobs.work import Work


@click.group()
@ADDRESS
@click.option("--root", metavar="PATH", help="A folder that all nodes see: the home of relative data, run and tracking paths.")
@click.option("--id", "job_id", metavar="ID", help="Id of the job. The same id never starts a second job.")
@click.option(
    "--env", "env", multiple=True, metavar="NAME", help="Pass this environment variable on; the dashboard shows its value."
)
@click.option("--label", "labels", multiple=True, metavar="KEY=VALUE", help="A label of the node where the command runs.")
@click.option(
    "--gpus", type=click.FloatRange(0), default=0, help="GPUs that the command itself needs, to learn in its process."
)
@click.option("--python", default="python", show_default=True, metavar="PATH", help="The cluster's Python that has distil.")
@click.option("--no-wait", is_flag=True, help="Return once the job is submitted, without its output.")
@click.option("--dry-run", is_flag=True, help="Print what would travel; ask no cluster.")
@JSON
@click.pass_context
def submit(context: click.Context, /, **_: Any) -> None:
    """Run a command of distil as a job of a Ray cluster: `distil submit --address URL -- train RECIPE ...`.

    The files of the current folder that git lists travel with it. Its output is followed until it ends, and its exit code is
    this command's. Ctrl-C leaves the job alone: `distil submit logs ID --follow` follows it again. A run with a name
    (`train ... --run NAME`) continues when its command is submitted again, and so does a sweep.
    """


class _Command(click.Command):
    """A command of distil, with its own arguments, that is submitted."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """Check the arguments here, and keep them as they are."""
        ctx.obj = tuple(args)
        return super().parse_args(ctx, args)


def as_job(command: click.Command) -> click.Command:
    """Return a command with the same arguments, for `submit`."""
    return _Command(command.name, params=command.params, help=command.help, callback=_submitted)


@click.pass_context
def _submitted(context: click.Context, /, **arguments: Any) -> None:
    from distil.jobs.package import pack
    from distil.jobs.paths import Homes
    from distil.jobs.submit import Submission, new_id, read_environment

    assert context.parent is not None
    options = context.parent.params
    environment = read_environment(options["env"])
    labels = _labels(options["labels"])
    work = _work(str(context.info_name), context.obj, arguments, Homes(options["root"]), options["env"])
    folder = Path.cwd()
    package = pack(folder)
    work = work.checked(package, folder)
    submission = Submission(work=work, package=package, environment=environment, python=options["python"])
    if options["dry_run"]:
        _show_plan(submission, options["as_json"])
        return
    dashboard = open_dashboard(context)
    for note in work.notes:
        say(note)
    job_id = options["job_id"] or new_id(work)
    try:
        job = _start(dashboard, submission, job_id, labels, options["gpus"])
    except KeyboardInterrupt:
        say(f"interrupted; job {job_id} may have been submitted: distil submit status {job_id} --address {dashboard.url}")
        context.exit(130)
    if options["no_wait"]:
        show(options["as_json"], job.to_json() | {"address": dashboard.url}, lambda: how_to_continue(job.id, dashboard.url))
        return
    follow_job(context, dashboard, job.id, as_json=options["as_json"], python=options["python"])


def _work(command: str, words: Sequence[str], arguments: Mapping[str, Any], move: Homes, travels: Sequence[str]) -> Work:
    """Return what the job does; InputError for what is wrong with it, before anything is sent."""
    from distil.jobs.work import evaluate_work, run_work

    if command == "evaluate":
        return evaluate_work(words, str(arguments["run"]), move)
    overrides = read_overrides(arguments["overrides"])
    if command == "sweep":
        return _sweep_work(words, arguments["sweep"], overrides, move, travels)
    return run_work(command, words, arguments["recipe"], overrides, move, run=arguments.get("run"), travels=travels)


def _sweep_work(words: Sequence[str], sweep: str, overrides: dict[str, Any], move: Homes, travels: Sequence[str]) -> Work:
    from distil.jobs.paths import homes, override_words, stays
    from distil.jobs.work import Work
    from distil.sweep.config import load_sweep
    from distil.sweep.families import families

    resume = ["--resume"] if not {"--resume", "--plan"} & set(words) else []
    path = Path(sweep)
    if path.is_absolute() and not path.exists():
        return Work(
            name=path.stem, words=["sweep", *words], added=resume, notes=[f"{sweep}: not on this machine; the job checks it"]
        )
    if path.is_dir() and (path / "sweep.yaml").is_file():
        words = [move("the sweep", sweep) if word == sweep else word for word in words]
    config = load_sweep(sweep, overrides)
    found: dict[str, Any] = {} if (runs := move("runs", config.runs)) == config.runs else {"runs": runs}
    if move.homeless:
        move.require()
    config = load_sweep(sweep, {**overrides, **found})
    inner = {key: value for family in families(config) for key, value in homes(family.config, move, travels).items()}
    move.require()
    if inner:
        found["set"] = {**config.set, **inner}
        config = load_sweep(sweep, {**overrides, **found})
    configs = [family.config for family in families(config)]
    for each in configs:  # what a family sets for itself
        homes(each, lambda key, path: path if Path(path).is_absolute() else _refuse(key, path), travels)
    names = [sweep, config.recipe, *(family.recipe for family in config.families.values() if family.recipe)]
    files = {name: "the sweep" if name == sweep else "recipe" for name in names if Path(name).is_file()}
    added = [*resume, *override_words(found)]
    return Work(
        name=config.name, words=["sweep", *words], added=added, configs=configs, files=files, notes=stays(inner, travels)
    )


def _refuse(key: str, path: str) -> str:
    raise InputError(f"{key}={path} of a family is relative and would end in the job's temporary folder: set an absolute path")


def _labels(texts: Sequence[str]) -> Mapping[str, str]:
    from distil.config import validate
    from distil.placement import PlacementConfig

    labels = {}
    for text in texts:
        key, equals, value = text.partition("=")
        if not key or not equals:
            raise InputError(f"--label {text}: write KEY=VALUE")
        labels[key] = value
    return validate(PlacementConfig, {"labels": labels}, where="--label").labels


def _start(dashboard: Dashboard, submission: Submission, job_id: str, labels: Mapping[str, str], gpus: float) -> Job:
    from distil.jobs.package import size_text
    from distil.jobs.placement import driver_placement
    from distil.jobs.submit import submit

    package = submission.package
    for path, why in package.left_out.items():
        if "secret" in why or "key" in why:
            say(f"{path} does not travel: {why}")
    say(f"job {job_id} on {dashboard.url}: {len(package.files)} files, {size_text(package.num_bytes)}")
    job, note = submit(dashboard, submission, job_id, lambda: driver_placement(dashboard.nodes(), labels, gpus))
    if note:
        say(f"job {job_id}: {note}")
    return job


def _show_plan(submission: Submission, as_json: bool) -> None:
    from distil.jobs.package import size_text

    package = submission.package
    data = {
        "entrypoint": submission.entrypoint,
        "environment": submission.names,
        "files": {path: len(content) for path, content in package.files.items()},
        "bytes": package.num_bytes,
        "left_out": dict(package.left_out),
        "notes": list(submission.work.notes),
    }

    def text() -> str:
        files = {path: size_text(len(content)) for path, content in package.files.items()}
        parts = [
            f"command: {submission.entrypoint}",
            f"environment variables: {', '.join(submission.names)}",
            f"{len(files)} files, {size_text(package.num_bytes)}:",
            listing(files, "  "),
        ]
        if package.left_out:
            parts += ["left out:", listing(package.left_out, "  ")]
        return "\n".join([*filter(None, parts), *submission.work.notes])

    show(as_json, data, text)


for found in (status, logs, stop, list_):
    submit.add_command(found)
