"""A policy's header that asks for more than its file has, or makes no sense, is one line, and nothing is made of it."""

import copy
import json
import tracemalloc
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from safetensors.numpy import save_file

from distil.errors import InputError
from distil.policies.checkpoint import load_policy_ref, save_policy
from distil.policies.predict import Predictor
from distil.policies.spec import PolicyRef


class DELETE:
    """Stands for a key that is removed; a class has the same name in every process."""


def altered(spec: Any, path: tuple[Any, ...], value: Any) -> Any:
    """A copy of `spec` with another value at `path`."""
    out = copy.deepcopy(spec)
    node = out
    for part in path[:-1]:
        node = node[part]
    if value is DELETE:
        del node[path[-1]]
    else:
        node[path[-1]] = value
    return out


def paths(node: Any, prefix: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    pairs = node.items() if isinstance(node, dict) else enumerate(node) if isinstance(node, list) else ()
    return [path for key, value in pairs for path in ((*prefix, key), *paths(value, (*prefix, key)))]


def spec_of(ref: PolicyRef) -> Any:
    return json.loads(json.dumps(ref.spec.to_json()))


def save_altered(ref: PolicyRef, folder: Path, path: tuple[Any, ...], value: Any) -> None:
    """Save a policy whose header has another value at `path` of its spec."""
    save_policy(ref, folder)
    header = json.loads((folder / "policy.json").read_text())
    text = json.dumps(header | {"spec": altered(spec_of(ref), path, value)})
    save_file(dict(ref.arrays), folder / "policy.safetensors", metadata={"distil": text})


@pytest.mark.parametrize(
    ("path", "value", "fault"),
    [
        (("config", "ensemble"), 10**12, "its ensemble asks for 1000000000000 numbers"),
        (("config", "obs_horizon"), 10**9, "its observation obs asks for 5000000000 numbers"),
        (("config", "chunk"), 10**9, "its chunk asks for 2000000000 numbers"),
        (("config", "encoder", "hidden"), [10**6, 10**6], "its encoder asks for"),
        (("config", "encoder", "hidden"), [-1], "its config: encoder.hidden"),
        (("config", "encoder"), {"kind": "resmlp", "num_blocks": 10**12}, "its encoder asks for"),
        (("config", "encoder"), {"kind": "resmlp", "width": 10**9}, "its encoder asks for"),
        (("config", "nonsense"), 1, "its config: unknown key nonsense"),
        (("observation", "leaves", 0, "shape"), [10**9], "its observation"),
        (("observation", "leaves", 0, "kind"), "what", "its observation space makes no sense"),
        (("observation", "leaves", 0, "dtype"), "O", "its observation space makes no sense"),
        (("observation", "tree"), {"dict": {}}, "its observation space makes no sense"),
        (("observation",), DELETE, r"its observation space makes no sense \(KeyError\)"),
        (("action", "leaves"), [], "its action space makes no sense"),
        (("config",), 3, "its header lacks spec, config or version"),
    ],
    ids=str,
)
def test_a_header_that_does_not_fit_its_arrays(
    world: Callable[..., Any], tmp_path: Path, path: Any, value: Any, fault: str
) -> None:
    ref = world("vector", "box").policy.ref(0)
    save_altered(ref, tmp_path, path, value)
    tracemalloc.start()
    try:
        with pytest.raises(InputError, match=rf"policy.safetensors: {fault}") as caught:
            load_policy_ref(tmp_path)
        assert tracemalloc.get_traced_memory()[1] < 20_000_000
    finally:
        tracemalloc.stop()
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    "head",
    [
        {"kind": "mixture", "num_components": 10**9},
        {"kind": "bins", "hidden": 10**9},
        {"kind": "codes", "hidden": 10**9},
        {"kind": "energy", "hidden": [10**6, 10**6]},
        {"kind": "latent", "posterior": [10**6, 10**6]},
        {"kind": "flow", "network": {"width": 10**6}},
        {"kind": "shortcut", "network": {"kind": "unet", "channels": [8, 8 * 10**6]}},
        {"kind": "diffusion", "network": {"kind": "transformer", "num_layers": 10**9}},
    ],
    ids=str,
)
def test_no_head_is_made_that_the_file_has_no_weights_for(world: Callable[..., Any], tmp_path: Path, head: Any) -> None:
    save_altered(world("vector", "box").policy.ref(0), tmp_path, ("config", "head"), head)
    with pytest.raises(InputError, match=r"policy.safetensors: its head asks for"):
        load_policy_ref(tmp_path)


