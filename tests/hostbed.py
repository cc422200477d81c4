"""Hosts on one machine: namespaces with addresses, names, processes and folders of their own, joined by a bridge.

A host's `/tmp/ray` is its own, and so is `private`, a folder that all of them have at the same path. Everything else is shared.
Needs root and iproute2.
"""

from __future__ import annotations

import json
import os
import secrets
import shutil
import signal
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

_NETWORK = f"10.213.{os.getpid() % 255}"  # several such tests may run at a time
_BIN = Path(sys.executable).parent


def why_not() -> str:
    """Return why there can be no hosts here; empty if there can."""
    if os.geteuid() != 0:
        return "needs root, for network namespaces"
    missing = [name for name in ("ip", "unshare", "nsenter", "mount") if shutil.which(name) is None]
    return f"needs {', '.join(missing)}" if missing else ""


def _run(*command: str) -> str:
    return subprocess.run(command, check=True, capture_output=True, text=True, timeout=60).stdout


class Host:
    """One host: processes with an address, a name, process ids and folders of their own, below a first process."""

    def __init__(self, net: Net, number: int) -> None:
        self.name, self.address = f"host{number}", f"{_NETWORK}.{number + 1}"
        self._net, self._link, self._folder = net, f"{net.prefix}v{number}", net.folder / f"host{number}"
        self.private = self._folder / "private"  # what the host sees at the path that all hosts share
        for folder in (self._folder / "ray", self.private):
            folder.mkdir(parents=True)
        self.boot()

    def boot(self) -> None:
        """Start the host, with the files that it had."""
        mounts = f"mount --bind {self._folder}/ray /tmp/ray && mount --bind {self.private} {self._net.private}"
        script = f"hostname {self.name} && ip link set lo up && {mounts} && exec sleep infinity"
        own = ["unshare", "--mount", "--uts", "--net", "--pid", "--fork", "--kill-child", "--mount-proc"]
        self._first = subprocess.Popen(
            [*own, "bash", "-c", script], stdin=subprocess.DEVNULL, stderr=subprocess.DEVNULL, start_new_session=True
        )
        children = Path(f"/proc/{self._first.pid}/task/{self._first.pid}/children")
        until(lambda: children.read_text(), lambda: f"{self.name} has not started")
        self._pid = children.read_text().strip()
        _run("ip", "link", "add", self._link, "type", "veth", "peer", "name", "eth0", "netns", self._pid)
        _run("ip", "link", "set", self._link, "master", self._net.bridge, "up")
        until(lambda: "sleep" in self._inside("cat", "/proc/1/cmdline"), lambda: f"{self.name} has not mounted its folders")
        self._inside("ip", "addr", "add", f"{self.address}/24", "dev", "eth0")
        self._inside("ip", "link", "set", "eth0", "up")
        self._inside("ip", "route", "add", "default", "via", self._net.address)  # Ray asks for one to find its address

    def _enter(self, *command: str) -> list[str]:
        return ["nsenter", "--target", self._pid, "--mount", "--uts", "--net", "--pid", "--", *command]

    def _inside(self, *command: str) -> str:
        return _run(*self._enter(*command))

    def popen(self, *command: str, log: str) -> subprocess.Popen[bytes]:
        """Start a command on the host; its output goes to a file in the host's folder."""
        with (self._folder / log).open("wb") as output:
            environment = os.environ | self._net.environment
            return subprocess.Popen(
                self._enter(*command), env=environment, stdout=output, stderr=output, start_new_session=True
            )

    def log(self, name: str) -> str:
        """Return what a command has written."""
        return (self._folder / name).read_text(errors="replace")

    def kill_one(self, name: str) -> bool:
        """Kill the first process whose command has `name` in it; return whether there was one."""
        return subprocess.run(self._enter("pkill", "-KILL", "-o", "-f", "--", name), check=False, timeout=60).returncode == 0

    def cut(self) -> None:
        """Take the host off the network."""
        _run("ip", "link", "set", self._link, "down")

    def restore(self) -> None:
        """Put it back."""
        _run("ip", "link", "set", self._link, "up")

    def kill(self) -> None:
        """End every process of the host at once, as a power cut does."""
        os.kill(int(self._pid), signal.SIGKILL)
        self._first.wait()
        until(lambda: not Path(f"/sys/class/net/{self._link}").exists(), lambda: f"{self.name} still has its link")


