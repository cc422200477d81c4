"""Nodes that differ are named; on several hosts for real in tests/integration/multinode."""

import re
from pathlib import Path
from typing import Any

import pytest

from distil import nodes
from distil.errors import InputError, RunError
from distil.nodes import Shared, check_nodes

OWN: dict[str, Any] = {
    "python": "3.11.7",
    "packages": {"distil": "0.1.0", "torch": "2.13.0", "numpy": "2.4.6"},
    "code": "ab",
    "seen": [],
}


def answer(**changes: Any) -> dict[str, Any]:
    packages = {**OWN["packages"], **changes.pop("packages", {})}
    return {**OWN, "packages": packages, **changes}


@pytest.mark.parametrize(
    ("changes", "wanted"),
    [
        ({"code": None}, "the Python of its Ray has no distil"),
        ({"python": "3.12.1"}, "Python 3.12.1, and .* has 3.11.7"),
        ({"packages": {"distil": "0.2.0"}}, "distil 0.2.0, and .* has 0.1.0"),
        ({"packages": {"torch": "2.12.0"}}, "torch 2.12.0, and .* has 2.13.0"),
        ({"code": "cd"}, r"its distil has other code \(cd\) than .*'s \(ab\)"),
    ],
)
def test_a_node_with_other_software_is_named(changes: dict[str, Any], wanted: str) -> None:
    with pytest.raises(InputError, match=rf"^host-b: {wanted}: install the same on every node, from requirements.lock$"):
        nodes._require_same("host-b", answer(**changes), OWN)


def test_workers_need_no_torch() -> None:
    nodes._require_same("host-b", answer(packages={"torch": None}), OWN)


@pytest.mark.parametrize(
    ("resources", "is_alive", "wanted"),
    [
        ({"CPU": 2.0}, True, True),
        ({"GPU": 1.0}, True, True),  # without CPUs: of the learners alone
        ({"CPU": 2.0}, False, False),
        ({"CPU": 0.0, "memory": 1e9}, True, False),  # a head that runs no work
    ],
)
def test_a_node_that_can_hold_actors_is_asked(resources: dict[str, float], is_alive: bool, wanted: bool) -> None:
    assert nodes._holds_work({"Alive": is_alive, "Resources": resources}) is wanted


@pytest.mark.ray
def test_nodes_that_are_alike_pass_and_leave_nothing_behind(ray_session: Any, tmp_path: Path) -> None:
    (tmp_path / "demos").mkdir()
    (tmp_path / "demos" / "store.json").write_text("{}")
    shared = [Shared("data.path", tmp_path / "demos", "store.json"), Shared("runs", tmp_path / "a" / "runs")]
    notes: list[str] = []
    check_nodes(ray_session, shared=shared, note=notes.append)
    assert notes == []
    assert sorted(path.name for path in tmp_path.rglob("*")) == ["demos", "store.json"]


@pytest.mark.ray
def test_a_clock_that_is_off_is_named(ray_session: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    real = nodes.time.time
    for off_s, way in ((-60.0, "ahead of"), (60.0, "behind")):
        notes: list[str] = []
        monkeypatch.setattr("distil.nodes.time.time", lambda off_s=off_s: real() + off_s)  # this host's; nodes have their own
        check_nodes(ray_session, note=notes.append)
        assert len(notes) == 1
        assert re.search(rf"\): its clock is (59|60|61) s {way} this host's; times in MLflow will be off", notes[0])


def test_a_folder_without_room_for_the_mark_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with (
        pytest.raises(InputError, match=r"^runs=/proc/x: no file can be written there \(.*\); choose another one$"),
        nodes._marked(Shared("runs", Path("/proc/x"))),
    ):
        raise AssertionError


def test_a_folder_that_is_not_shared_is_named_with_the_hosts() -> None:
    seen = [("host-a", "same"), ("host-b", "No such file or directory"), ("host-c", "another one")]
    with pytest.raises(InputError) as caught:
        nodes._require_seen(Shared("data.path", Path("/data")), seen)
    text = str(caught.value)
    assert text.startswith("data.path=/data: ")
    assert "(host-b: No such file or directory; host-c: another one)" in text
    assert text.endswith("or an object store")
    nodes._require_seen(Shared("runs", Path("/data")), seen[:1])


@pytest.mark.ray
def test_a_node_that_does_not_answer_is_named(ray_session: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(nodes, "_ANSWER_S", 0.0)
    monkeypatch.setattr(nodes, "_PATIENCE_S", 0.0)
    with pytest.raises(RunError, match=r"\): no answer in 0 s: see that node's Ray"):
        check_nodes(ray_session, note=print)
