from __future__ import annotations

import json
from typing import Any

import numpy as np
import pytest
from gymnasium import spaces

from distil.errors import InputError
from distil.interchange.lerobot_features import arrow_type, features_of, task_table, to_arrow, video_info
from distil.spaces import action_spec, observation_spec
from distil.store import StoreSpec

RGB = spaces.Box(0, 255, (3, 40, 36), np.uint8)


def spec(observation: spaces.Space[Any]) -> StoreSpec:
    return StoreSpec(observation=observation_spec(observation), action=action_spec(spaces.Discrete(2)))


def test_images_have_their_channels_last_and_a_name_of_their_own() -> None:
    made = spec(spaces.Dict(eye=RGB, pose=spaces.Box(-1, 1, (2,), np.float32), n=spaces.Discrete(3)))
    found = {item.name: (item.kind, item.shape) for item in features_of(made, "video")}
    expected = {"observation.images.eye": ("video", (40, 36, 3)), "observation.n": ("int64", (1,))}
    assert found == expected | {"observation.pose": ("float32", (2,))}
    (image,) = [item for item in features_of(spec(RGB), "png") if item.name == "observation.image"]
    assert image.kind == "image"
    rows = np.arange(2 * 3 * 40 * 36).reshape(2, 3, 40, 36)
    np.testing.assert_array_equal(image.rows(rows)[1, 5, 7], rows[1, :, 5, 7])
    info = video_info(image.shape, codec="h264", pix_fmt="yuv420p", fps=30)
    assert (info["video.height"], info["video.width"]) == (40, 36)
    assert image.to_json(info)["info"] == info


def test_two_observations_of_one_name_are_refused() -> None:
    box = spaces.Box(-1, 1, (2,), np.float32)
    with pytest.raises(InputError, match="two observations would have the same name"):
        features_of(spec(spaces.Dict({"a.b": box, "a": spaces.Dict(b=box)})), "video")


@pytest.mark.parametrize("shape", [(), (1,), (4,), (2, 3)])
def test_columns_hold_the_rows(shape: tuple[int, ...]) -> None:
    (item,) = features_of(spec(spaces.Box(-9, 99, shape, np.float32)), "video")
    values = np.arange(3 * int(np.prod(shape)), dtype=np.float32).reshape(3, *shape)
    array = to_arrow(item.rows(values))
    assert array.type == arrow_type(item)
    np.testing.assert_array_equal(np.array(array.to_pylist()).reshape(values.shape), values)


def test_tasks_are_the_index_of_a_frame() -> None:
    table = task_table(["lift", "drop"])
    about = json.loads(table.schema.metadata[b"pandas"])
    assert table["__index_level_0__"].to_pylist() == ["lift", "drop"]
    assert about["index_columns"] == ["__index_level_0__"]
