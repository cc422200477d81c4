"""What a node says about itself."""

from pathlib import Path

import pytest

from distil.nodefacts import facts


def test_the_code_of_distil_counts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Two checkouts of one version are two distils."""
    found = []
    for text in ("a = 1", "a = 1", "a = 2"):
        (tmp_path / "distil").mkdir(exist_ok=True)
        (tmp_path / "distil" / "__init__.py").write_text(text)
        spec = type("Spec", (), {"submodule_search_locations": [str(tmp_path / "distil")]})
        monkeypatch.setattr("importlib.util.find_spec", lambda name, spec=spec: spec)
        found.append(facts([])["code"])
    assert found[0] == found[1] != found[2]
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    assert facts([])["code"] is None


@pytest.mark.parametrize(("content", "state"), [("x", "same"), ("y", "another one"), (None, "other files")])
def test_a_folder_is_compared_by_a_file_in_it(tmp_path: Path, content: str | None, state: str) -> None:
    if content is not None:
        (tmp_path / "mark").write_text(content)
    assert facts([(str(tmp_path / "mark"), "x")])["seen"] == [state]
    assert facts([(str(tmp_path / "absent" / "mark"), "x")])["seen"] == ["No such file or directory"]


def test_versions_are_without_the_kind_of_build() -> None:
    found = facts([])["packages"]
    assert "+" not in found["torch"]
    assert found["distil"] is not None
