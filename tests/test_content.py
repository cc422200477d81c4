import sys

import pytest

from distil import content
from distil.errors import InputError


@pytest.fixture
def package(tmp_path, monkeypatch):
    """A user's package, rewritten and reimported by each call."""
    monkeypatch.syspath_prepend(str(tmp_path))

    def write(**files):
        for name, text in files.items():
            path = tmp_path / "mine" / f"{name}.py"
            path.parent.mkdir(exist_ok=True)
            path.write_text(text)
        for name in [name for name in sys.modules if name.partition(".")[0] == "mine"]:
            monkeypatch.delitem(sys.modules, name)
        return content.of_target("mine.expert:act", "expert")

    yield write
    for name in [name for name in sys.modules if name.partition(".")[0] == "mine"]:
        del sys.modules[name]


EXPERT = "def act(obs):\n    from .model import gain\n    return obs * gain\n"


def test_a_file_is_known_by_its_bytes(tmp_path):
    path = tmp_path / "a"
    path.write_bytes(b"one")
    first = content.of_files(path, None)
    assert content.of_files(path) == first
    path.write_bytes(b"two")
    assert content.changed(content.of_files(path).files, first.files) == [str(path)]
    assert content.changed(first.files, first.files) == []
    assert content.changed({}, first.files) == [str(path)]


def test_a_module_is_known_by_its_source_and_what_it_imports_from_its_folder(package):
    first = package(__init__="", expert=EXPERT, model="gain = 2\n", other="x = 1\n")
    assert list(first.sources) == ["mine.expert"]
    assert package(other="x = 2\n") == first  # not imported
    second = package(model="gain = 3\n")
    assert content.changed(second.sources, first.sources) == ["mine.expert"]
    assert package(model="gain = 2\n") == first
    assert package(expert=EXPERT + "# end\n") != first


def test_the_module_that_defines_the_object_counts_too(package):
    first = package(__init__="", expert="from mine.impl import act\n", impl="def act(obs):\n    return 1\n")
    assert set(first.sources) == {"mine.expert", "mine.impl"}
    assert package(impl="def act(obs):\n    return 2\n").sources["mine.impl"] != first.sources["mine.impl"]


def test_pythons_own_modules_and_those_without_a_file_have_none():
    assert content.of_target("json:loads", "expert") == content.Content(unknown=frozenset({"json"}))
    assert content.of_modules("sys", "nowhere", "") == content.Content(unknown=frozenset({"nowhere"}))


def test_what_has_no_digest_is_named(package):
    assert package(__init__="", expert=EXPERT, model="gain = 2\n").unknown == frozenset()
    partial = package(expert="import functools\nact = functools.partial(int, base=2)\n")
    assert partial.unknown == frozenset()  # Python's own class of what the user's module makes
    assert (partial | content.of_modules("nowhere")).unknown == {"nowhere"}
    assert partial.to_json().keys() == {"files", "sources"}  # part of the identity of stored episodes
    with pytest.raises(InputError, match=r"no module named 'nowhere'"):
        content.of_target("nowhere:act", "expert")


def test_contents_are_joined():
    one, two = content.Content(files={"a": "1"}, sources={"m": "2"}), content.Content(files={"b": "3"})
    assert (one | two).to_json() == {"files": {"a": "1", "b": "3"}, "sources": {"m": "2"}}
