"""`distil store import | export | formats`: convert demonstrations between a store and other formats."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from distil.cli.common import JSON, OVERRIDES, VERSION, listing, pairs, parse_version, read_overrides, show
from distil.errors import InputError

if TYPE_CHECKING:
    from distil.interchange.base import Exporter, Importer
    from distil.interchange.episodes import Finding
    from distil.store import StoreSpec


@click.command("import")
@click.argument("format_name", metavar="FORMAT")
@click.argument("source", type=click.Path(path_type=Path))
@click.argument("path", metavar="STORE")
@OVERRIDES
@click.option("--skip-bad", is_flag=True, help="Skip episodes with bad rows instead of stopping at the first.")
@click.option("--recipe", help="A recipe: the episodes must have the spaces of its environment, so that it can train on them.")
@click.option("--env", "env_id", help="A Gymnasium id: the episodes must have the spaces of this environment.")
@JSON
def store_import(
    format_name: str,
    source: Path,
    path: str,
    overrides: tuple[str, ...],
    skip_bad: bool,
    recipe: str | None,
    env_id: str | None,
    as_json: bool,
) -> None:
    """Import SOURCE, data in FORMAT, into STORE, which is created if it does not exist.

    The import is one commit: all or nothing. KEY=VALUE sets the options of the format (`distil store formats`). Importing
    the same data again adds nothing. Few formats record the bounds of their spaces: --recipe or --env takes them from an
    environment, which is required for training in that environment.
    """
    from distil.interchange.formats import importer
    from distil.interchange.transfer import import_store

    chosen = importer(format_name, read_overrides(overrides))
    spec = _spec(recipe, env_id)
    result = import_store(chosen, source, path, skip_bad=skip_bad, spec=spec, report=_report(as_json))
    snapshot = result.snapshot
    data = {
        "store": path,
        "snapshot": snapshot.version,
        "added": result.num_added,
        "there_already": result.num_present,
        "skipped": result.num_skipped,
        "episodes": snapshot.num_episodes,
        "transitions": snapshot.num_transitions,
    }
    show(as_json, data | {"findings": [str(finding) for finding in result.findings]}, lambda: pairs(data))


@click.command("export")
@click.argument("format_name", metavar="FORMAT")
@click.argument("path", metavar="STORE")
@click.argument("target", type=click.Path(path_type=Path))
@OVERRIDES
@VERSION
@JSON
def store_export(
    format_name: str, path: str, target: Path, overrides: tuple[str, ...], version: str | None, as_json: bool
) -> None:
    """Export the episodes of STORE to TARGET, which must not exist, in FORMAT. KEY=VALUE sets the options of the format."""
    from distil.interchange.formats import exporter
    from distil.interchange.transfer import export_store
    from distil.store import Store

    chosen = exporter(format_name, read_overrides(overrides))
    snapshot = Store.open(path).snapshot(parse_version(version))
    findings = export_store(chosen, snapshot, target, report=_report(as_json))
    data = {"target": str(target), "episodes": snapshot.num_episodes, "transitions": snapshot.num_transitions}
    show(as_json, data | {"findings": [str(finding) for finding in findings]}, lambda: pairs(data))


@click.command("formats")
@JSON
def store_formats(as_json: bool) -> None:
    """List the formats and their options."""
    from distil.interchange.formats import EXPORTERS, IMPORTERS, kind_of

    words = (("import", IMPORTERS), ("export", EXPORTERS))
    data = {word: {kind_of(c): {"what": c.summary, "options": _options(c)} for c in classes} for word, classes in words}
    show(as_json, data, lambda: "\n".join(line for word, formats in data.items() for line in _lines(word, formats)))


def _lines(word: str, formats: dict[str, dict[str, Any]]) -> list[str]:
    lines = []
    for kind, about in formats.items():
        lines.append(listing({f"{word} {kind:<9}": about["what"]}))
        if about["options"]:
            lines.append(listing({f"{key}={value}": "" for key, value in about["options"].items()}, indent=" " * 18))
    return lines


def _options(format_class: type[Importer] | type[Exporter]) -> dict[str, Any]:
    fields = {name: field for name, field in format_class.model_fields.items() if name != "kind"}
    return {name: list(f.default) if isinstance(f.default, tuple) else f.default for name, f in fields.items()}


def _report(as_json: bool) -> Any:
    def report(finding: Finding) -> None:
        if not as_json:
            click.echo(f"{'skipped' if finding.skipped else 'note'}: {finding}", err=True)

    return report


def _spec(recipe: str | None, env_id: str | None) -> StoreSpec | None:
    """Return the spaces of the environment that --recipe or --env names, if any."""
    from distil.envs import GymEnvConfig, describe
    from distil.runconfig import load_config
    from distil.store import StoreSpec

    if recipe and env_id:
        raise InputError("--recipe and --env both name an environment; give only one of them")
    if not recipe and not env_id:
        return None
    config = load_config(recipe).env if recipe else GymEnvConfig(id=str(env_id))
    if config is None:
        raise InputError(f"{recipe}: it has no env and therefore no spaces; omit --recipe, or set env in it")
    spec = describe(config)
    return StoreSpec(observation=spec.observation, action=spec.action, env=config.model_dump(mode="json"))