class Net:
    """A network of hosts, with the test's process on it as `address`.

    Args:
        folder: gets a folder for each host.
        environment: of every command on a host.
    """

    def __init__(self, folder: Path, environment: Mapping[str, str]) -> None:
        self.prefix = f"d{os.getpid() % 100000:x}"
        self.bridge, self.folder, self.private = f"{self.prefix}b", folder, folder / "private"
        self.address = f"{_NETWORK}.1"
        self.environment, self.hosts = dict(environment), list[Host]()
        self.private.mkdir(parents=True)
        Path("/tmp/ray").mkdir(exist_ok=True)
        _run("ip", "link", "add", self.bridge, "type", "bridge")
        _run("ip", "addr", "add", f"{self.address}/24", "dev", self.bridge)
        _run("ip", "link", "set", self.bridge, "up")

    def add(self) -> Host:
        """Add a host."""
        self.hosts.append(Host(self, len(self.hosts) + 1))
        return self.hosts[-1]

    def close(self) -> None:
        """Remove everything."""
        for host in self.hosts:
            host.kill()
        _run("ip", "link", "del", self.bridge)


class Cluster:
    """A Ray cluster with token authentication: a head that runs no work, and hosts of two CPUs, labelled with their names.

    Args:
        folder: gets everything; `shared` in it is the folder that all hosts see, `private` another one on each.
        num_hosts: beside the head.
    """

    def __init__(self, folder: Path, num_hosts: int = 2) -> None:
        self.shared, self._token = folder / "shared", folder / "token"
        self.shared.mkdir(parents=True)
        self._token.write_text(secrets.token_hex(16))
        self.environment = {
            "RAY_AUTH_MODE": "token",
            "RAY_AUTH_TOKEN_PATH": str(self._token),
            "RAY_worker_niceness": "0",
            "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "0",
            "OMP_NUM_THREADS": "1",
            "RAY_health_check_period_ms": "2000",  # a host without an answer is given up sooner than by default
            "RAY_health_check_timeout_ms": "3000",
        }
        self.net = Net(folder, self.environment)
        self.head = self.net.add()
        self.url = f"http://{self.head.address}:8265"
        self.private = self.net.private
        self._ray = dict[str, subprocess.Popen[bytes]]()
        self.start(self.head)
        self.hosts = [self.net.add() for _ in range(num_hosts)]
        for host in self.hosts:
            self.start(host)
        self.wait(num_hosts + 1)

    def start(self, host: Host) -> None:
        """Start Ray on a host, and wait for the head's dashboard."""
        where = ["--head", "--port=6379", "--dashboard-host=0.0.0.0", "--num-cpus=0"]
        if host is not self.head:
            where = [f"--address={self.head.address}:6379", "--num-cpus=2", '--resources={"place": 1}']
        options = [f"--node-ip-address={host.address}", f"--labels=host={host.name}", "--disable-usage-stats", "--block"]
        self._ray[host.name] = host.popen(str(_BIN / "ray"), "start", *where, *options, log="ray.log")
        if host is self.head:
            until(lambda: self.ask("/api/version"), lambda: host.log("ray.log"))

    def keep(self, host: Host) -> None:
        """Start Ray on a host again if it has ended, as a service of the host would."""
        if self._ray[host.name].poll() is not None:
            self.start(host)

    def ask(self, path: str) -> Any:
        """Return what the dashboard answers; None if it doesn't."""
        request = urllib.request.Request(self.url + path, headers={"Authorization": f"Bearer {self._token.read_text()}"})
        try:
            with urllib.request.urlopen(request, timeout=5) as answer:
                return json.load(answer)
        except OSError:
            return None

    def num_alive(self) -> int:
        """Return how many nodes are alive."""
        answer = self.ask("/nodes?view=summary")
        nodes = answer["data"]["summary"] if answer is not None else []
        return sum(node["raylet"].get("state") == "ALIVE" for node in nodes)

    def wait(self, num: int) -> None:
        """Wait until so many nodes are alive."""
        until(lambda: self.num_alive() == num, lambda: f"{self.num_alive()} nodes")

    def close(self) -> None:
        """End everything."""
        self.net.close()
        for process in self._ray.values():
            process.wait()


def pause(seconds: float) -> None:
    """Let time pass between faults: when they come must not hang on what the run does."""
    time.sleep(seconds)


def until(condition: Callable[[], object], state: Callable[[], str], timeout_s: float = 120.0) -> None:
    """Wait for a condition; after the time limit, fail with the state."""
    end = time.monotonic() + timeout_s
    while not condition():
        assert time.monotonic() < end, state()
        time.sleep(0.3)
