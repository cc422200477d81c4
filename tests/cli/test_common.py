import os
import shutil
import sys

import click
import pytest

from distil.cli.common import Finite, listing, pairs, parse_version, read_overrides


def test_arguments_become_overrides() -> None:
    assert read_overrides(("learner.num_steps=5", "data.path=x/y")) == {"learner.num_steps": 5, "data.path": "x/y"}
    with pytest.raises(ValueError, match=r"key\.path=value"):
        read_overrides(("nonsense",))


def test_pairs_are_aligned_and_rounded() -> None:
    assert pairs({"a": 1.23456, "long": "b"}) == "a     1.235\nlong  b"


def test_a_list_on_a_terminal_is_continued_below_and_not_inside_a_word(monkeypatch: pytest.MonkeyPatch) -> None:
    rows = {"kind=a": "some words that are too long for one line of a narrow terminal", "kind=bcd": "short"}
    assert listing(rows).splitlines() == [f"kind=a    {rows['kind=a']}", "kind=bcd  short"]  # a pipe gets a line for each
    monkeypatch.setattr(sys.stdout, "isatty", lambda: True, raising=False)
    monkeypatch.setattr(shutil, "get_terminal_size", lambda: os.terminal_size((40, 24)))
    lines = listing(rows).splitlines()
    assert max(map(len, lines)) <= 40
    assert all(line.startswith(("kind=", " " * 10)) for line in lines)
    assert " ".join(" ".join(lines).split()) == f"kind=a {rows['kind=a']} kind=bcd short"
    below = listing({"a-name-that-leaves-no-room": "a text"}).splitlines()
    assert below == ["a-name-that-leaves-no-room", "    a text"]


def test_a_version_is_a_number_or_a_tag() -> None:
    assert [parse_version(text) for text in (None, "3", "best", "v2")] == [None, 3, "best", "v2"]


@pytest.mark.parametrize("text", ["nan", "inf", "-1", "x"])
def test_a_number_is_finite_and_in_its_range(text: str) -> None:
    assert Finite(0).convert("2.5", None, None) == 2.5
    with pytest.raises(click.BadParameter):
        Finite(0).convert(text, None, None)
