"""On which node a job's driver runs: any but the head, which holds the cluster together, unless there is no other."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from distil.cluster import NODE_GROUP, NODE_ID, matches, named_labels
from distil.errors import InputError


def driver_placement(nodes: Sequence[Mapping[str, Any]], labels: Mapping[str, str], gpus: float) -> dict[str, Any]:
    """Return the fields of Ray's request that place the driver. It reserves no CPU, which the run's workers may need.

    Args:
        nodes: the living nodes, as Ray lists them.
        labels: that its node must have.
        gpus: that it reserves.

    Raises:
        InputError: no node has these labels, or so many GPUs, and nothing adds nodes.
    """
    fit = [node for node in nodes if matches(labels, _labels(node))]
    grows = any(NODE_GROUP in _labels(node) for node in nodes)
    if not fit and not grows:
        wanted = ", ".join(f"{key}={value}" for key, value in labels.items())
        known = named_labels(_labels(node) for node in nodes)
        raise InputError(f"--label {wanted}: no node has it; the labels of the cluster's nodes are {known}")
    fit = [node for node in fit if node["resources_total"].get("GPU", 0) >= gpus]
    if not fit and not grows:
        most = max(node["resources_total"].get("GPU", 0) for node in nodes)
        raise InputError(f"--gpus {gpus:g}: no such node has them; the largest node has {most:g} GPUs")
    selector = dict(labels)
    heads = [node["node_id"] for node in fit if node["is_head_node"]]
    if heads and len(heads) < len(fit):
        selector[NODE_ID] = f"!{heads[0]}"
    placed: dict[str, Any] = {"entrypoint_label_selector": selector} if selector else {}
    return placed | ({"entrypoint_num_gpus": gpus} if gpus else {})


def _labels(node: Mapping[str, Any]) -> Mapping[str, str]:
    return node.get("labels") or {}
