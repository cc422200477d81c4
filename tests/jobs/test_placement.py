from typing import Any

import pytest

from distil.errors import InputError
from distil.jobs.placement import driver_placement


def node(name: str, *, head: bool = False, gpus: float = 0, **labels: str) -> dict[str, Any]:
    resources = {"CPU": 4.0} | ({"GPU": gpus} if gpus else {})
    return {"node_id": name, "is_head_node": head, "resources_total": resources, "labels": {"ray.io/node-id": name, **labels}}


HEAD, WORKER = node("h", head=True, zone="a"), node("w", zone="b")


def test_any_node_but_the_head_unless_there_is_no_other() -> None:
    assert driver_placement([HEAD, WORKER], {}, 0) == {"entrypoint_label_selector": {"ray.io/node-id": "!h"}}
    assert driver_placement([HEAD], {}, 0) == {}


def test_labels_choose_the_node_and_may_choose_the_head() -> None:
    assert driver_placement([HEAD, WORKER], {"zone": "b"}, 0) == {"entrypoint_label_selector": {"zone": "b"}}
    assert driver_placement([HEAD, WORKER], {"zone": "a"}, 0) == {"entrypoint_label_selector": {"zone": "a"}}
    assert driver_placement([HEAD, WORKER], {"zone": "!a"}, 0) == {"entrypoint_label_selector": {"zone": "!a"}}
    with pytest.raises(
        InputError, match="--label zone=c: no node has it; the labels of the cluster's nodes are zone=a, zone=b"
    ):
        driver_placement([HEAD, WORKER], {"zone": "c"}, 0)
    with pytest.raises(InputError, match="are none"):
        driver_placement([node("h", head=True)], {"zone": "c"}, 0)


def test_gpus_are_reserved_and_missing_ones_are_said() -> None:
    nodes = [HEAD, WORKER, node("g", gpus=2)]
    assert driver_placement(nodes, {}, 1) == {"entrypoint_num_gpus": 1}
    assert driver_placement([node("h", head=True, gpus=1), WORKER], {}, 1) == {"entrypoint_num_gpus": 1}
    with pytest.raises(InputError, match="--gpus 4: no such node has them; the largest node has 2 GPUs"):
        driver_placement(nodes, {}, 4)
    with pytest.raises(InputError, match="--gpus 1"):
        driver_placement(nodes, {"zone": "b"}, 1)


def test_an_autoscaler_may_add_what_no_node_has() -> None:
    grown = node("w") | {"labels": {"ray.io/node-group": "cpu"}}
    placed = driver_placement([HEAD, grown], {"zone": "c"}, 8)
    assert placed == {"entrypoint_label_selector": {"zone": "c"}, "entrypoint_num_gpus": 8}
