"""A Ray cluster of two nodes on this machine, and a run on it that is killed here and there: for tests and scripts/chaos."""

from __future__ import annotations

import os
import random
import signal
import subprocess
from collections import Counter
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

import psutil
from trackingbed import TrackingServer, free_port

REPO, TESTS = Path(__file__).parents[1], Path(__file__).parent
ACTORS = {"worker": "ray::RemoteWorker", "expert": "ray::Replica", "learner": "TrainWorker"}
SIZE = {"num_cpus": 2, "object_store_memory": 128 * 2**20, "dashboard_agent_listen_port": 0}  # other clusters may have 52365


def environment(**more: str) -> dict[str, str]:
    """Return variables for all processes of a cluster; those on its nodes find the modules of the tests."""
    path = os.pathsep.join([str(TESTS), str(REPO)])
    return {"PYTHONPATH": path, "OMP_NUM_THREADS": "1", "RAY_USAGE_STATS_ENABLED": "0", **more}


class Cluster:
    """A head and a second node, of two logical CPUs each. The environment is that of the process that makes it.

    Args:
        folder: for Ray's files; its path must be short.
    """

    def __init__(self, folder: str) -> None:
        from ray._private.utils import write_ray_address
        from ray.cluster_utils import Cluster as Nodes

        head = {**SIZE, "include_dashboard": True, "dashboard_port": free_port(), "temp_dir": folder}
        self._nodes = Nodes(initialize_head=True, head_node_args=head)
        write_ray_address(self._nodes.address, folder)  # as `ray start` does: jobs get it, and not that of another cluster here
        self._second = self._nodes.add_node(**SIZE)
        self.address, self.dashboard = self._nodes.address, f"http://{self._nodes.webui_url}"

    def processes(self, name: str) -> list[psutil.Process]:
        """Return the processes below the nodes whose command has a name in it."""
        found = []
        for node in self._nodes.list_all_nodes():
            for info in node.all_processes.get("raylet", []):
                with suppress(psutil.Error):
                    children = psutil.Process(info.process.pid).children(recursive=True)
                    found += [child for child in children if name in " ".join(child.cmdline())]
        return found

    def replace_node(self) -> None:
        """Kill all processes of the second node, and add another one."""
        self._nodes.remove_node(self._second, allow_graceful=False)
        self._second = self._nodes.add_node(**SIZE)

    def close(self) -> None:
        """End all processes."""
        self._nodes.shutdown()


class Storm:
    """A run whose processes are killed, and whose driver is started again whenever it has died.

    Args:
        cluster: where it runs.
        command: of the driver; the same command continues the run.
        folder: the current folder of the driver.
        rng: draws the victims.
        driver: what the command of the driver has in it, if that runs on a node.
        unlucky: what the driver may end with when a node dies in a bad moment.
        env: the driver's environment.
        server: of the run's records; it may be killed, too.
        home: below it are the run and its stores. Nothing is killed before these have grown since the last time: otherwise a
            run that is killed more quickly than it starts would never end.
    """

    def __init__(
        self,
        cluster: Cluster,
        command: Sequence[str],
        folder: Path,
        rng: random.Random,
        *,
        driver: str = "",
        unlucky: Sequence[str] = (),
        env: Mapping[str, str] | None = None,
        server: TrackingServer | None = None,
        home: Path | None = None,
    ) -> None:
        self._cluster, self._command, self._folder, self._rng = cluster, command, folder, rng
        self._driver, self._unlucky, self._env, self._server = driver, unlucky, env, server
        self._home, self._before = home, set[str]()
        self._may_end = False  # what ends the driver was killed
        self.done, self.output = Counter[str](), list[str]()
        self.start()

    def start(self) -> None:
        """Start the driver."""
        self.process = subprocess.Popen(
            self._command, cwd=self._folder, env=self._env, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
        )

    def is_over(self) -> bool:
        """Return whether the run has ended well; start its driver again if that is dead."""
        if self.process.poll() is None:
            return False
        self.output.append(self.process.communicate()[0])
        if self.process.returncode == 0:
            return True
        assert self._may_end or any(text in self.output[-1] for text in self._unlucky), self.output[-1]
        self._may_end = False
        self.start()
        return False

    def kill(self, kind: str) -> bool:
        """Kill one of a kind; return whether there was one."""
        now = self._before
        if self._home is not None and (self.process.poll() is not None or (now := written(self._home)) <= self._before):
            return False
        if kind == "node":
            self._may_end = True  # the driver may be on it
            self._cluster.replace_node()
        elif kind == "server":
            assert self._server is not None, "there is one"
            self._server.close()
            self._server.start()
        elif kind == "driver":
            victims = self._cluster.processes(self._driver) if self._driver else [psutil.Process(self.process.pid)]
            if not victims or self.process.poll() is not None:
                return False
            self._may_end = True
            victims[-1].send_signal(signal.SIGKILL)
        else:
            victims = self._cluster.processes(ACTORS[kind])
            if not victims:
                return False
            with suppress(psutil.NoSuchProcess):
                self._rng.choice(victims).send_signal(signal.SIGKILL)
        self.done[kind], self._before = self.done[kind] + 1, now
        return True

    def end(self) -> None:
        """Kill the driver, if it still runs."""
        if self.process.poll() is None:
            self.process.kill()
            self.process.wait()


def written(home: Path) -> set[str]:
    """Return what runs and stores below a folder have written down: names, and the lengths of journals."""
    journals = {f"{path} {path.stat().st_size}" for path in home.glob("runs/*/journal.jsonl")}
    kinds = ("manifests/*", "data/*.arrow", "checkpoints/*.safetensors")
    return journals | {str(path) for kind in kinds for path in home.rglob(kind)}


def spent(reports: Sequence[Any]) -> dict[str, Any]:
    """Return what a run has spent, apart from time."""
    return {name: value for name, value in vars(reports[-1].spent).items() if name not in ("wall_s", "cpu_s")}