@pytest.mark.parametrize(
    ("part", "target", "path", "value", "fault"),
    [
        ("head", "headbed:Laplace", ("config", "encoder", "hidden"), [10**5, 10**5], "its encoder asks for"),
        ("head", "headbed:Laplace", ("config", "ensemble"), 10**12, "its ensemble asks for"),
        ("encoder", "headbed:Frames", ("config", "chunk"), 10**9, "its chunk asks for"),
    ],
)
def test_trust_in_one_part_is_no_trust_in_the_size_of_the_others(
    world: Callable[..., Any], tmp_path: Path, part: str, target: str, path: Any, value: Any, fault: str
) -> None:
    ref = world("vector", "box", **{part: {"kind": "import", "target": target}}).policy.ref(0)
    save_altered(ref, tmp_path, path, value)
    with pytest.raises(InputError, match=rf"policy.safetensors: {fault}"):
        load_policy_ref(tmp_path, trust=["headbed"])


@pytest.mark.parametrize(
    "text", ["[" * 100_000, "9" * 5000, "[]", "{", '{"format": 1, "version": true, "spec": {"config": {}}}']
)
def test_a_header_that_is_no_header(tmp_path: Path, text: str) -> None:
    save_file({"a": np.zeros(1)}, tmp_path / "policy.safetensors", metadata={"distil": text})
    with pytest.raises(InputError, match=r"policy.safetensors: (its header|policy format None, this distil reads 1)"):
        load_policy_ref(tmp_path)


@pytest.mark.parametrize(
    ("space", "action", "keys"), [("vector", "box", {}), ("nested", "discrete", {"chunk": 2, "ensemble": 2})]
)
def test_any_change_of_a_header_is_one_line(
    world: Callable[..., Any], tmp_path: Path, space: str, action: str, keys: dict[str, Any]
) -> None:
    made = world(space, action, **keys)
    ref, observations = made.policy.ref(0), made.observations(2)
    batch = made.observation.unflatten(observations)
    for path in paths(spec_of(ref))[:: 1 if space == "vector" else 5]:
        for value in (DELETE, None, -1, 10**12, 10**30, "x", [], {}, float("nan")):
            save_altered(ref, tmp_path, path, value)
            try:
                Predictor(load_policy_ref(tmp_path)).predict(batch)
            except InputError as error:
                assert "\n" not in str(error)  # noqa: PT017 - some changes do no harm


def test_what_an_earlier_version_left_out_is_there(world: Callable[..., Any], tmp_path: Path) -> None:
    ref = world("vector", "box").policy.ref(0)
    save_altered(ref, tmp_path, ("config", "ensemble"), DELETE)
    assert load_policy_ref(tmp_path).spec == ref.spec


def test_a_file_chooses_no_code_to_import(world: Callable[..., Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "theirs.py").write_text("raise SystemExit('imported')")
    monkeypatch.syspath_prepend(tmp_path)
    head = {"kind": "import", "target": "theirs:Head", "kwargs": {}}
    save_altered(world("vector", "box").policy.ref(0), tmp_path, ("config", "head"), head)
    for trust in ([], ["their"], ["theirs:Other"], ["theirs.more"], ["headbed"]):
        with pytest.raises(InputError, match=r"it names code to import, 'theirs:Head'.*trust=\['theirs'\]"):
            load_policy_ref(tmp_path, trust=trust)
    for trust in (["theirs"], ["theirs:Head"]):
        assert load_policy_ref(tmp_path, trust=trust).spec.config.targets == ("theirs:Head",)
