from __future__ import annotations

from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from distil.errors import InputError, RunError
from distil.interchange.hdf5 import Hdf5Import
from distil.interchange.transfer import import_store

h5py = pytest.importorskip("h5py", reason="needs pip install 'distil[hdf5]'")
NUM = 7


def write(path: Path, arrays: dict[str, Any], **attributes: Any) -> Path:
    with h5py.File(path, "w") as file:
        for name, values in arrays.items():
            file[name] = values
        file.attrs.update(attributes)
    return path


def d4rl(path: Path, **changes: Any) -> Path:
    """All steps in a few arrays: an episode that terminates at step 2, one that a limit cuts at 5, and a rest of one step."""
    steps = np.stack([np.arange(NUM), -np.arange(NUM)], 1).astype(np.float32)
    arrays = {
        "observations": steps,
        "actions": steps / 10,
        "rewards": np.ones(NUM, np.float32),
        "terminals": np.arange(NUM) == 2,
        "timeouts": np.arange(NUM) == 5,
        "infos/qpos": steps,
        "metadata/algorithm": "SAC",
    }
    return write(path, {name: values for name, values in (arrays | changes).items() if values is not None})


def test_d4rl(tmp_path: Path) -> None:
    """CORRECTNESS 1: a timeout isn't a termination."""
    result = import_store(Hdf5Import(infos=("infos/qpos",)), d4rl(tmp_path / "a.hdf5"), tmp_path / "store")
    assert [finding.what for finding in result.findings] == [Hdf5Import().finding("").what]
    episodes = [result.snapshot.episode(i) for i in range(3)]
    assert [(e.length, e.terminated, e.truncated) for e in episodes] == [(3, True, False), (3, False, True), (1, False, True)]
    assert episodes[1].observations["obs"][:, 0].tolist() == [3, 4, 5, 5]
    assert result.snapshot.spec.observation.describe() == "Box(2) float32"


def test_next_observations_are_the_final_ones_and_are_checked(tmp_path: Path) -> None:
    """CORRECTNESS 2 and 37."""
    steps = np.stack([np.arange(1, NUM + 1), -np.arange(1, NUM + 1)], 1).astype(np.float32)
    steps[[2, 5]] += 50
    path = d4rl(tmp_path / "a.hdf5", next_observations=steps)
    result = import_store(Hdf5Import(), path, tmp_path / "store")
    assert not result.findings
    assert result.snapshot.episode(0).observations["obs"][:, 0].tolist() == [0, 1, 2, 53]
    path = d4rl(tmp_path / "b.hdf5", next_observations=steps, timeouts=None)
    with pytest.raises(RunError, match="episode 1, step 2: next observations isn't the next row's"):
        import_store(Hdf5Import(), path, tmp_path / "other")
    path = d4rl(tmp_path / "c.hdf5", timeouts=None)
    said = " ".join(f.what for f in import_store(Hdf5Import(), path, tmp_path / "third").findings)
    assert "episodes are taken to end where they terminate only" in said


def aloha(path: Path, number: int, *, compress: bool = False) -> Path:
    from PIL import Image

    images = np.full((NUM, 16, 20, 3), 10 * number + 100, np.uint8)
    if compress:
        coded = []
        for image in images:
            out = BytesIO()
            Image.fromarray(image).save(out, "JPEG", quality=95)
            coded.append(np.frombuffer(out.getvalue(), np.uint8))
        images = np.stack([np.pad(row, (0, 2000 - len(row))) for row in coded])
    joints = np.full((NUM, 14), float(number))
    arrays = {"action": joints, "observations/qpos": joints, "observations/qvel": joints, "observations/images/top": images}
    return write(path, arrays, sim=True, compress=compress)


@pytest.mark.parametrize("compress", [False, True])
def test_aloha(tmp_path: Path, compress: bool) -> None:
    folder = tmp_path / "in"
    folder.mkdir()
    for number in (2, 10):
        aloha(folder / f"episode_{number}.hdf5", number, compress=compress)
    result = import_store(Hdf5Import(), folder, tmp_path / "store")
    said = " ".join(finding.what for finding in result.findings)
    assert "each file is one" in said
    spec = result.snapshot.spec
    assert [leaf.name for leaf in spec.observation.leaves] == ["obs/images/top", "obs/qpos", "obs/qvel"]
    assert spec.observation.leaves[0].is_image
    episode = result.snapshot.episode(1)
    assert np.all(np.abs(episode.observations["obs/images/top"].astype(int) - 200) <= 2)
    assert (episode.actions[0, 0], episode.length, episode.truncated) == (10, NUM, True)
    one = import_store(Hdf5Import(observations=("observations/qpos",)), folder, tmp_path / "one").snapshot
    assert one.spec.observation.tree == "obs"


def test_what_is_wrong_is_named(tmp_path: Path) -> None:
    path = d4rl(tmp_path / "a.hdf5", rewards=np.ones(3))
    with pytest.raises(InputError, match=r"a.hdf5: the rewards are \[3\], not one a step"):
        import_store(Hdf5Import(), path, tmp_path / "store")
    with pytest.raises(InputError, match="no key 'observation'; did you mean observations"):
        import_store(Hdf5Import(observations=("observation",)), d4rl(tmp_path / "a.hdf5"), tmp_path / "store")
    with pytest.raises(InputError, match="metadata/algorithm can't be taken: it is text"):
        import_store(Hdf5Import(observations=("metadata/algorithm",)), d4rl(tmp_path / "a.hdf5"), tmp_path / "store")
    for name, kind in (("data/demo_0/actions", "robomimic"), ("episode_0/actions", "minari")):
        path = write(tmp_path / f"{kind}.hdf5", {name: np.zeros((3, 2))})
        with pytest.raises(InputError, match=f"it has {kind}'s layout: `distil store import {kind}"):
            import_store(Hdf5Import(), path, tmp_path / "store")
    with h5py.File(tmp_path / "a.hdf5", "a") as file:
        file["more"] = h5py.ExternalLink("other.hdf5", "/x")
    with pytest.raises(InputError, match="an external link"):
        import_store(Hdf5Import(), tmp_path / "a.hdf5", tmp_path / "store")
