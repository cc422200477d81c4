"""The frame of a self-contained HTML page, its tables, and its file: no script, and no request to anywhere."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from html import escape
from importlib import resources
from pathlib import Path

from distil.durable import replace_durably
from distil.errors import InputError

_POLICY = "default-src 'none'; style-src 'unsafe-inline'; media-src data:"


def page(title: str, sections: Iterable[str], style: str = "") -> str:
    """Return a page.

    Args:
        title: text.
        sections: HTML.
        style: CSS besides that of all pages.
    """
    shared = resources.files("distil.compare").joinpath("page.css").read_text(encoding="utf-8")
    return (
        '<!doctype html><html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f'<meta http-equiv="Content-Security-Policy" content="{_POLICY}"><link rel="icon" href="data:,">'
        f"<title>{escape(title)}</title><style>{shared}{style}</style></head><body><main>{''.join(sections)}</main></body></html>\n"
    )


def table(columns: Sequence[str], rows: Iterable[Sequence[str]], *, left: bool = False) -> str:
    """Return a table in a box that scrolls; cells are HTML, columns are text and may break at their dots."""
    kind = ' class="left"' if left else ""
    head = "".join(f"<th{kind}>{escape(column).replace('.', '.<wbr>')}</th>" for column in columns)
    body = "".join("<tr>" + "".join(f"<td{kind}>{cell}</td>" for cell in row) + "</tr>" for row in rows)
    return f'<div class="scroll"><table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table></div>'


def save(text: str, path: Path) -> Path:
    """Write a page, durably; return `path`. InputError if it cannot be written."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        replace_durably(path, text.encode())
    except OSError as error:
        raise InputError(f"--out {path}: cannot be written ({error.strerror})") from None
    return path
