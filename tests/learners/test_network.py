"""The interface of ranks; that two hosts connect is tested in tests/integration/multinode."""

import os
import socket
from types import SimpleNamespace
from typing import Any

import psutil
import pytest

from distil.learners.network import interface_of, use_rays_interface


@pytest.mark.ray
def test_the_interface_is_that_of_rays_address(ray_session: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("GLOO_SOCKET_IFNAME", raising=False)
    use_rays_interface()
    name = os.environ["GLOO_SOCKET_IFNAME"]
    assert ray_session.util.get_node_ip_address() in {one.address for one in psutil.net_if_addrs()[name]}
    monkeypatch.setenv("GLOO_SOCKET_IFNAME", "mine")
    use_rays_interface()
    assert os.environ["GLOO_SOCKET_IFNAME"] == "mine"


def test_an_address_that_no_interface_has_changes_nothing() -> None:
    lo = SimpleNamespace(family=socket.AF_INET, address="127.0.0.1")
    six = SimpleNamespace(family=socket.AF_INET6, address="fe80::1%eth0")
    assert interface_of("10.0.0.1", {"lo": [lo], "eth0": [six]}) is None
    assert interface_of("127.0.0.1", {"eth0": [six], "lo": [lo]}) == "lo"
    assert interface_of("fe80::1", {"lo": [lo], "eth0": [six]}) == "eth0"
