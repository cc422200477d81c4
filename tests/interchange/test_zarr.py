from __future__ import annotations

import json
import shutil
import warnings
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from distil.errors import InputError, RunError
from distil.interchange.transfer import import_store
from distil.interchange.zarr import ZarrImport

zarr = pytest.importorskip("zarr", reason="needs pip install 'distil[zarr]'")
numcodecs = pytest.importorskip("numcodecs")
ENDS = np.array([4, 5, 11])


class Bomb:
    """Runs code when it is unpickled."""

    def __reduce__(self) -> Any:
        return (pytest.fail, ("unpickled",))


def replay_buffer(path: Path, *, zarr_format: int = 2, ends: Any = ENDS, **changes: Any) -> Path:
    """A buffer as diffusion_policy's ReplayBuffer.save_to_path lays one out: state = 100 * episode + step."""
    episode = np.repeat(np.arange(3), [4, 1, 6])
    state = np.stack([100 * episode + np.arange(11), -episode], axis=1).astype(np.float32)
    images = np.random.default_rng(0).integers(0, 256, (11, 12, 10, 3)).astype(np.float32)
    data = {"state": state, "action": state[:, ::-1] / 7, "img": images, "n_contacts": np.ones((11, 1), np.float32)} | changes
    root = zarr.open_group(path, mode="w", zarr_format=zarr_format)
    blosc = {"compressors": [numcodecs.Blosc("zstd", 5, numcodecs.Blosc.BITSHUFFLE)]} if zarr_format == 2 else {}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # zarr's, on types that only version 2 has
        for name, values in data.items():
            group = root.require_group("data")
            group.create_array(name, data=values, chunks=(3, *values.shape[1:]), **blosc)
        root.require_group("meta").create_array("episode_ends", data=np.asarray(ends), chunks=np.shape(ends))
    return path


def zipped(path: Path) -> Path:
    target = path.with_suffix(".zarr.zip")
    with zipfile.ZipFile(target, "w") as file:
        for part in sorted(path.rglob("*")):
            if part.is_file():
                file.write(part, part.relative_to(path).as_posix())
    return target


@pytest.mark.parametrize("form", ["v2", "v3", "zip"])
def test_a_buffer_comes_whole(tmp_path: Path, form: str) -> None:
    path = replay_buffer(tmp_path / "pusht.zarr", zarr_format=3 if form == "v3" else 2)
    source = zipped(path) if form == "zip" else path
    result = import_store(ZarrImport(observations=("img", "state"), images="uint8"), source, tmp_path / "store")
    told = [finding.what for finding in result.findings]
    assert len(told) == 3  # the last observation, the ends, the rewards
    assert "the last one is repeated" in told[0]
    assert "taken as truncated" in told[1]
    assert result.snapshot.episodes.length.tolist() == [4, 1, 6]
    episode = result.snapshot.episode(2)
    root = zarr.open_group(path, mode="r")
    assert episode.observations["obs/state"][:, 0].tolist() == [205, 206, 207, 208, 209, 210, 210]
    np.testing.assert_array_equal(episode.actions, root["data/action"][5:11])
    np.testing.assert_array_equal(episode.observations["obs/img"][:-1], root["data/img"][5:11])
    assert episode.observations["obs/img"].dtype == np.uint8
    assert (episode.terminated, episode.truncated, episode.total_reward) == (False, True, 0)


def test_options(tmp_path: Path) -> None:
    path = replay_buffer(tmp_path / "pusht.zarr", button=np.arange(11) % 3, terminal=np.ones((11, 1), bool))
    options = ZarrImport(action="button", observations=("terminal",), reward="n_contacts", final_observation="drop")
    result = import_store(options, path, tmp_path / "store", skip_bad=True)
    assert result.snapshot.spec.action.describe() == "Discrete(3)"
    assert result.snapshot.spec.observation.leaf.kind == "multi_binary"
    assert result.snapshot.episodes.total_reward.tolist() == [3, 5]
    assert "episode 1: has no actions" in str(result.findings[-1])  # it had one, which was dropped
    for bad in (ZarrImport(action="x"), ZarrImport(observations=("x",)), ZarrImport(observations=("../meta",))):
        with pytest.raises(InputError, match="there are action, button, img, n_contacts, state, terminal"):
            import_store(bad, path, tmp_path / "other")


