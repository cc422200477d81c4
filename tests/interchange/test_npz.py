from __future__ import annotations

import zipfile
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from distil.errors import InputError, RunError
from distil.interchange.npz import NpzImport
from distil.interchange.transfer import import_store

NUM, ENDS = 7, [3, 7]
STATE = np.stack([np.arange(NUM), -np.arange(NUM)], 1).astype(np.float32)


def said(result: Any) -> str:
    return " ".join(finding.what for finding in result.findings)


def test_all_steps_in_one_file(tmp_path: Path) -> None:
    """PushT's low-dimensional file: state, action, episode_ends."""
    np.savez(tmp_path / "a.npz", state=STATE, action=STATE / 2, episode_ends=ENDS)
    result = import_store(NpzImport(), tmp_path / "a.npz", tmp_path / "store")
    assert "holds no rewards" in said(result)
    assert "taken as truncated" in said(result)
    assert "the last one is repeated" in said(result)
    episode = result.snapshot.episode(1)
    assert episode.observations["obs"][:, 0].tolist() == [3, 4, 5, 6, 6]
    assert (episode.terminated, episode.truncated, episode.success) == (False, True, None)


def test_compressed_with_everything(tmp_path: Path) -> None:
    final = np.insert(STATE, ENDS, [[30, 0], [70, 0]], axis=0)
    names = {"obs": final, "obs_goal": final[:, :1], "actions": np.arange(NUM) % 3, "rews": np.ones((NUM, 1))}
    ends = {
        "terminals": np.arange(NUM) == 2,
        "timeouts": np.arange(NUM) == 6,
        "is_success": [True, False],
        "words": ["x"] * NUM,
    }
    np.savez_compressed(tmp_path / "a.npz", **names, **ends, energy=np.arange(NUM))
    result = import_store(NpzImport(infos=("energy",)), tmp_path / "a.npz", tmp_path / "store")
    assert said(result) == ""
    first, second = result.snapshot.episode(0), result.snapshot.episode(1)
    assert first.observations["obs/obs"][:, 0].tolist() == [0, 1, 2, 30]
    assert (first.terminated, first.success, second.truncated, second.success) == (True, True, True, False)
    assert second.infos == tuple(f'{{"energy": {at}}}' for at in range(3, 7))
    assert result.snapshot.spec.action.describe() == "Discrete(3)"


def test_a_file_an_episode(tmp_path: Path) -> None:
    """Stable-Baselines2's names too: obs, actions, rewards, episode_starts; files in the order of their numbers."""
    folder = tmp_path / "in"
    folder.mkdir()
    for number in range(11):
        np.savez(folder / f"e{number}.npz", obs=STATE + number, actions=STATE, rewards=np.ones(NUM), dones=np.arange(NUM) == 6)
    result = import_store(NpzImport(final_observation="drop"), folder, tmp_path / "store")
    assert "dones has one meaning: a 1 is read as terminated" in said(result)
    assert [result.snapshot.episode(i).observations["obs"][0, 0] for i in range(11)] == list(range(11))
    np.savez(folder / "e4.npz", obs=STATE, actions=STATE[:3])
    with pytest.raises(RunError, match=r"e4.npz: episode e4: has no dones, rewards, which the first file has"):
        import_store(NpzImport(), folder, tmp_path / "other")
    np.savez(folder / "e4.npz", obs=STATE, actions=STATE[:3], rewards=np.ones(3), dones=[0, 0, 1])
    with pytest.raises(RunError, match=r"e4.npz: episode e4: observations has 7 rows for 3 steps"):
        import_store(NpzImport(), folder, tmp_path / "other")
    assert import_store(NpzImport(), folder, tmp_path / "other", skip_bad=True).num_skipped == 1
    starts = np.isin(np.arange(NUM), [0, 3])
    np.savez(tmp_path / "a.npz", obs=STATE, actions=STATE, rewards=np.ones(NUM), episode_starts=starts, episode_returns=[3, 4])
    assert import_store(NpzImport(), tmp_path / "a.npz", tmp_path / "two").snapshot.episodes.length.tolist() == [3, 4]


def test_hostile_files(tmp_path: Path) -> None:
    """Nothing is unpickled; headers that lie and bombs are refused before anything is allocated."""
    objects = BytesIO()
    np.save(objects, np.array([{"a": 1}] * 7, dtype=object), allow_pickle=True)
    liar = BytesIO()
    np.save(liar, np.zeros((7, 2)))
    with zipfile.ZipFile(tmp_path / "a.npz", "w") as file:
        file.writestr("obs.npy", objects.getvalue())
        file.writestr("state.npy", liar.getvalue().replace(b"(7, 2), }       ", b"(7, 1073741824)}"))
        file.writestr("actions.npy", liar.getvalue())
    with pytest.raises(InputError, match="obs can't be taken: it is objects, which are pickles"):
        import_store(NpzImport(observations=("obs",)), tmp_path / "a.npz", tmp_path / "store")
    with pytest.raises(InputError, match=r"state can't be taken: it is damaged \(claims 60,129,542,144 bytes"):
        import_store(NpzImport(observations=("state",)), tmp_path / "a.npz", tmp_path / "store")
    with zipfile.ZipFile(tmp_path / "bomb.npz", "w", zipfile.ZIP_LZMA) as file, file.open("obs.npy", "w") as entry:
        for _ in range(80):
            entry.write(bytes(1 << 20))
    with pytest.raises(InputError, match=r"obs.npy: claims 83,886,080 bytes"):
        import_store(NpzImport(), tmp_path / "bomb.npz", tmp_path / "store")
    (tmp_path / "no.npz").write_text("no")
    with pytest.raises(InputError, match=r"can't be read as \.npz"):
        import_store(NpzImport(), tmp_path / "no.npz", tmp_path / "store")
    with pytest.raises(InputError, match=r"no \.npz files there"):
        import_store(NpzImport(), tmp_path / "nowhere", tmp_path / "store")
