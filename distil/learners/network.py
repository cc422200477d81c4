"""Which network interface ranks on several hosts use: the one that Ray's own connections go through.

Left alone, gloo takes the interface of the host's name, and on many systems that name means 127.0.0.1: then other hosts
can't connect.
"""

from __future__ import annotations

import os
import socket
from collections.abc import Mapping, Sequence
from typing import Any

import psutil
import ray.train.torch
import ray.util

_KEY = "GLOO_SOCKET_IFNAME"
_Backend: Any = ray.train.torch.TorchConfig().backend_cls


class TorchConfig(ray.train.torch.TorchConfig):  # type: ignore[misc]
    """Ray Train's, with the interface chosen in each rank before its process group starts."""

    @property
    def backend_cls(self) -> type:
        """The class that starts the process group."""
        return _ByInterface


class _ByInterface(_Backend):  # type: ignore[misc]
    def on_start(self, worker_group: Any, backend_config: Any) -> None:
        worker_group.execute(use_rays_interface)
        super().on_start(worker_group, backend_config)


def use_rays_interface() -> None:
    """Tell gloo in this process to use the interface with Ray's address of this host, unless the user has set one."""
    name = interface_of(ray.util.get_node_ip_address(), psutil.net_if_addrs())
    if name is not None:
        os.environ.setdefault(_KEY, name)


def interface_of(address: str, interfaces: Mapping[str, Sequence[Any]]) -> str | None:
    """Return the name of the interface with an IP address; None: there is none, or it is in a container's network."""
    families = socket.AF_INET, socket.AF_INET6
    for name, found in interfaces.items():
        if any(one.family in families and one.address.partition("%")[0] == address for one in found):
            return name
    return None
