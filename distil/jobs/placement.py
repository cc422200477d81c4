"""On which node a job's driver runs: any but the head, which holds the cluster together, unless there is no other."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from distil.errors import InputError

_NODE = "ray.io/node-id"  # a label that Ray gives each node


def driver_placement(nodes: Sequence[Mapping[str, Any]], labels: Mapping[str, str], gpus: float) -> dict[str, Any]:
    """Return the fields of Ray's request that place the driver. It reserves no CPU, which the run's workers may need.

    Args:
        nodes: the living nodes, as Ray lists them.
        labels: that its node must have.
        gpus: that it reserves.

    Raises:
        InputError: no node has these labels, or so many GPUs.
    """
    fit = [node for node in nodes if labels.items() <= dict(node.get("labels") or {}).items()]
    if labels and not fit:
        wanted = ", ".join(f"{key}={value}" for key, value in labels.items())
        known = sorted({f"{key}={value}" for node in nodes for key, value in _own_labels(node).items()})
        raise InputError(f"--label {wanted}: no node has it; the cluster's nodes have {', '.join(known) or 'no labels'}")
    if gpus and not (fit := [node for node in fit if node["resources_total"].get("GPU", 0) >= gpus]):
        most = max((node["resources_total"].get("GPU", 0) for node in nodes), default=0)
        raise InputError(f"--gpus {gpus:g}: no such node has them; the largest node has {most:g} GPUs")
    selector = dict(labels)
    heads = [node["node_id"] for node in fit if node["is_head_node"]]
    if heads and len(heads) < len(fit):
        selector[_NODE] = f"!{heads[0]}"
    placed: dict[str, Any] = {"entrypoint_label_selector": selector} if selector else {}
    return placed | ({"entrypoint_num_gpus": gpus} if gpus else {})


def _own_labels(node: Mapping[str, Any]) -> dict[str, str]:
    return {key: value for key, value in (node.get("labels") or {}).items() if key != _NODE}
