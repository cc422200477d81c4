"""YAML: supported syntax, and limits on memory and time."""

from __future__ import annotations

import itertools
from pathlib import Path

import pytest

from distil.config import load_recipe, parse_yaml
from distil.errors import InputError

LETTERS = "abcdefghi"


@pytest.mark.parametrize(
    ("text", "fault"),
    [
        (
            "a: &a [x]\n" + "".join(f"{y}: &{y} [{','.join([f'*{x}'] * 9)}]\n" for x, y in itertools.pairwise(LETTERS)),
            "more than 100000 values once aliases are expanded",
        ),
        (
            "a: &a {k: 1}\n"
            + "".join(f"{y}: &{y} {{<<: [{','.join([f'*{x}'] * 9)}]}}\n" for x, y in itertools.pairwise(LETTERS)),
            "more than 100000 values once aliases are expanded",
        ),
        ("&a [*a]", "aliases are expanded"),
        ("&a {k: *a}", "aliases are expanded"),
        ("[" * 100_000, "nested too deep"),
        ("{a: " * 20_000, "nested too deep"),
        ("\n".join(" " * i + "a:" for i in range(400)), "nested too deep"),
        ("a: 1\n" * 60_000, "300000 characters of YAML; the limit is 131072"),
        ("x: " + "9" * 5000, "4300 digits"),
        ("x: 1" + ":59" * 3000, "4300 digits"),
        ("!!timestamp 2001-99-99", "month must be in 1..12"),
        ("x: !!binary aGk=", "bytes is not JSON"),
        ("!!set {a, b}", "set is not JSON"),
        ("? [a, b]\n: c", "unhashable"),
        ("\0", "not valid YAML"),
    ],
    ids=itertools.count(),
)
def test_a_short_yaml_uses_little_memory_and_time(text: str, fault: str) -> None:
    with pytest.raises(InputError, match=fault) as caught:
        parse_yaml(text, "x.yaml")
    assert "\n" not in str(caught.value)
    assert str(caught.value).startswith("x.yaml")


def test_aliases_are_read() -> None:
    assert parse_yaml("a: &a {x: 1}\nb: *a\nc: {<<: *a, y: 2}", "x") == {"a": {"x": 1}, "b": {"x": 1}, "c": {"x": 1, "y": 2}}


def test_an_ordered_dictionary_is_read_on_request() -> None:
    text = "!!python/object/apply:collections.OrderedDict\n- - - a\n    - 1\n  - - b\n    - x\n"
    assert parse_yaml(text, "x", pairs=True) == {"a": 1, "b": "x"}
    with pytest.raises(InputError, match="constructor"):
        parse_yaml(text, "x")
    for other in ("os.mkdir", "collections.OrderedDict {}"):
        with pytest.raises(InputError, match="not valid YAML"):
            parse_yaml(f"!!python/object/apply:{other}", "x", pairs=True)


def test_a_file_over_the_limit_is_not_read(tmp_path: Path) -> None:
    path = tmp_path / "x.yaml"
    with path.open("wb") as file:
        file.truncate(1 << 40)  # sparse: nobody has the memory to read it
    with pytest.raises(InputError, match=r"x.yaml: 1099511627776 bytes; the limit is 131072 characters of YAML"):
        load_recipe(path)
