from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from gymnasium import spaces

from distil.errors import InputError
from distil.spaces import action_spec, observation_spec
from distil.store.schema import StoreSpec, environment, spec_from_json


def nested(infos: tuple[str, ...] = ("success",)) -> StoreSpec:
    space = spaces.Dict(
        image=spaces.Box(0, 255, (4, 5, 3), np.uint8),
        parts=spaces.Tuple((spaces.Discrete(3), spaces.MultiBinary(2), spaces.Box(-1, 1, (), np.float32))),
    )
    return StoreSpec(observation=observation_spec(space), action=action_spec(spaces.MultiDiscrete([2, 3])), infos=infos)


def test_the_schema_is_flat_fixed_width_and_without_nulls() -> None:
    schema = nested().schema()
    assert schema.field("obs/image").type == pa.fixed_shape_tensor(pa.uint8(), (4, 5, 3))
    assert schema.field("obs/parts/0").type == pa.int64()
    assert schema.field("obs/parts/2").type == pa.float32()
    assert schema.field("action").type == schema.field("expert_action").type == pa.fixed_shape_tensor(pa.int64(), (2,))
    assert schema.field("terminated").type == schema.field("truncated").type == pa.uint8()
    assert schema.field("infos").type == pa.large_string()
    assert not any(field.nullable for field in schema)
    assert "infos" not in nested(()).schema().names


def test_json_round_trip() -> None:
    spec = nested()
    assert spec_from_json(json.loads(json.dumps(spec.to_json())), "here") == spec


def test_other_spaces_are_refused_with_the_difference_and_the_fix() -> None:
    ours = nested()
    other = StoreSpec(observation=observation_spec(spaces.Box(-1, 1, (8,))), action=ours.action, infos=ours.infos)
    with pytest.raises(InputError, match=r"demos: .*image.*, the environment Box\(8\) float32: .* are only in the store; "):
        ours.require_equal(other, "demos")
    wider = StoreSpec(observation=observation_spec(spaces.Box(-2, 2, (8,))), action=ours.action, infos=ours.infos)
    with pytest.raises(InputError, match=r"obs low is -2 in the store, -1 in the environment; .*--recipe RECIPE or --env ID"):
        wider.require_equal(other, "demos")


def test_infos_that_a_store_has_beside_those_wanted_are_no_obstacle() -> None:
    ours = nested()
    ours.require_equal(nested(()), "demos")
    with pytest.raises(InputError, match=r"keeps infos \['success'\], without \['force'\]; set rollouts\.infos"):
        ours.require_equal(nested(("success", "force")), "demos")


def test_episodes_of_another_environment_are_refused() -> None:
    def of(**env: Any) -> StoreSpec:
        return replace(nested(), env=env)

    door, hopper = of(id="Meta-World/Seeded", kwargs={"env_name": "door"}), of(id="Hopper-v5")
    named = "distil.envs.metaworld:Meta-World/Seeded"
    door.require_equal(of(kind="gym", id=named, kwargs={"env_name": "door", "render_mode": "human"}, wrappers=[]), "demos")
    hopper.require_equal(of(id="Hopper-v5", max_episode_steps=100), "demos")
    hopper.require_equal(of(), "demos")
    of().require_equal(hopper, "demos")
    pick = of(id=named, kwargs={"env_name": "pick"})
    for store, other in ((door, pick), (hopper, of(id="Walker2d-v5")), (hopper, of(kind="import", target="a:b"))):
        with pytest.raises(
            InputError, match=r"demos: the store has episodes of .*, this run's environment is .*; set data\.path"
        ):
            store.require_equal(other, "demos")


def test_the_name_of_an_environment_survives_any_header() -> None:
    assert environment({}) == environment({"id": None, "kwargs": 3}) == ""
    assert environment({"id": "X", "kwargs": [1], "wrappers": 3}) == "X 3"
    assert environment({"id": "X", "kwargs": {"a": 1}}) == 'X {"a": 1}'


@pytest.mark.parametrize("shape", [(0,), (3, 0), (1 << 40,), (1 << 62, 1 << 62)])
def test_absurd_shapes_are_refused(shape: tuple[int, ...]) -> None:
    data = nested().to_json()
    data["observation"]["leaves"][0]["shape"] = list(shape)
    with pytest.raises(InputError, match=r"here: obs/image: shape .* can't be stored"):
        spec_from_json(data, "here")


@pytest.mark.parametrize(
    "damage", [{"observation": 3}, {"action": {"tree": "action", "leaves": []}}, {"infos": None}, {"env": 5}]
)
def test_unreadable_spaces_are_one_line(damage: dict[str, object]) -> None:
    with pytest.raises(InputError, match=r"^here: [^\n]*$"):
        spec_from_json(nested().to_json() | damage, "here")


@pytest.mark.parametrize(
    ("change", "text"),
    [
        ({"kind": "graph"}, "unknown kind of space 'graph'"),
        ({"kind": ["box"]}, "unknown kind of space"),
        ({"dtype": "object"}, "is not numeric"),
        ({"dtype": "<U1000000000"}, "can't be read"),
        ({"dtype": 5}, "can't be read"),
        ({"shape": [1 << 40]}, r"can't be read|can't be stored"),
        ({"shape": [-4]}, "don't fit"),
        ({"shape": "many"}, "can't be read"),
        ({"low": [0, 1, 2]}, "don't fit"),
        ({"high": [None]}, "can't be read"),
        ({"name": "other"}, "its tree does not match its leaves"),
        ({"name": None}, "its tree does not match its leaves"),
    ],
)
def test_a_hostile_leaf_is_refused_in_one_line(change: dict[str, Any], text: str) -> None:
    """Issue 8, number 22."""
    spec = StoreSpec(observation=observation_spec(spaces.Box(-1, 1, (4,))), action=action_spec(spaces.Discrete(3)))
    data = json.loads(json.dumps(spec.to_json()))
    data["observation"]["leaves"][0] |= change
    with pytest.raises(InputError, match=rf"^store\.json: [^\n]*({text})[^\n]*$"):
        spec_from_json(data, "store.json")


@pytest.mark.parametrize("tree", [5, None, [], {}, {"list": ["obs"]}, {"dict": 5}, {"tuple": ["obs", "obs"]}, "x"])
def test_a_hostile_tree_is_refused_in_one_line(tree: Any) -> None:
    spec = StoreSpec(observation=observation_spec(spaces.Box(-1, 1, (4,))), action=action_spec(spaces.Discrete(3)))
    data = json.loads(json.dumps(spec.to_json()))
    data["observation"]["tree"] = tree
    with pytest.raises(InputError, match=r"^store\.json: its spaces can't be read \([^\n]*$"):
        spec_from_json(data, "store.json")


def test_compressed_rows_bound_what_a_header_can_promise() -> None:
    """A block of LZ4 decodes to at most 255 times its size, so a file bounds the memory that its rows take."""
    spec = replace(nested(()), observation=observation_spec(spaces.Box(0, 255, (1 << 20,), np.uint8)), codecs={"obs": "lz4"})
    assert spec.min_row_bytes * 256 > spec.row_bytes
