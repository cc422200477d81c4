"""A Ray session, started only where it is needed: small, quiet, local, or one that runs already."""

from __future__ import annotations

import logging
import os
import signal
import socket
import threading
from typing import Any

from distil.errors import RunError
from distil.redaction import redact

_REACH_S = 10.0
OBJECT_STORE_BYTES = 256 * 2**20  # weights and plans pass through it, never data


def ensure_ray(address: str | None, num_cpus: int) -> Any:
    """Return the `ray` module with a session: the current one, the cluster at `address` or RAY_ADDRESS, or a new one here.

    Args:
        address: of a running cluster, as `ray.init` takes it.
        num_cpus: how many logical CPUs a new session must have at least; they may exceed the cores.
    """
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    os.environ.setdefault("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "0")
    import ray

    if ray.is_initialized():
        return ray
    stops = signal.getsignal(signal.SIGTERM)
    quiet: dict[str, Any] = {"log_to_driver": False, "logging_level": "ERROR", "configure_logging": False}
    address = address or os.environ.get("RAY_ADDRESS")
    try:
        if address:
            _reach(address)
            ray.init(address=address, **quiet)
        else:
            cpus = max(num_cpus, os.cpu_count() or 1)
            logging.getLogger("ray._private.authentication").setLevel(logging.ERROR)  # it tells that tokens are on, as wanted
            ray.init(address="local", num_cpus=cpus, object_store_memory=OBJECT_STORE_BYTES, **quiet)
    except (ConnectionError, RuntimeError, ValueError, OSError) as error:
        where = f"the cluster at {address}" if address else "a session on this machine"
        raise RunError(
            redact(f"Ray: {where} cannot be used: {' '.join(str(error).split())}; without Ray: rollouts.num_workers=0")
        ) from error
    if callable(stops) and threading.current_thread() is threading.main_thread():
        signal.signal(signal.SIGTERM, stops)  # Ray's own handler would end the process before the run is sealed
    return ray


def _reach(address: str) -> None:
    """Raise OSError at once when nobody listens at `address`; Ray itself would try for minutes."""
    host, colon, port = address.rpartition("://")[2].rpartition(":")
    if colon and port.isdigit():
        socket.create_connection((host, int(port)), timeout=_REACH_S).close()
