from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from gymnasium import spaces

from distil.errors import InputError, RunError
from distil.interchange.base import Contents
from distil.interchange.episodes import Finding, Report
from distil.interchange.imitation import ImitationExport, ImitationImport
from distil.interchange.transfer import export_store, import_store
from distil.spaces import action_spec, observation_spec
from distil.store import Snapshot, Store, StoreSpec

MakeStore = Callable[..., Snapshot]
WIDE = spaces.Box(-np.inf, np.inf, (3,), np.float64)


@pytest.fixture
def exported(tmp_path: Path, make_store: MakeStore) -> Path:
    export_store(ImitationExport(), make_store(WIDE, spaces.Discrete(2)), tmp_path / "data")
    (tmp_path / "data" / "distil.json").unlink()  # as if imitation had written it
    return tmp_path / "data"


def spec(observation: Any, action: Any) -> StoreSpec:
    return StoreSpec(observation=observation_spec(observation), action=action_spec(action), env={"id": "Known-v0"})


def test_a_new_store_gets_the_environments_spaces(tmp_path: Path, exported: Path) -> None:
    known = spec(spaces.Box(-5, 5, (3,), np.float32), spaces.Discrete(6))
    result = import_store(ImitationImport(), exported, tmp_path / "known", spec=known)
    assert result.snapshot.spec == known
    episode = result.snapshot.episode(0)
    assert episode.observations["obs"].dtype == np.float32
    again = import_store(ImitationImport(), exported, tmp_path / "known")  # the store's spaces stay
    assert (again.num_added, again.num_present, again.snapshot.version) == (0, 3, 1)
    sole = spec(spaces.Dict(pose=WIDE), spaces.Discrete(2))
    renamed = import_store(ImitationImport(), exported, tmp_path / "renamed", spec=sole).snapshot.episode(0)
    np.testing.assert_array_equal(renamed.observations["obs/pose"].astype(np.float32), episode.observations["obs"])


@pytest.mark.parametrize(
    ("observation", "action", "fault"),
    [
        (spaces.Box(-1, 1, (4,)), spaces.Discrete(2), r"obs is \[3\] in the data, \[4\] in the store"),
        (WIDE, spaces.Box(-1, 1, (2,)), r"actions are Discrete\(2\) in the data, Box\(2\) float32 in the store"),
        (
            spaces.Dict(a=WIDE, b=WIDE),
            spaces.Discrete(2),
            "the data have no obs/a; the data have no obs/b; the store has no obs",
        ),
    ],
)
def test_spaces_that_dont_fit(tmp_path: Path, exported: Path, observation: Any, action: Any, fault: str) -> None:
    with pytest.raises(InputError, match=rf"data: the data don't fit the store's spaces: {fault}.*; choose keys with"):
        import_store(ImitationImport(), exported, tmp_path / "other", spec=spec(observation, action))


def test_data_of_another_environment(tmp_path: Path, exported: Path) -> None:
    class Named(ImitationImport):
        def read(self, source: Path, report: Report) -> Contents:
            contents = super().read(source, report)
            return replace(contents, spec=replace(contents.spec, env={"id": "Other-v0"}))

    known = spec(WIDE, spaces.Discrete(2))
    result = import_store(Named(), exported, tmp_path / "known", spec=known)
    assert [f.what for f in result.findings] == ["says that its environment is Other-v0, the store's is Known-v0"]
    assert import_store(Named(), exported, tmp_path / "known").findings == result.findings
    with pytest.raises(InputError, match="the store has episodes of Known-v0"):
        import_store(ImitationImport(), exported, tmp_path / "known", spec=replace(known, env={"id": "Third-v0"}))
    assert import_store(Named(), exported, tmp_path / "own").findings == ()


def test_values_that_dont_fit_are_named(tmp_path: Path, exported: Path) -> None:
    with pytest.raises(RunError, match="step 0: obs isn't whole numbers from 0 to 255, so uint8 can't hold it"):
        import_store(
            ImitationImport(), exported, tmp_path / "x", spec=spec(spaces.Box(0, 9, (3,), np.uint8), spaces.Discrete(2))
        )
    assert not Store.exists(tmp_path / "x")  # all or nothing: the next try may choose other spaces
    assert list(tmp_path.glob("x/**/*.arrow")) == []


def test_one_uid_with_other_content(tmp_path: Path, make_store: MakeStore) -> None:
    snapshot = make_store()
    export_store(ImitationExport(), snapshot, tmp_path / "data")
    store = Store.create(tmp_path / "other", snapshot.spec)
    writer = store.writer("w")
    writer.add(replace(snapshot.episode(0), rewards=np.zeros(4)))
    entry = writer.seal()
    assert entry is not None
    store.commit([entry])
    with pytest.raises(RunError, match="stream-0000: the store has one of this uid with other content"):
        import_store(ImitationImport(), tmp_path / "data", tmp_path / "other")
    assert store.snapshot().num_episodes == 1


def test_small_shards(tmp_path: Path, exported: Path) -> None:
    result = import_store(ImitationImport(), exported, tmp_path / "made", target_bytes=1)
    assert (len(result.snapshot.entries), result.snapshot.version) == (3, 1)
    assert Store.open(tmp_path / "made").verify() == []


def test_findings_are_told_at_once_and_kept(tmp_path: Path, exported: Path) -> None:
    told: list[Finding] = []
    result = import_store(ImitationImport(demonstrations=False), exported, tmp_path / "made", report=told.append)
    assert tuple(told) == result.findings
    assert result.snapshot.episodes.num_labelled.sum() == 0


def test_infos_must_match(tmp_path: Path, exported: Path) -> None:
    import_store(ImitationImport(), exported, tmp_path / "made")
    with pytest.raises(InputError, match=r"the store has infos \[\], not \['distil'\]"):
        import_store(ImitationImport(infos=("distil",)), exported, tmp_path / "made")


def test_nothing_to_export_and_a_target_in_the_way(tmp_path: Path, make_store: MakeStore) -> None:
    snapshot = make_store()
    with pytest.raises(InputError, match="no episodes to export"):
        export_store(ImitationExport(), snapshot.first(0), tmp_path / "x")
    with pytest.raises(InputError, match="already exists"):
        export_store(ImitationExport(), snapshot, tmp_path / "store")
