"""The frame of a page."""

from __future__ import annotations

from pathlib import Path

import pytest

from distil.compare.html import page, save, table
from distil.errors import InputError


def test_a_page_and_its_parts() -> None:
    text = page("a < b", ["<p>x</p>", "<p>y</p>"], ".own{}")
    assert "<title>a &lt; b</title>" in text
    assert "<main><p>x</p><p>y</p></main>" in text
    assert ".own{}</style>" in text
    assert "default-src 'none'" in text


def test_a_table_escapes_its_columns_only() -> None:
    text = table(["a.b<"], [["<b>1</b>"]])
    assert "<th>a.<wbr>b&lt;</th>" in text
    assert "<td><b>1</b></td>" in text


def test_where_it_cannot_be_written_is_said(tmp_path: Path) -> None:
    assert save("x", tmp_path / "new" / "page.html").read_text() == "x"
    (tmp_path / "file").touch()
    with pytest.raises(InputError, match="cannot be written"):
        save("x", tmp_path / "file" / "page.html")
