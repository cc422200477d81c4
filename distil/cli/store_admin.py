"""`distil store ...`: versions, tags, recovery after a crash, clean-up."""

from __future__ import annotations

import time
from dataclasses import asdict

import click

from distil.cli.common import JSON, Finite, parse_version, show
from distil.errors import InputError

STORE = click.argument("path", metavar="STORE")
_DAY_S = 86_400.0


def _mb(num_bytes: int) -> str:
    return f"{num_bytes / 1e6:.1f} MB"


def _list(title: str, lines: tuple[str, ...]) -> list[str]:
    return [f"{title}: {len(lines)}", *(f"  {line}" for line in lines)] if lines else []


@click.command("snapshots")
@STORE
@JSON
def snapshots(path: str, as_json: bool) -> None:
    """List the versions of a store, oldest first."""
    from distil.store import Store
    from distil.store.history import summaries

    found = summaries(Store.open(path))

    def text() -> str:
        rows = [("version", "date", "episodes", "transitions", "shards", "size", "tags", "message")]
        for item in found:
            date = time.strftime("%Y-%m-%d %H:%M", time.localtime(item.created_s))
            counts = (str(item.num_episodes), str(item.num_transitions), str(item.num_shards), _mb(item.num_bytes))
            rows.append((str(item.version), date, *counts, " ".join(item.tags), item.message))
        widths = [max(len(row[i]) for row in rows) for i in range(len(rows[0]))]
        return "\n".join("  ".join(c.ljust(w) for c, w in zip(row, widths, strict=True)).rstrip() for row in rows)

    show(as_json, {"path": path, "versions": [asdict(item) for item in found]}, text)


@click.command("tag")
@STORE
@click.argument("name", required=False)
@click.option("--version", default=None, help="A number or another tag; default: the newest version.")
@click.option("--move", is_flag=True, help="Move the tag if it already exists.")
@click.option("--delete", is_flag=True, help="Remove the tag; the version is kept.")
@JSON
def tag(path: str, name: str | None, version: str | None, move: bool, delete: bool, as_json: bool) -> None:
    """Tag a version with NAME, which protects it from `drop`; without NAME, list the tags."""
    from distil.store import Store
    from distil.store.tags import delete_tag, list_tags

    store = Store.open(path)
    if name is None:
        if delete or move or version is not None:
            raise InputError("which tag? give its NAME")
    elif delete:
        delete_tag(store.path, name)
    else:
        store.tag(name, parse_version(version), move=move)
    tags = {item.name: item.version for item in list_tags(store.path)}
    show(as_json, {"path": path, "tags": tags}, lambda: "\n".join(f"{key}  {at}" for key, at in tags.items()) or "no tags")


@click.command("diff")
@STORE
@click.argument("old")
@click.argument("new", required=False)
@JSON
def diff(path: str, old: str, new: str | None, as_json: bool) -> None:
    """Show which episodes differ between two versions or tags (NEW defaults to the newest version)."""
    from distil.store import Store
    from distil.store.history import diff as compare

    found = compare(Store.open(path), parse_version(old), parse_version(new))
    lines = [
        f"{sign} {uid}" for sign, kind in (("+", "added"), ("-", "removed"), ("~", "changed")) for uid in getattr(found, kind)
    ]
    show(as_json, {"path": path} | asdict(found), lambda: "\n".join(lines) or "the same episodes")


@click.command("drop")
@STORE
@click.argument("versions", nargs=-1, type=int)
@click.option("--keep", type=click.IntRange(1), default=None, metavar="N", help="Keep only the N newest untagged versions.")
@JSON
def drop(path: str, versions: tuple[int, ...], keep: int | None, as_json: bool) -> None:
    """Drop old VERSIONS. `distil store gc` then frees the space of shards that no remaining version uses."""
    from distil.store import Store
    from distil.store.history import drop as forget
    from distil.store.history import droppable

    if (keep is None) == (not versions):
        raise InputError("which versions? give their numbers, or --keep N")
    store = Store.open(path)
    chosen = list(versions) if keep is None else droppable(store, keep)
    forget(store, chosen)
    show(as_json, {"path": path, "dropped": chosen}, lambda: f"dropped: {', '.join(map(str, chosen)) or 'none'}")


@click.command("pins")
@STORE
@click.option(
    "--release",
    default=None,
    metavar="RUN",
    help="Release the pins of this run's folder; the run cannot be resumed afterwards.",
)
@JSON
def pins(path: str, release: str | None, as_json: bool) -> None:
    """List the versions that unfinished runs need; `drop` refuses to drop them."""
    from distil.store import Store
    from distil.store.pins import list_pins

    store = Store.open(path)
    if release is not None and not store.unpin(release):
        raise InputError(f"{path}: {release} has no pinned version; `distil store pins {path}` lists the runs that have")
    found = list_pins(store.path)
    lines = [f"{pin.version}  {pin.name} on {pin.host}" for pin in found]
    show(as_json, {"path": path, "pins": [asdict(pin) for pin in found]}, lambda: "\n".join(lines) or "no pins")


@click.command("gc")
@STORE
@click.option(
    "--grace-days",
    type=Finite(0),
    default=7.0,
    show_default=True,
    help="Keep newer files; use 0 only without active writers.",
)
@click.option("--dry-run", is_flag=True, help="Only report what would be deleted.")
@JSON
def gc(path: str, grace_days: float, dry_run: bool, as_json: bool) -> None:
    """Delete old shards that no version uses."""
    from distil.store import Store
    from distil.store.gc import collect_garbage

    report = collect_garbage(Store.open(path), grace_s=grace_days * _DAY_S, dry_run=dry_run)

    def text() -> str:
        what = "would be deleted" if dry_run else "deleted"
        lines = [*_list(what, report.deleted), *_list("too new to delete", report.kept), *_list("restored", report.restored)]
        return "\n".join([*lines, f"{_mb(report.num_bytes)} {what}"])

    show(as_json, {"path": path, "dry_run": dry_run} | asdict(report), text)


@click.command("compact")
@STORE
@click.option("--target-mb", type=click.IntRange(1), default=128, show_default=True, help="Size of the merged shards.")
@JSON
def compact(path: str, target_mb: int, as_json: bool) -> None:
    """Merge small shards into larger ones, as a new version with the same episodes."""
    from distil.store import Store
    from distil.store.compact import compact as merge

    report = merge(Store.open(path), target_bytes=target_mb << 20)
    show(
        as_json,
        {"path": path} | asdict(report),
        lambda: f"version {report.version}: {report.num_before} shards are now {report.num_after}",
    )


@click.command("recover")
@STORE
@click.option("--discard", is_flag=True, help="Remove unfinished files and commit nothing.")
@click.option("--dry-run", is_flag=True, help="Only report what was found.")
@JSON
def recover(path: str, discard: bool, dry_run: bool, as_json: bool) -> None:
    """Recover from a crash: commit the sealed shards of killed writers and remove their unfinished files."""
    from distil.store import Store
    from distil.store.recover import recover as salvage

    report = salvage(Store.open(path), discard=discard, dry_run=dry_run)

    def text() -> str:
        lines = [
            line
            for name in ("salvaged", "discarded", "writing", "refused", "restored")
            for line in _list(name, getattr(report, name))
        ]
        would = "would be " if dry_run else ""
        done = f"{report.num_episodes} episodes of {len(report.committed)} shards {would}committed; version {report.version}"
        return "\n".join([*lines, done])

    show(as_json, {"path": path, "dry_run": dry_run} | asdict(report), text)
