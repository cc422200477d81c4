"""Ray sessions, started only when needed; resource checks with one time limit and one message; why an actor died."""

from __future__ import annotations

import logging
import os
import signal
import socket
import threading
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from distil.errors import InputError, RunError
from distil.redaction import redact

SESSION = "DISTIL_RAY_SESSION"  # of a job's environment: the session of the cluster that it was submitted to
_REACH_S = 10.0
START_TIMEOUT_S = 120.0  # for actors to be placed, unless `rollouts.start_timeout_s` says otherwise
OBJECT_STORE_BYTES = 256 * 2**20  # weights and plans pass through it, never data

NODE_GROUP = "ray.io/node-group"  # a label of nodes that an autoscaler starts
NODE_ID = "ray.io/node-id"  # a label that Ray gives each node
_MAX_REASON = 400  # characters
_own: set[str] = set()  # addresses of sessions that this process started: they may have more CPUs than there are cores


@dataclass(frozen=True, kw_only=True)
class Request:
    """The resources that a group of actors needs."""

    what: str  # for messages, such as `rollout workers`
    num: int  # smallest number of actors that must run at the same time
    each: Mapping[str, float]  # Ray resource -> amount
    fix: str  # what the user can do when the cluster is too small
    labels: Mapping[str, str] = field(default_factory=dict)  # of a node that may hold one

    @property
    def options(self) -> dict[str, Any]:
        """The options of `ray.remote` that place an actor."""
        named = {"CPU": "num_cpus", "GPU": "num_gpus", "memory": "memory"}
        options: dict[str, Any] = {named[name]: amount for name, amount in self.each.items() if name in named}
        if others := {name: amount for name, amount in self.each.items() if name not in named}:
            options["resources"] = others
        return options | ({"label_selector": dict(self.labels)} if self.labels else {})

    def room(self, ray: Any) -> int:
        """Return how many such actors the nodes can hold when nothing else runs."""
        wanted = {name: amount for name, amount in self.each.items() if amount > 0}
        nodes = [node["Resources"] for node in _nodes(ray, self.labels)]
        return sum(
            min((int(node.get(name, 0) / amount + 1e-9) for name, amount in wanted.items()), default=10**9) for node in nodes
        )

    def is_possible(self, ray: Any) -> bool:
        """Return whether the cluster can hold the actors, or something may add nodes."""
        return grows(ray) or self.room(ray) >= self.num

    def require_possible(self, ray: Any) -> None:
        """Raise InputError if the cluster can't fit the actors and nothing adds nodes: it is too small, or has other labels."""
        if not self.is_possible(ray):
            raise InputError(f"{self.what}: {self._needed(ray)}: {self.fix}")

    def not_placed(self, ray: Any, waited_s: float) -> RunError:
        """Return the error for actors that did not start in time."""
        return RunError(f"{self.what}: not started in {waited_s:.0f} s; {self._needed(ray)}: wait for it, or {self.fix}")

    def _needed(self, ray: Any) -> str:
        each = " and ".join(f"{amount:g} {name}" for name, amount in self.each.items())
        if self.labels:
            labels = ", ".join(f"{key}={value}" for key, value in self.labels.items())
            nodes = _nodes(ray, self.labels)
            total = [sum(node["Resources"].get(name, 0) for node in nodes) for name in self.each]
            has = ", ".join(f"{amount:g} {name}" for name, amount in zip(self.each, total, strict=True))
            known = named_labels(node["Labels"] for node in _nodes(ray))
            found = f"has {has} on {len(nodes)} of them" if nodes else f"has no such node, its labels are: {known}"
            return f"at least {self.num} needed with {each} each on nodes labelled {labels}; the Ray cluster {found}"
        total, free = ray.cluster_resources(), ray.available_resources()
        has = ", ".join(f"{total.get(name, 0):g} {name} ({free.get(name, 0):g} free)" for name in self.each)
        return f"at least {self.num} needed with {each} each; the Ray cluster has {has}"


def named_labels(of_nodes: Iterable[Mapping[str, str]]) -> str:
    """Return the labels that some node was given, for messages; Ray adds one of its own, which is left out."""
    return (
        ", ".join(sorted({f"{key}={value}" for labels in of_nodes for key, value in labels.items() if key != NODE_ID}))
        or "none"
    )


def matches(labels: Mapping[str, str], of_node: Mapping[str, str]) -> bool:
    """Return whether a node has the labels, as Ray decides: each is a value, `!value`, `in(a, b)` or `!in(a, b)`."""
    for key, text in labels.items():
        inner = text.removeprefix("!")
        values = [one.strip() for one in inner[3:-1].split(",")] if inner.startswith("in(") else [inner]
        if (of_node.get(key) in values) == text.startswith("!"):
            return False
    return True


def _nodes(ray: Any, labels: Mapping[str, str] | None = None) -> list[Mapping[str, Any]]:
    return [node for node in ray.nodes() if node["Alive"] and matches(labels or {}, node["Labels"])]


