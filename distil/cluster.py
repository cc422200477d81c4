"""Ray sessions, started only when needed; resource checks with one time limit and one message; why an actor died."""

from __future__ import annotations

import logging
import os
import signal
import socket
import threading
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from distil.errors import InputError, RunError
from distil.redaction import redact

_REACH_S = 10.0
START_TIMEOUT_S = 120.0  # for actors to be placed, unless `rollouts.start_timeout_s` says otherwise
OBJECT_STORE_BYTES = 256 * 2**20  # weights and plans pass through it, never data

_MAX_REASON = 400  # characters
_own: set[str] = set()  # addresses of sessions that this process started: no autoscaler adds nodes to them


@dataclass(frozen=True, kw_only=True)
class Request:
    """The resources that a group of actors needs."""

    what: str  # for messages, such as `rollout workers`
    num: int  # smallest number of actors that must run at the same time
    each: Mapping[str, float]  # Ray resource -> amount
    fix: str  # what the user can do when the cluster is too small

    def require_possible(self, ray: Any) -> None:
        """Raise InputError if the cluster can never fit the actors: our own session is too small and gets no more nodes."""
        if ray.get_runtime_context().gcs_address in _own and _room(ray, self.each) < self.num:
            raise InputError(f"{self.what}: {self._needed(ray)}: {self.fix}")

    def not_placed(self, ray: Any, waited_s: float) -> RunError:
        """Return the error for actors that did not start in time."""
        return RunError(f"{self.what}: not started in {waited_s:.0f} s; {self._needed(ray)}: wait for it, or {self.fix}")

    def _needed(self, ray: Any) -> str:
        total, free = ray.cluster_resources(), ray.available_resources()
        has = ", ".join(f"{total.get(name, 0):g} {name} ({free.get(name, 0):g} free)" for name in self.each)
        each = " and ".join(f"{amount:g} {name}" for name, amount in self.each.items())
        return f"at least {self.num} needed with {each} each; the Ray cluster has {has}"


def _room(ray: Any, each: Mapping[str, float]) -> int:
    """Return how many such actors the nodes can hold when nothing else runs."""
    nodes: Sequence[Mapping[str, float]] = [node["Resources"] for node in ray.nodes() if node["Alive"]]
    wanted = {name: amount for name, amount in each.items() if amount > 0}
    return sum(
        min((int(node.get(name, 0) / amount + 1e-9) for name, amount in wanted.items()), default=10**9) for node in nodes
    )


def num_cores() -> int:
    """Return how many cores this process may use: those of its affinity, within the limit of its container."""
    affinity = getattr(os, "sched_getaffinity", None)  # not on macOS
    num = len(affinity(0)) if affinity is not None else os.cpu_count() or 1
    try:
        quota, period = Path("/sys/fs/cgroup/cpu.max").read_text().split()
        return max(1, min(num, int(quota) // int(period)))
    except (OSError, ValueError):  # not such a system, or "max": no limit
        return num


def cluster_cores(ray: Any) -> int:
    """Return how many CPUs the nodes of the Ray session have."""
    return int(ray.cluster_resources().get("CPU", 0))


def usable_cores(ray: Any) -> int:
    """Return how many cores the Ray session has for work: a cluster's CPUs; in a session of our own, those of this process.

    A session of our own may have more logical CPUs than cores.
    """
    return num_cores() if ray.get_runtime_context().gcs_address in _own else cluster_cores(ray)


def asked_cluster(address: str | None) -> str | None:
    """Return the address of the cluster that the user asked for: the given one, or RAY_ADDRESS; None: no cluster."""
    return address or os.environ.get("RAY_ADDRESS") or None


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
            session = ray.init(address="local", num_cpus=cpus, object_store_memory=OBJECT_STORE_BYTES, **quiet)
            _own.add(session.address_info["gcs_address"])
    except Exception as error:  # on a busy machine, Ray raises a plain one: its node started too slowly
        where = f"the cluster at {address}" if address else "a session on this machine"
        raise RunError(
            redact(f"Ray: {where} cannot be used: {' '.join(str(error).split())}; without Ray: rollouts.num_workers=0")
        ) from error
    if callable(stops) and threading.current_thread() is threading.main_thread():
        signal.signal(signal.SIGTERM, stops)  # Ray's own handler would end the process before the run is sealed
    return ray


def _reach(address: str) -> None:
    """Raise OSError immediately if nothing listens at `address`; Ray itself would retry for minutes."""
    host, colon, port = address.rpartition("://")[2].rpartition(":")
    if colon and port.isdigit():
        socket.create_connection((host, int(port)), timeout=_REACH_S).close()
