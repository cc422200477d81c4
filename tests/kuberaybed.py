"""What Kubernetes would make of clusters/kuberay: the objects that kustomize builds, the API's schemas, and broken copies."""

from __future__ import annotations

import copy
import os
import shutil
import subprocess
import sys
from collections.abc import Iterable, Iterator, Mapping
from functools import cache
from pathlib import Path
from typing import Any

import celpy
import jsonschema
import pytest
import yaml
from kuberayrules import groups, pod_spec

ROOT = Path(__file__).resolve().parents[1]
FOLDER = ROOT / "clusters/kuberay"
CRDS = ROOT.parent / "shared/kuberay"
KUBECTL = shutil.which("kubectl", path=os.pathsep.join([str(Path(sys.executable).parent), os.environ.get("PATH", "")]))
VALUES = {
    "CHANGE-ME-image": "registry.example.com/team/distil",
    "CHANGE-ME-namespace": "research",
    "CHANGE-ME-storage-class": "files",
    "CHANGE-ME-queue": "mine",
}
needs_crds = pytest.mark.skipif(not CRDS.is_dir(), reason="the folder of KubeRay's definitions (../shared/kuberay) isn't there")
needs_kubectl = pytest.mark.skipif(KUBECTL is None, reason="kubectl, which builds the kustomizations, is not installed")
FOLDERS = ("setup", "cluster", "long-lived", "job", "queue")
HEAD, ROLLOUTS, LEARNERS = (f"spec/{name}" for name in ("headGroupSpec", "workerGroupSpecs/0", "workerGroupSpecs/1"))
GONE = object()  # as a value: removed

Object = dict[str, Any]


def with_values(folder: Path) -> Path:
    """Return a copy of clusters/kuberay in a folder, with the three values, and the queue's."""
    target = folder / "kuberay"
    shutil.copytree(FOLDER, target)
    for file in target.rglob("*.yaml"):
        text = file.read_text()
        for name, value in VALUES.items():
            text = text.replace(name, value)
        file.write_text(text)
    return target


def build(folder: Path) -> list[Object]:
    """Return the objects that kustomize builds from a folder."""
    assert KUBECTL is not None
    done = subprocess.run([KUBECTL, "kustomize", folder], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return [data for data in yaml.load_all(done.stdout, yaml.CSafeLoader) if data]


def broken(good: Object, path: str, value: Any) -> Object:
    """Return a copy with another value at a dotted path; a number is an index, GONE removes."""
    copied = copy.deepcopy(good)
    *parents, last = [int(part) if part.isdigit() else part for part in path.split("/")]
    place: Any = copied
    for part in parents:
        place = place[part]
    if value is GONE:
        del place[last]
    elif isinstance(place, list) and last == len(place):
        place.append(value)
    else:
        place[last] = value
    return copied


def pods(data: Object) -> dict[str, tuple[Object, Object]]:
    """Return metadata and spec of each kind of pod that an object leads to."""
    spec = data["spec"]
    found = {
        name: (group["template"]["metadata"], pod_spec(group))
        for name, group in groups(spec.get("rayClusterSpec", spec)).items()
    }
    if "submitterPodTemplate" in spec:
        found["submitter"] = (spec["submitterPodTemplate"]["metadata"], spec["submitterPodTemplate"]["spec"])
    return found


def said(complaints: Iterable[str], text: str) -> None:
    """Fail unless something is said, and it has the text."""
    found = list(complaints)
    assert any(text in line for line in found), found


@cache
def _definition(kind: str) -> Mapping[str, Any]:
    """Return the schema that KubeRay's definition has for a kind."""
    definition = yaml.load((CRDS / f"ray.io_{kind.lower()}s.yaml").read_text(), yaml.CSafeLoader)
    (version,) = [version for version in definition["spec"]["versions"] if version["storage"]]
    found: Mapping[str, Any] = version["schema"]["openAPIV3Schema"]
    return found


@cache
def _validator(kind: str) -> jsonschema.Draft7Validator:
    return jsonschema.Draft7Validator(_strict(_definition(kind)))


def _strict(schema: Mapping[str, Any]) -> dict[str, Any]:
    """Return a schema of Kubernetes as one of JSON Schema, which knows no key that is not listed."""
    found: dict[str, Any] = {}
    for key, value in schema.items():
        if key == "properties":
            found[key] = {name: _strict(inner) for name, inner in value.items()}
        elif key in ("items", "additionalProperties") and isinstance(value, dict):
            found[key] = _strict(value)
        elif key in (
            "type",
            "enum",
            "required",
            "pattern",
            "minimum",
            "maximum",
            "minLength",
            "maxLength",
            "minItems",
            "maxItems",
            "anyOf",
        ):
            found[key] = value
        else:
            assert key.startswith("x-kubernetes-") or key in ("description", "default", "format", "nullable"), key
    if "properties" in schema:
        found["additionalProperties"] = False
    if schema.get("x-kubernetes-int-or-string"):
        found["type"] = ["integer", "string"]
    if schema.get("nullable"):
        found["type"] = [found["type"], "null"]
    return found


def schema_complaints(data: Object) -> list[str]:
    """Return what the API server would refuse in a RayCluster or a RayJob when it is created."""
    errors = _validator(data["kind"]).iter_errors(data)
    return [f"{error.json_path}: {error.message}" for error in errors] + list(_rules(_definition(data["kind"]), data))


def update_complaints(old: Object, new: Object) -> list[str]:
    """Return what the definition's rules refuse in a change."""
    return list(_rules(_definition(new["kind"]), new, old))


def _rules(schema: Mapping[str, Any], value: Any, old: Any = None, path: str = "$") -> Iterator[str]:
    """Yield broken rules in the Common Expression Language, and items of lists that have the same key."""
    for rule in schema.get("x-kubernetes-validations", ()):
        is_of_change = "oldSelf" in rule["rule"]
        if not (is_of_change and old is None) and not _holds(rule["rule"], {"self": value, "oldSelf": old}):
            yield f"{path}: {rule['message']}"
    if isinstance(value, dict):
        for key, inner in value.items():
            below = schema.get("properties", {}).get(key) or schema.get("additionalProperties")
            if isinstance(below, dict):
                yield from _rules(below, inner, old.get(key) if isinstance(old, dict) else None, f"{path}.{key}")
    elif isinstance(value, list):
        if keys := schema.get("x-kubernetes-list-map-keys"):
            items = [tuple(item.get(key, _default(schema, key)) for key in keys) for item in value]
            yield from (f"{path}: duplicate {item}" for item in set(items) if items.count(item) > 1)
        for index, inner in enumerate(value):
            yield from _rules(schema.get("items", {}), inner, None, f"{path}[{index}]")


def _default(schema: Mapping[str, Any], key: str) -> Any:
    return schema["items"]["properties"][key].get("default")


@cache
def _program(rule: str) -> celpy.Runner:
    environment = celpy.Environment()
    return environment.program(environment.compile(rule))


def _holds(rule: str, names: Mapping[str, Any]) -> bool:
    return bool(_program(rule).evaluate({name: celpy.json_to_cel(value) for name, value in names.items()}))