def test_bad_rows_are_named(tmp_path: Path) -> None:
    action = np.zeros((11, 2))
    action[7, 0] = np.nan
    path = replay_buffer(tmp_path / "a.zarr", action=action)
    with pytest.raises(RunError, match=r"a.zarr: episode 2, step 2: action is NaN or infinite"):
        import_store(ZarrImport(), path, tmp_path / "a")
    assert import_store(ZarrImport(), path, tmp_path / "b", skip_bad=True).num_added == 2
    img = path / "data" / "img"
    for chunk in img.glob("1.*"):
        chunk.write_bytes(b"damaged")
    with pytest.raises(RunError, match="episode 0: data/img can't be read"):
        import_store(ZarrImport(), path, tmp_path / "c")


@pytest.mark.parametrize(
    ("ends", "text"),
    [
        ([4, 5, 12], "goes to row 12, the data to 11"),
        ([5, 4, 11], "doesn't increase: number 1 is 4 after 5"),
        ([4, 4, 11], "doesn't increase: number 1 is 4 after 4"),
        ([-1, 11], "doesn't increase: number 0 is -1 after 0"),
        (np.zeros((1, 2), np.int64), r"episode_ends is int64 \[1, 2\], not a list"),
        ([1.5, 11.0], "episode_ends is float64"),
    ],
)
def test_wrong_ends(tmp_path: Path, ends: Any, text: str) -> None:
    path = replay_buffer(tmp_path / "a.zarr", ends=ends)
    with pytest.raises(InputError, match=text):
        import_store(ZarrImport(), path, tmp_path / "store")


def test_the_array_at_fault_is_named(tmp_path: Path) -> None:
    path = replay_buffer(tmp_path / "a.zarr", goal=np.zeros((3, 2)), day=np.array(["2020-01-01"] * 11, "M8[ns]"))
    with pytest.raises(InputError, match=r"data/goal has 3 rows, where the episodes have 11; .* observations="):
        import_store(ZarrImport(), path, tmp_path / "store")
    result = import_store(ZarrImport(observations=("state", "img")), path, tmp_path / "store")
    assert result.num_added == 3
    with pytest.raises(InputError, match=r"day can't be taken: it is dates \(<M8\[ns\]\)"):
        import_store(ZarrImport(observations=("day",)), path, tmp_path / "store")
    for chunk in (path / "meta" / "episode_ends").glob("[0-9]*"):
        chunk.write_bytes(b"damaged")
    with pytest.raises(InputError, match="meta/episode_ends can't be read"):
        import_store(ZarrImport(), path, tmp_path / "store")


def test_what_is_not_numbers_is_left_out_and_said(tmp_path: Path) -> None:
    path = replay_buffer(tmp_path / "a.zarr", ends=[4, 5, 9], day=np.array(["2020-01-01"] * 11, "M8[ns]"))
    result = import_store(ZarrImport(), path, tmp_path / "store")
    said = " ".join(finding.what for finding in result.findings)
    assert "left out, as only numbers are read: day (dates (<M8[ns]))" in said
    assert "2 rows after the last episode's end are left out" in said
    assert "obs/img holds whole numbers from 0 to 255 as float32" in said


def test_nothing_is_unpickled(tmp_path: Path) -> None:
    path = replay_buffer(tmp_path / "a.zarr")
    array = path / "data" / "state"
    metadata = json.loads((array / ".zarray").read_text())
    bomb = numcodecs.Pickle().encode(np.array([Bomb()], dtype=object))
    for change in (
        {"dtype": "|O", "filters": [{"id": "pickle"}]},
        {"filters": [{"id": "pickle"}]},
        {"compressor": {"id": "pickle"}},
    ):
        (array / ".zarray").write_text(json.dumps(metadata | {"compressor": None} | change))
        (array / "0.0").write_bytes(bomb)
        with pytest.raises(InputError, match=r"state( can't be taken: it is objects|: codec 'pickle')"):
            import_store(ZarrImport(observations=("state",)), path, tmp_path / "store")
        with pytest.raises(InputError, match=r"state( can't be taken: it is objects|: codec 'pickle')"):
            import_store(ZarrImport(observations=("state",)), zipped(path), tmp_path / "store")
    assert import_store(ZarrImport(observations=("img",)), path, tmp_path / "store").num_added == 3


