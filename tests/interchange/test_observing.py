from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from gymnasium import spaces

from distil.errors import InputError, RunError
from distil.interchange.npz import NpzImport
from distil.interchange.transfer import ImportResult, import_store
from distil.spaces import action_spec, observation_spec
from distil.store import StoreSpec

NUM, ENDS = 7, [3, 7]
POSE = np.stack([np.arange(NUM), np.arange(NUM) % 2], 1).astype(np.float64)
CIRCLE = spaces.Box(-1, 1, (2,), np.float32)


def on_the_circle(pose: Any) -> Any:
    return np.stack([np.cos(pose[:, 0]), np.sin(pose[:, 0])], 1)


def two(given: Any) -> Any:
    return {"at": on_the_circle(given["pose"]), "grip": given["grip"] > 0}


def one_of_two(given: Any) -> Any:
    return given["pose"][:, :1] / given["grip"]


def failing(pose: Any) -> Any:
    return pose[99]


def not_finite(pose: Any) -> Any:
    return np.where(pose == 5, np.nan, pose)


def take(folder: Path, function: str, space: Any, **arrays: Any) -> ImportResult:
    np.savez(folder / "a.npz", action=POSE / 8, episode_ends=ENDS, **arrays)
    options = {"observe": f"{__name__}:{function}", "observations": tuple(arrays)}
    spec = space and StoreSpec(observation=observation_spec(space), action=action_spec(CIRCLE), env={"id": "Known-v0"})
    return import_store(NpzImport(**options), folder / "a.npz", folder / "store", spec=spec)


def test_the_store_holds_what_the_function_makes(tmp_path: Path) -> None:
    result = take(tmp_path, "on_the_circle", CIRCLE, pose=POSE)
    assert result.snapshot.spec.observation == observation_spec(CIRCLE)
    episode = result.snapshot.episode(1)
    np.testing.assert_allclose(episode.observations["obs"][:, 0], np.cos([3, 4, 5, 6, 6]), atol=1e-6)
    assert episode.observations["obs"].dtype == np.float32
    again = take(tmp_path, "on_the_circle", None, pose=POSE)  # the store has its spaces
    assert (again.num_added, again.num_present) == (0, 2)


def test_from_several_observations_to_several_or_one(tmp_path: Path) -> None:
    both = spaces.Dict(at=CIRCLE, grip=spaces.MultiBinary(1))
    result = take(tmp_path, "two", both, pose=POSE, grip=POSE[:, 1:])
    assert result.snapshot.episode(0).observations["obs/grip"].tolist() == [[0], [1], [0], [0]]
    (tmp_path / "one").mkdir()
    result = take(tmp_path / "one", "one_of_two", spaces.Dict(far=spaces.Box(0, 9, (1,))), pose=POSE, grip=POSE[:, 1] + 1)
    assert result.snapshot.episode(0).observations["obs/far"].tolist() == [[0], [0.5], [2], [2]]


@pytest.mark.parametrize(
    ("function", "space", "error", "fault"),
    [
        ("on_the_circle", None, InputError, "a.npz: observe=.* are an environment's; add --recipe or --env"),
        ("on_the_cirle", CIRCLE, InputError, "has no 'on_the_cirle'; did you mean on_the_circle"),
        ("failing", CIRCLE, RunError, "a.npz: episode 0: observe=.*:failing failed: IndexError: "),
        ("not_finite", CIRCLE, RunError, "a.npz: episode 1, step 2: obs is NaN or infinite"),
        ("on_the_circle", spaces.Box(-1, 1, (3,)), RunError, r"episode 0: obs is \[4, 2\], should be \[4, 3\]"),
        ("on_the_circle", spaces.Dict(a=CIRCLE, b=CIRCLE), InputError, "returned obs; .* observations are obs/a, obs/b"),
    ],
)
def test_what_does_not_fit_is_named(tmp_path: Path, function: str, space: Any, error: type[Exception], fault: str) -> None:
    with pytest.raises(error, match=fault):
        take(tmp_path, function, space, pose=POSE)
    assert not (tmp_path / "store").exists()
