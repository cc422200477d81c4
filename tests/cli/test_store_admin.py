"""Versions, tags and clean-up from the command line."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from click.testing import CliRunner
from gymnasium import spaces

from distil.cli.main import cli
from distil.errors import InputError
from distil.spaces import action_spec, observation_spec
from distil.store import Store, StoreSpec
from distil.types import Episode


@pytest.fixture
def path(tmp_path: Path) -> str:
    """A store of three versions, and a sealed shard that was never committed."""
    spec = StoreSpec(observation=observation_spec(spaces.Box(-1, 1, (2,), np.float32)), action=action_spec(spaces.Discrete(2)))
    store = Store.create(tmp_path / "demos", spec)
    for number in range(4):
        writer = store.writer("w")
        writer.add(
            Episode(
                observations={"obs": np.zeros((4, 2), np.float32)},
                actions=np.zeros(3, np.int64),
                rewards=np.zeros(3),
                terminated=True,
                truncated=False,
                expert_actions=np.zeros(3, np.int64),
                labelled=np.ones(3, np.uint8),
                acted_by_expert=np.ones(3, np.uint8),
                uid=f"e{number}",
            )
        )
        entry = writer.seal()
        if number < 3:
            store.commit([entry] if entry else [], f"round {number}")
    return str(store.path)


def run(*arguments: str) -> str:
    return CliRunner().invoke(cli, ["store", *arguments], catch_exceptions=False, standalone_mode=False).output


def answer(*arguments: str) -> Any:
    return json.loads(run(*arguments, "--json"))


def test_versions_tags_and_differences(path: str) -> None:
    lines = run("snapshots", path).splitlines()
    assert lines[0].split() == ["version", "date", "episodes", "transitions", "shards", "size", "tags", "message"]
    assert lines[3].endswith("round 2")
    assert run("tag", path) == "no tags\n"
    assert answer("tag", path, "best", "--version", "2")["tags"] == {"best": 2}
    assert run("tag", path, "now") == "best  2\nnow  3\n"
    assert run("diff", path, "best", "now") == "+ e2\n"
    assert run("diff", path, "3", "1") == "- e1\n- e2\n"
    assert run("diff", path, "now") == "the same episodes\n"
    assert answer("diff", path, "1")["added"] == ["e1", "e2"]
    assert answer("snapshots", path)["versions"][1]["tags"] == ["best"]
    assert run("drop", path, "--keep", "1") == "dropped: 1\n"
    assert answer("tag", path, "best", "--version", "now", "--move")["tags"] == {"best": 3, "now": 3}
    assert answer("tag", path, "best", "--delete")["tags"] == {"now": 3}
    assert answer("drop", path, "2")["dropped"] == [2]
    for arguments in (("drop", path), ("drop", path, "3", "--keep", "1"), ("tag", path, "--delete"), ("drop", path, "3")):
        with pytest.raises(InputError):
            run(*arguments)


def test_pins(path: str) -> None:
    assert run("pins", path) == "no pins\n"
    Store.open(path).pin(2, path)
    assert run("pins", path).startswith(f"2  {path} on ")
    assert run("drop", path, "--keep", "1") == "dropped: 1\n"
    with pytest.raises(InputError, match="other has no pinned version"):
        run("pins", path, "--release", "other")
    assert answer("pins", path, "--release", path)["pins"] == []
    assert answer("drop", path, "2")["dropped"] == [2]


def test_housekeeping(path: str) -> None:
    assert "1 episodes of 1 shards would be committed; version 3" in run("recover", path, "--dry-run")
    assert run("recover", path).endswith("1 episodes of 1 shards committed; version 4\n")
    (Path(path) / "data" / ".x-000000.open").write_bytes(b"half")
    text = run("recover", path)
    assert "discarded: 1\n  .x-000000.open: damaged" in text
    assert run("compact", path) == "version 5: 4 shards are now 1\n"
    run("drop", path, "--keep", "1")
    assert "4 too new" not in run("gc", path)
    dry = answer("gc", path, "--grace-days", "0", "--dry-run")
    assert len(dry["deleted"]) == 4
    assert run("gc", path).startswith("too new to delete: 4\n")
    assert run("gc", path, "--grace-days", "0").startswith("deleted: 4\n")
    assert Store.open(path).verify() == []
    assert Store.open(path).snapshot().num_episodes == 4