def grows(ray: Any) -> bool:
    """Return whether something may add nodes: those that an autoscaler has started are labelled with their group."""
    return any(NODE_GROUP in node["Labels"] for node in _nodes(ray))


def num_cores() -> int:
    """Return how many cores this process may use: those of its affinity, within the limit of its container."""
    affinity = getattr(os, "sched_getaffinity", None)  # not on macOS
    num = len(affinity(0)) if affinity is not None else os.cpu_count() or 1
    try:
        quota, period = Path("/sys/fs/cgroup/cpu.max").read_text().split()
        return max(1, min(num, int(quota) // int(period)))
    except (OSError, ValueError):  # not such a system, or "max": no limit
        return num


def cluster_cores(ray: Any, labels: Mapping[str, str] | None = None) -> int:
    """Return how many CPUs the nodes of the Ray session have; of those with the labels, if there are any."""
    return int(sum(node["Resources"].get("CPU", 0) for node in _nodes(ray, labels)))


def usable_cores(ray: Any, labels: Mapping[str, str] | None = None) -> int:
    """Return how many cores there are for work: the CPUs of a cluster's nodes with the labels; in our own session, ours.

    A session of our own may have more logical CPUs than cores.
    """
    return num_cores() if ray.get_runtime_context().gcs_address in _own else cluster_cores(ray, labels)


def asked_cluster(address: str | None) -> str | None:
    """Return the address of the cluster that the user asked for: the given one, or RAY_ADDRESS; None: no cluster."""
    return address or os.environ.get("RAY_ADDRESS") or None


def beside_driver(ray: Any) -> Any:
    """Return the scheduling strategy of actors that belong to this process: they run on its node, and see its files."""
    from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

    return NodeAffinitySchedulingStrategy(ray.get_runtime_context().get_node_id(), soft=False)


def why_died(error: Exception) -> str:
    """Return in one line why an actor died, from the error that a call to it raised: Ray's record of how its process ended."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip() and not line.startswith("\t")]
    text = " ".join(lines[1:] or lines)
    text = text.partition("Worker exit detail: ")[2] or text
    return text if len(text) <= _MAX_REASON else text[:_MAX_REASON].rpartition(". ")[0] or text[:_MAX_REASON]


def ensure_ray(address: str | None, num_cpus: int) -> Any:
    """Return the `ray` module with a session: the current one, the cluster at `address` or RAY_ADDRESS, or a new one here.

    Args:
        address: address of a running cluster, as `ray.init` takes it.
        num_cpus: smallest number of logical CPUs of a new session; it may exceed the number of cores.
    """
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    os.environ.setdefault("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "0")
    import ray

    if ray.is_initialized():
        return ray
    stops = signal.getsignal(signal.SIGTERM)
    quiet: dict[str, Any] = {"log_to_driver": False, "logging_level": "ERROR", "configure_logging": False}
    address = asked_cluster(address)
    try:
        if address:
            _reach(address)
            ray.init(address=address, **quiet)
        else:
            cpus = max(num_cpus, os.cpu_count() or 1)
            logging.getLogger("ray._private.authentication").setLevel(
                logging.ERROR
            )  # it only reports that tokens are on, which is intended
            # the dashboard costs as much CPU time as all the rest of Ray's start
            own = {"num_cpus": cpus, "object_store_memory": OBJECT_STORE_BYTES, "include_dashboard": False}
            session = ray.init(address="local", **own, **quiet)
            _own.add(session.address_info["gcs_address"])
    except Exception as error:  # on a busy machine, Ray raises a plain one: its node started too slowly
        where = f"the cluster at {address}" if address else "a session on this machine"
        raise RunError(
            redact(f"Ray: {where} cannot be used: {' '.join(str(error).split())}; without Ray: rollouts.num_workers=0")
        ) from error
    if callable(stops) and threading.current_thread() is threading.main_thread():
        signal.signal(signal.SIGTERM, stops)  # Ray's own handler would end the process before the run is sealed
    if address:
        _require_session(ray)
    return ray


def _require_session(ray: Any) -> None:
    """Raise RunError if a job is not on the cluster that it was submitted to: Ray may give it the address of another one."""
    wanted, found = os.environ.get(SESSION), ray.get_runtime_context().get_session_name()
    if wanted not in (None, found):
        ray.shutdown()
        raise RunError(
            f"the job was submitted to {wanted}, and Ray gave it the address of {found}: two clusters on this host share a "
            "temporary folder; give each its own with `ray start --temp-dir`"
        )


def _reach(address: str) -> None:
    """Raise OSError immediately if nothing listens at `address`; Ray itself would retry for minutes."""
    host, colon, port = address.rpartition("://")[2].rpartition(":")
    if colon and port.isdigit():
        socket.create_connection((host, int(port)), timeout=_REACH_S).close()
