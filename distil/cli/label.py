"""`distil store label`: label the steps of stored episodes that have no label."""

from __future__ import annotations

from typing import Any

import click

from distil.cli.common import JSON, console, pairs, show
from distil.errors import InputError


@click.command("label")
@click.argument("path", metavar="STORE")
@click.option("--expert", multiple=True, required=True, metavar="KIND|KEY=VALUE", help="The expert, see above. Repeatable.")
@click.option("--select", multiple=True, metavar="KEY=VALUE", help="Which episodes to label, as in data.select. Repeatable.")
@click.option(
    "--service",
    multiple=True,
    metavar="KEY=VALUE",
    help="Run the expert in dedicated actors, as in rollouts.service. Repeatable.",
)
@click.option("--again", is_flag=True, help="Label all steps again and replace existing labels.")
@click.option(
    "--workers",
    "num_workers",
    default="auto",
    metavar="NUMBER|auto",
    show_default=True,
    help="Number of Ray actors; 0: no Ray; auto: Ray if it saves time.",
)
@JSON
def label(
    path: str,
    expert: tuple[str, ...],
    select: tuple[str, ...],
    service: tuple[str, ...],
    again: bool,
    num_workers: str,
    as_json: bool,
) -> None:
    """Ask an expert for labels of the unlabelled steps of STORE, and publish them as a new version.

    The expert is a kind (`distil experts list`) and its settings: --expert scripted, or --expert sb3 --expert path=X.zip.
    A slow or unreliable expert is asked through a service, which retries: --service retries=10. Rerun the command to
    continue after a kill: labels in finished shards are not requested again. Old versions are kept.
    """
    from distil import api
    from distil.config import apply_overrides

    settings = _settings("expert", expert) | _settings("select", select) | _settings("service", service)
    num: Any = int(num_workers) if num_workers.lstrip("-").isdecimal() else num_workers
    with console(as_json) as progress:
        report = api.label(path, **apply_overrides({}, settings), again=again, num_workers=num, progress=progress)
    result = {
        "store": path,
        "snapshot": report.version,
        "episodes": report.num_episodes,
        "labels": report.num_labels,
        "unlabelled_steps": report.num_unlabelled,
    }
    show(as_json, result, lambda: pairs(result))


def _settings(what: str, words: tuple[str, ...]) -> dict[str, Any]:
    """Return dotted key -> value of an option's arguments; an argument without `=` is the expert's kind."""
    from distil.config import parse_override

    settings: dict[str, Any] = {}
    for word in words:
        key, value = parse_override(word if "=" in word else f"kind={word}")
        if f"{what}.{key}" in settings:
            raise InputError(f"--{what}: duplicate key {key}; give each key once")
        settings[f"{what}.{key}"] = value
    return settings
