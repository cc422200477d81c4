import json
from pathlib import Path
from typing import Any

import pytest
from rundatabed import config, fill, train

from distil import run as loop
from distil.config import to_yaml
from distil.errors import InputError
from distil.rollouts import Collected
from distil.rundata.pinning import parse
from distil.rundir import RunDir
from distil.store import Store
from distil.store.gc import collect_garbage
from distil.store.history import drop, droppable


@pytest.mark.parametrize("data", [None, {"path": "a", "episodes": 5}, {"path": "a"}], ids=["mixture", "collected", "as it is"])
def test_nobody_can_drop_what_an_unfinished_run_needs(
    folder: Path, data: dict[str, Any] | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Issue 8, number 16: killed in its first update; meanwhile the store grows, and its old versions are dropped."""
    own = {"data": data | {"path": str(folder / "a")}} if data else {}
    settings = config(folder, **own, expert={"kind": "scripted"} if data != {"path": "a"} else None)
    store = Store.open(folder / "a")
    rundir = RunDir.create(Path(settings.runs), settings.name, to_yaml(settings))
    with monkeypatch.context() as context:
        context.setattr(loop, "_update", _killed)
        with pytest.raises(KeyboardInterrupt):
            train(settings, rundir)
    needed = store.versions()[-1]
    fill(folder, "a", 9)
    assert needed not in droppable(store, 1)
    with pytest.raises(InputError, match=f"version {needed} is needed by the unfinished run {rundir.path}"):
        drop(store, [needed])
    drop(store, droppable(store, 1))
    collect_garbage(store, grace_s=0)
    train(settings, rundir)
    assert rundir.reports()[-1].snapshot == (needed if data else None)
    assert needed in droppable(store, 1)


def _killed(*_: Any) -> None:
    raise KeyboardInterrupt


def test_a_store_that_may_only_be_read_is_used_all_the_same(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (folder / "a" / "pins").write_text("in the way")
    assert train(config(folder)).is_finished


def test_lines_of_older_versions_lack_fields() -> None:
    line = {"kind": "collected", "round": 0, "snapshot": 1, "stream": None, "num_episodes": 0, "metrics": {}}
    assert parse([line]) == [Collected(round=0, snapshot=1)]
    assert parse([json.loads(json.dumps(line | {"uids": ["a"]}))]) == [Collected(round=0, snapshot=1, uids=("a",))]