def test_consolidated_metadata_is_not_trusted(tmp_path: Path) -> None:
    path = replay_buffer(tmp_path / "a.zarr")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        zarr.consolidate_metadata(path)
    whole = json.loads((path / ".zmetadata").read_text())
    whole["metadata"]["data/state/.zarray"] |= {"filters": [{"id": "pickle"}], "compressor": None}
    (path / ".zmetadata").write_text(json.dumps(whole))
    (path / "data" / "state" / "0.0").write_bytes(numcodecs.Pickle().encode(np.array([Bomb()], dtype=object)))
    with pytest.raises(RunError, match="data/state can't be read"):
        import_store(ZarrImport(), path, tmp_path / "store")


def test_wrong_sources(tmp_path: Path) -> None:
    (tmp_path / "text").write_text("no")
    with pytest.raises(InputError, match="neither a zarr folder nor a zip"):
        import_store(ZarrImport(), tmp_path / "text", tmp_path / "store")
    path = replay_buffer(tmp_path / "a.zarr")
    shutil.rmtree(path / "meta")
    with pytest.raises(InputError, match="no array meta/episode_ends"):
        import_store(ZarrImport(), path, tmp_path / "store")


def test_rewards_success_and_ends_are_no_observations(tmp_path: Path) -> None:
    last = np.isin(np.arange(11) + 1, ENDS)
    flags = {"reward": np.ones(11), "success": last & (np.arange(11) > 4), "terminated": last & (np.arange(11) < 5)}
    path = replay_buffer(tmp_path / "a.zarr", zarr_format=3, **flags)
    result = import_store(ZarrImport(), path, tmp_path / "a")
    found = [result.snapshot.episode(i) for i in range(3)]
    assert set(found[0].observations) == {"obs/img", "obs/n_contacts", "obs/state"}
    assert [(e.total_reward, e.success, e.terminated) for e in found] == [(4, False, True), (1, False, True), (6, True, False)]
    assert not any("rewards are 0" in finding.what for finding in result.findings)
    options = ZarrImport(observations=("reward", "state"))
    assert "obs/reward" in import_store(options, path, tmp_path / "b").snapshot.episode(0).observations


def test_flags_that_contradict_the_ends_are_refused(tmp_path: Path) -> None:
    done = np.zeros(11, np.int64)
    done[[1, 10]] = 1
    with pytest.raises(RunError, match="episode 0, step 1: done before its last step"):
        import_store(ZarrImport(), replay_buffer(tmp_path / "a.zarr", done=done), tmp_path / "a")
    done[1] = 0
    result = import_store(ZarrImport(done="truncated"), replay_buffer(tmp_path / "b.zarr", done=done), tmp_path / "b")
    assert any("data/done has one meaning" in finding.what for finding in result.findings)
    assert not result.snapshot.episode(2).terminated


def test_arrays_of_groups_and_single_numbers(tmp_path: Path) -> None:
    path = replay_buffer(tmp_path / "a.zarr", zarr_format=3)
    root = zarr.open_group(path)
    root["data"].create_array("arm/q", data=np.ones((11, 2)))
    root["data"].create_array("rate", data=np.array(10.0))
    result = import_store(ZarrImport(), path, tmp_path / "a")
    assert "obs/arm/q" in result.snapshot.episode(0).observations
    assert any("left out, as only numbers are read: rate (a single number)" in finding.what for finding in result.findings)


def test_rows_against_their_own_clock_are_said(tmp_path: Path) -> None:
    times = np.concatenate([np.arange(num, dtype=float) for num in (4, 1, 6)])
    assert not any("goes back" in what for what in said(replay_buffer(tmp_path / "a.zarr", timestamp=times), tmp_path / "a"))
    times[[6, 7]] = times[[7, 6]]
    assert any(
        "data/timestamp goes back at row 7" in what
        for what in said(replay_buffer(tmp_path / "b.zarr", timestamp=times), tmp_path / "b")
    )


def said(path: Path, store: Path) -> list[str]:
    return [finding.what for finding in import_store(ZarrImport(), path, store).findings]
