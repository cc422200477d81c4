from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from gymnasium import spaces

from distil.errors import InputError
from distil.interchange.conversion import Conversion
from distil.interchange.episodes import BadEpisodeError, Finding, demonstration
from distil.spaces import action_spec, observation_spec
from distil.store import StoreSpec
from distil.types import Episode

DISCRETE = spaces.Discrete(3)


def spec(observation: spaces.Space[Any], action: spaces.Space[Any] = DISCRETE) -> StoreSpec:
    return StoreSpec(observation=observation_spec(observation), action=action_spec(action))


def floats(shape: tuple[int, ...], dtype: Any = np.float32) -> spaces.Box:
    bound = np.inf if np.dtype(dtype).kind == "f" else 1000
    return spaces.Box(-bound, bound, shape, dtype)


def episode(observations: dict[str, Any], actions: Any = (0, 2)) -> Episode:
    rows = {name: np.asarray(values) for name, values in observations.items()}
    return demonstration(observations=rows, actions=np.asarray(actions), rewards=np.zeros(2), terminated=True, truncated=False)


@pytest.mark.parametrize("shape", [(9, 8, 3), (3, 9, 8), (9, 8, 1), (4, 9, 8), (16, 17), (4, 9, 8, 3), (2, 3, 9, 8)])
@pytest.mark.parametrize("dtype", [np.float32, np.float64, np.int64])
def test_images_of_whole_numbers_become_uint8_when_asked_and_are_named_otherwise(shape: tuple[int, ...], dtype: Any) -> None:
    given = spec(spaces.Dict(image=floats(shape, dtype), pose=floats((2,))))
    values = np.random.default_rng(0).integers(0, 256, (3, *shape))
    one = episode({"obs/image": values.astype(dtype), "obs/pose": np.full((3, 2), 0.5, np.float32)})
    found: list[Finding] = []
    convert = Conversion(given, None, images="uint8", where="f", report=found.append)
    out = convert("0", one).observations["obs/image"]
    assert (out.dtype, found) == (np.uint8, [])
    np.testing.assert_array_equal(out, values)
    assert convert.spec is not None
    assert convert.spec.observation == observation_spec(
        spaces.Dict(image=spaces.Box(0, 255, shape, np.uint8), pose=floats((2,)))
    )
    same = Conversion(given, None, images="as_is", where="f", report=found.append)
    assert same("0", one).observations["obs/image"].dtype == dtype
    assert same.spec == given
    assert [f.what.split(":")[:2] for f in found] == [
        [f"obs/image holds whole numbers from 0 to 255 as {np.dtype(dtype).name}", found[0].what.split(":")[1]]
    ]
    assert "images=uint8" in found[0].what


def test_images_that_would_change_are_refused() -> None:
    given, found = spec(floats((9, 8, 3))), list[Finding]()
    whole = np.zeros((3, 9, 8, 3), np.float32)
    whole[0] = 200
    torn = whole.copy()
    torn[1, 0, 0, 0] = 0.5
    convert = Conversion(given, None, images="uint8", where="f", report=found.append)
    convert("0", episode({"obs": whole}))
    with pytest.raises(BadEpisodeError, match="obs isn't whole numbers from 0 to 255, so uint8 can't") as caught:
        convert("1", episode({"obs": torn}))
    assert caught.value.step == 1
    with pytest.raises(
        InputError, match=r"f: images=uint8: no images of whole numbers from 0 to 255 there, but Box\(9, 8, 3\)"
    ):
        Conversion(given, None, images="uint8", where="f", report=found.append)("0", episode({"obs": whole / 255}))
    assert "looks like images of float32 from 0 to 1" in found[-1].what
    wanted = spec(spaces.Box(0, 255, (9, 8, 3), np.uint8))
    with pytest.raises(BadEpisodeError, match="isn't whole numbers from 0 to 255 but from 0 to 1, so uint8 can't hold it"):
        Conversion(given, wanted, images="as_is", where="f", report=pytest.fail)("0", episode({"obs": whole / 255}))
    Conversion(given, None, images="as_is", where="f", report=found.append)("0", episode({"obs": whole * -1.5}))
    assert len(found) == 1


def test_names_fit_by_path_and_actions_beyond_bounds_are_reported_once() -> None:
    nested = spaces.Dict(robot=spaces.Dict(pose=spaces.Box(-1, 1, (2,))), b=spaces.Box(-1, 1, (1,)))
    wanted = spec(nested, spaces.Box(np.float32([-1, -2]), np.float32([1, 2])))
    given = spec(spaces.Dict({"b": floats((1,), np.float64), "robot.pose": floats((2,))}), floats((2,), np.float64))
    found: list[Finding] = []
    convert = Conversion(given, wanted, images="as_is", where="f", report=found.append)
    rows = {"obs/b": np.zeros((3, 1)), "obs/robot.pose": np.full((3, 2), 0.5, np.float32)}
    out = convert("7", episode(rows, [[1.0, 2.0], [0.5, -2.5]]))
    assert (out.observations["obs/robot/pose"].dtype, out.observations["obs/b"].dtype) == (np.float32, np.float32)
    convert("8", episode(rows, [[9.0, 2.0], [0.5, -2.5]]))
    assert [str(f) for f in found] == [
        "f: episode 7, step 1: action is -2.5, beyond its bounds -2 to 2: are the data in other units?"
    ]


def test_choices_as_floats_are_said() -> None:
    found: list[Finding] = []

    def convert(actions: Any, wanted: StoreSpec | None = None) -> Episode:
        given = spec(floats((2,)), floats((1,), np.float64))
        return Conversion(given, wanted, images="as_is", where="f", report=found.append)(
            "0", episode({"obs": np.zeros((3, 2), np.float32)}, np.array(actions)[:, None])
        )

    convert([0.0, 1.0])
    assert [f.what.split(":")[0] for f in found] == ["action holds whole numbers as float64"]
    for others in ([0.5, 1.0], [-1.0, 1.0], [0.0, 0.0]):
        convert(others)
    assert convert([0.0, 1.0], spec(floats((2,)))).actions.tolist() == [0, 1]
    assert len(found) == 1
