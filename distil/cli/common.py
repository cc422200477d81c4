"""Shared by the commands: arguments, overrides, output."""

from __future__ import annotations

import json
import math
import shutil
import sys
import textwrap
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

import click

if TYPE_CHECKING:
    from distil.console import Console

_LEAST = 24  # columns of a list's texts; where names leave less, the texts are below them


class Finite(click.FloatRange):
    """A finite number in a range."""

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> float:
        """Return the number that an option's text holds."""
        number = float(super().convert(value, param, ctx))
        if not math.isfinite(number):
            self.fail(f"{value} is not a number", param, ctx)
        return number


RECIPE = click.argument("recipe")
OVERRIDES = click.argument("overrides", nargs=-1, metavar="[KEY=VALUE]...")
VERSION = click.option("--version", default=None, metavar="NUMBER|TAG", help="A number or a tag; default: the newest version.")
RESUME = click.option("--resume", is_flag=True, help="Continue the unfinished run that has this configuration.")
RUN = click.option(
    "--run",
    default=None,
    metavar="NAME",
    help="Name of the run's folder; with --resume, continue that run if it exists, after stopping a process that runs it.",
)
JSON = click.option("--json", "as_json", is_flag=True, help="Print machine-readable results.")


def console(as_json: bool) -> Console:
    """Return the progress display: bars, lines, or nothing with --json."""
    from distil.console import Console

    return Console(quiet=as_json)


def read_overrides(texts: tuple[str, ...]) -> dict[str, Any]:
    """Return dotted key -> value for the key=value arguments of the command line."""
    from distil.config import parse_override

    return dict(parse_override(text) for text in texts)


def parse_version(text: str | None) -> int | str | None:
    """Return the number, or the tag, that `--version` names."""
    return int(text) if text is not None and text.isdecimal() else text


def show(as_json: bool, data: Mapping[str, Any], text: Callable[[], str]) -> None:
    """Print a result as JSON or as text."""
    click.echo(json.dumps(data, indent=2) if as_json else text())


def pairs(data: Mapping[str, Any]) -> str:
    """Return one line per key, with the values aligned."""
    return listing({key: f"{value:.4g}" if isinstance(value, float) else str(value) for key, value in data.items()})


def listing(rows: Mapping[str, str], indent: str = "") -> str:
    """Return name and text of each row, the texts aligned. On a terminal, a long text is continued below, not inside a word."""
    columns = shutil.get_terminal_size().columns if sys.stdout.isatty() else sys.maxsize  # others read a line for each row
    width = max(map(len, rows), default=0) + 2
    if columns - width - len(indent) >= _LEAST:
        return "\n".join(
            _hanging(f"{indent}{name:<{width}}{text}", columns, " " * (len(indent) + width)) for name, text in rows.items()
        )
    below = f"{indent}    "
    return "\n".join(f"{indent}{name}\n{_hanging(below + text, columns, below)}" for name, text in rows.items())


def _hanging(text: str, columns: int, indent: str) -> str:
    if len(text) <= columns:
        return text
    return textwrap.fill(text, columns, subsequent_indent=indent, break_long_words=False, break_on_hyphens=False)
