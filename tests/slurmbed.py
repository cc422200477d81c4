"""Slurm on the hosts of `hostbed`: a controller, and a slurmd for each host of two CPUs. Needs Debian's packages."""

from __future__ import annotations

import os
import re
import secrets
import shutil
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

import hostbed

ROOT = Path(__file__).resolve().parents[1]
_CONFIGURATION = """
ClusterName=distil
SlurmctldHost={controller.name}({controller.address})
SlurmctldPort=26817
SlurmdPort=26818
AuthInfo=socket={folder}/munge.socket,cred_expire=5
SlurmUser=root
StateSaveLocation={folder}/state
SlurmdSpoolDir={folder}/spool-%n
SlurmctldPidFile={folder}/slurmctld.pid
SlurmdPidFile={folder}/slurmd-%n.pid
SlurmctldLogFile={folder}/slurmctld.log
SlurmdLogFile={folder}/slurmd-%n.log
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
SelectType=select/cons_tres
MpiDefault=none
ReturnToService=2
KillWait=15
"""


def why_not() -> str:
    """Return why there can be no Slurm here; empty if there can."""
    missing = [name for name in ("slurmctld", "slurmd", "sbatch", "munged") if shutil.which(name, path=_PATH) is None]
    return f"needs {', '.join(missing)}: apt-get install slurmctld slurmd slurm-client munge" if missing else ""


_PATH = f"{os.environ['PATH']}:/usr/sbin"


def script(name: str, values: Mapping[str, str]) -> str:
    """Return a script of clusters/slurm with its placeholders replaced."""
    text = (ROOT / "clusters/slurm" / name).read_text()
    return re.sub(r"CHANGE-ME-([a-z]+)", lambda found: values[found[1]], text)


class Slurm:
    """A Slurm cluster.

    Args:
        folder: gets everything; `shared` in it is a folder that all hosts see.
        num_hosts: of two CPUs each.
        environment: of every command.
    """

    def __init__(self, folder: Path, num_hosts: int, environment: Mapping[str, str]) -> None:
        self.shared, self._folder = folder / "shared", folder
        self.shared.mkdir(parents=True)
        (folder / "state").mkdir()
        own = {"SLURM_CONF": str(folder / "slurm.conf"), "PATH": _PATH, "TMPDIR": "/tmp/ray"}  # private to each host
        self.net = hostbed.Net(folder / "net", {**environment, **own})
        self.hosts = [self.net.add() for _ in range(num_hosts)]
        self._start_munge()
        controller = self.hosts[0]
        text = _CONFIGURATION.format(controller=controller, folder=folder)
        nodes = [f"NodeName={host.name} NodeAddr={host.address} CPUs=2 RealMemory=2000" for host in self.hosts]
        partition = "PartitionName=main Nodes=ALL MaxTime=INFINITE OverSubscribe=EXCLUSIVE"
        (folder / "slurm.conf").write_text("\n".join([text, *nodes, partition, ""]))
        for host in self.hosts:
            (folder / f"spool-{host.name}").mkdir()
        self._daemons = [controller.popen("slurmctld", "-D", log="slurmctld")]
        self._daemons += [host.popen("slurmd", "-D", log="slurmd") for host in self.hosts]

    def wait(self) -> None:
        """Wait until all hosts can take jobs."""
        ready = f"idle {len(self.hosts)}"
        hostbed.until(lambda: self.ask("sinfo", "-h", "-o", "%t %D") == ready, lambda: self.ask("sinfo"))

    def _start_munge(self) -> None:
        key = self._folder / "munge.key"
        key.write_bytes(secrets.token_bytes(1024))
        key.chmod(0o400)
        files = {"socket": "munge.socket", "pid-file": "munge.pid", "log-file": "munge.log", "seed-file": "munge.seed"}
        options = [f"--{name}={self._folder / file}" for name, file in files.items()]
        found = shutil.which("munged", path=_PATH)
        self._munge = subprocess.Popen(  # its sockets reach all hosts, since it is a file
            [str(found), "--foreground", "--force", f"--key-file={key}", *options], stderr=subprocess.DEVNULL
        )

    def ask(self, *command: str) -> str:
        """Return what a command prints, without spaces at its ends."""
        environment = os.environ | self.net.environment
        done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=60, check=False)
        return (done.stdout + done.stderr).strip()

    def submit(self, folder: Path, name: str, *words: str) -> str:
        """Submit a script of clusters/slurm from a folder; its output goes to `job.log` there. Return the job's id."""
        values = {"partition": "main", "environment": sys.prefix, "shared": str(self.shared)}
        (folder / name).write_text(script(name, values))
        options = [f"--chdir={folder}", "--output=job.log", f"--nodes={len(self.hosts)}", "--parsable"]
        job = self.ask("sbatch", *options, str(folder / name), *words)
        assert job.isdigit(), job
        return job

    def job(self, job: str) -> dict[str, str]:
        """Return the fields of a job."""
        return dict(re.findall(r"(\w+)=(\S*)", self.ask("scontrol", "show", "job", job)))

    def close(self) -> None:
        """End everything."""
        self.net.close()
        self._munge.kill()
        for process in (self._munge, *self._daemons):
            process.wait()
