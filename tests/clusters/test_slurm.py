"""The scripts for Slurm: shellcheck; what cluster.sbatch does, with stand-ins for Slurm and Ray; and both for real.

For real means Debian's Slurm on hosts made of namespaces: minutes, and root. Run with DISTIL_HOSTS=1. Otherwise nothing checks
the options behind #SBATCH.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import subprocess
from collections.abc import Iterator, Mapping
from pathlib import Path

import hostbed
import pytest
import slurmbed
from clusterbed import POLE, POLE_RECIPE, shellcheck

import distil

SCRIPTS = ["cluster.sbatch", "simple.sbatch"]
DEFECTS = [
    ("cluster.sbatch", 'rm -f "$RAY_AUTH_TOKEN_PATH"', "rm -f $RAY_AUTH_TOKEN_PATH"),
    ("cluster.sbatch", "max_restarts=5", "max_restart=5"),
    ("cluster.sbatch", "    done\n}\n\nattend", "    }\n\nattend"),
    ("simple.sbatch", 'node "$@"', "node $@"),
    ("simple.sbatch", "shared=", "share="),
]


@pytest.mark.parametrize("name", SCRIPTS)
def test_shellcheck_has_nothing_to_say(name: str) -> None:
    assert shellcheck((slurmbed.ROOT / "clusters/slurm" / name).read_text()) == ""


@pytest.mark.parametrize(("name", "good", "bad"), DEFECTS)
def test_shellcheck_finds_a_defect(name: str, good: str, bad: str) -> None:
    text = (slurmbed.ROOT / "clusters/slurm" / name).read_text()
    assert text.count(good) == 1
    assert shellcheck(text.replace(good, bad)) != ""


STAND_INS = {
    "srun": """
        for word in "$@"; do case $word in --nodelist=*) export SLURMD_NODENAME=${word#*=} SLURM_CPUS_ON_NODE=2 ;; esac; done
        while [[ $1 == -* ]]; do shift; done
        trap 'kill -USR2 "$task"' USR2
        "$@" &
        task=$!
        while kill -0 "$task" 2>/dev/null; do wait "$task"; code=$?; done
        exit "$code" """,
    "scontrol": """
        if [[ $1 == requeue ]]; then echo "$2" >"$here/requeued"; else printf '%s\\n' first second; fi""",
    "ray": """
        mkdir -p "$temporary/session_2/logs" && echo "$*" >>"$temporary/session_2/logs/raylet.out"
        [[ $SLURMD_NODENAME == "${weak:-}" ]] && exit 9
        echo $$ >"$here/ray.new" && mv "$here/ray.new" "$here/ray.$SLURMD_NODENAME"
        exec sleep 60""",
    "python": """
        case $1 in
            -) exit "${join:-0}" ;;
            -c) echo secret ;;
            *)
                trap 'echo interrupted >"$here/interrupted"; exit "${last:-130}"' INT
                echo "$*" >"$here/run.new" && mv "$here/run.new" "$here/run"
                until [[ -e $here/code ]]; do sleep 0.1; kill -0 "$PPID" || exit; done
                exit "$(<"$here/code")" ;;
        esac""",
}


def write(folder: Path, programs: Mapping[str, str]) -> None:
    """Write programs of bash."""
    folder.mkdir(parents=True)
    for name, body in programs.items():
        (folder / name).write_text(f"#!/usr/bin/env bash\n{body}\n")
        (folder / name).chmod(0o755)


class Job:
    """A run of cluster.sbatch on two nodes, with stand-ins."""

    def __init__(self, folder: Path, **environment: str) -> None:
        self.here = folder
        programs = folder / "bin"
        write(programs, STAND_INS)
        text = slurmbed.script(
            "cluster.sbatch", {"partition": "", "environment": str(folder), "shared": str(folder / "shared")}
        )
        (folder / "script").write_text(
            text.replace("max_restarts=5", "max_restarts=1")
            .replace("sleep 1\n", "sleep 0.1\n")
            .replace("sleep 1 &", "sleep 0.1 &")
        )
        own = {"here": str(folder), "TMPDIR": str(folder), "PATH": f"{programs}:{os.environ['PATH']}"}
        slurm = {"SLURM_JOB_ID": "7", "SLURMD_NODENAME": "first", "SLURM_JOB_NODELIST": "first,second"}
        self.process = subprocess.Popen(
            ["bash", str(folder / "script"), "train", "pole", "learner.num_steps=5"],
            env=os.environ | own | slurm | environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )

    def wait_for(self, name: str) -> str:
        """Wait for a file that a stand-in writes; return its content, and remove it."""
        file = self.here / name
        hostbed.until(file.exists, lambda: f"no {name}; {self.process.poll()}")
        content = file.read_text().strip()
        file.unlink()
        return content

    def end(self, code: int) -> None:
        """End the run."""
        (self.here / "code").write_text(str(code))

    def over(self) -> tuple[int, str]:
        """Return the job's exit code and what it said."""
        said = self.process.communicate(timeout=60)[0]
        assert not (self.here / "shared/distil-7/token").exists()
        return self.process.returncode, said


@pytest.fixture(scope="module")
def jobs(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, Job]]:
    """All at once: each takes seconds, and little work."""
    environments: dict[str, dict[str, str]] = {"weak": {"weak": "second"}, "alone": {"join": "1"}, "done": {"last": "0"}}
    names = ["calm", "worker", "head", "limit", *environments]
    found = {name: Job(tmp_path_factory.mktemp(name), **environments.get(name, {})) for name in names}
    yield found
    for job in found.values():
        job.process.kill()
        job.process.wait()


def test_a_job_runs_the_command_and_ends_with_its_code(jobs: dict[str, Job]) -> None:
    job = jobs["calm"]
    assert job.wait_for("run") == "-m distil train pole learner.num_steps=5 --run slurm-7 --resume"
    assert oct((job.here / "shared/distil-7/token").stat().st_mode)[-3:] == "600"
    job.end(3)
    code, said = job.over()
    assert code == 3, said
    logs = job.here / "shared/distil-7/logs"
    assert "--head" in (logs / "first/raylet.out").read_text()
    assert not (job.here / "requeued").exists()


def test_a_dead_worker_is_started_again(jobs: dict[str, Job]) -> None:
    job = jobs["worker"]
    job.wait_for("run")
    os.kill(int(job.wait_for("ray.second")), signal.SIGKILL)
    job.wait_for("ray.second")
    job.end(0)
    code, said = job.over()
    assert code == 0, said
    assert "Ray on second has ended with 137; start 1 of 1" in said


def test_a_worker_that_dies_again_and_again_ends_the_job(jobs: dict[str, Job]) -> None:
    code, said = jobs["weak"].over()
    assert code == 1, said
    assert "Ray on second has ended with 9, 2 times" in said


def test_a_dead_head_ends_the_job(jobs: dict[str, Job]) -> None:
    job = jobs["head"]
    job.wait_for("run")
    os.kill(int(job.wait_for("ray.first")), signal.SIGKILL)
    code, said = job.over()
    assert code == 1, said
    assert "Ray on the head first has ended with 137" in said
    assert job.wait_for("interrupted")
    assert not (job.here / "requeued").exists()


def test_before_the_time_limit_the_run_is_interrupted_and_the_job_queued_again(jobs: dict[str, Job]) -> None:
    job = jobs["limit"]
    job.wait_for("run")
    job.process.send_signal(signal.SIGUSR1)
    code, said = job.over()
    assert code == 130, said
    assert job.wait_for("interrupted")
    assert job.wait_for("requeued") == "7"
    assert (job.here / "shared/distil-7/logs/first/raylet.out").exists()


def test_a_run_that_ends_well_just_before_the_time_limit_is_over(jobs: dict[str, Job]) -> None:
    job = jobs["done"]
    job.wait_for("run")
    job.process.send_signal(signal.SIGUSR1)
    assert job.over()[0] == 0
    assert not (job.here / "requeued").exists()


def test_nodes_that_do_not_join_end_the_job(jobs: dict[str, Job]) -> None:
    code, said = jobs["alone"].over()
    assert code == 1, said
    assert "1 nodes have not joined in 300 s" in said


def test_the_simple_script_runs_the_command_through_ray_and_ends_with_its_code(tmp_path: Path) -> None:
    """On a node whose name no name server knows."""
    programs = {"srun": STAND_INS["srun"], "python": STAND_INS["python"], "ray": 'echo "$*" >"$here/ray"; exit 5'}
    write(tmp_path / "bin", programs)
    text = slurmbed.script("simple.sbatch", {"partition": "", "environment": str(tmp_path), "shared": str(tmp_path)})
    own = {"here": str(tmp_path), "PATH": f"{tmp_path}/bin:{os.environ['PATH']}", "TMPDIR": str(tmp_path)}
    slurm = {"SLURM_JOB_ID": "7", "SLURMD_NODENAME": "no-such-host", "SLURM_JOB_NUM_NODES": "2", "SLURM_CPUS_ON_NODE": "2"}
    command = ["bash", "-c", text, "simple", "train", "pole", "runs=a b"]
    assert subprocess.run(command, env=os.environ | own | slurm, check=False, timeout=60).returncode == 5
    given = (tmp_path / "ray").read_text()
    assert re.match(r"symmetric-run --address [\d.]+:6379 --min-nodes 2 --num-cpus 2 --temp-dir \S+/ray-7 -- ", given)
    assert re.search(r" -- env RAY_ADDRESS=[\d.]+:6379 python -m distil train pole runs=a b$", given.strip())
    assert list(tmp_path.glob("*.token")) == []


REASON = (
    hostbed.why_not() or slurmbed.why_not() or ("" if os.environ.get("DISTIL_HOSTS") else "takes minutes: set DISTIL_HOSTS=1")
)


@pytest.fixture(scope="module")
def slurm(tmp_path_factory: pytest.TempPathFactory) -> Iterator[slurmbed.Slurm]:
    environment = {"OMP_NUM_THREADS": "1", "RAY_worker_niceness": "0", "PYTHONPATH": str(Path(distil.__file__).parents[1])}
    found = slurmbed.Slurm(tmp_path_factory.mktemp("slurm"), 2, environment)
    try:
        found.wait()
        yield found
    finally:
        found.close()


@pytest.fixture
def project(slurm: slurmbed.Slurm) -> Iterator[Path]:
    folder = slurm.shared / "project"
    folder.mkdir()
    (folder / "pole.py").write_text(POLE)
    (folder / "pole.json").write_text(json.dumps(POLE_RECIPE))
    yield folder
    shutil.rmtree(folder)


def state(slurm: slurmbed.Slurm, project: Path, job: str) -> str:
    log = project / "job.log"
    return f"{slurm.job(job)}\n{log.read_text() if log.exists() else ''}"


def wait_until_over(slurm: slurmbed.Slurm, project: Path, job: str) -> str:
    """Wait for the end of a job; return what it said."""
    ended = ("COMPLETED", "FAILED", "CANCELLED", "TIMEOUT", "NODE_FAIL")
    hostbed.until(lambda: slurm.job(job)["JobState"] in ended, lambda: state(slurm, project, job), 400)
    assert slurm.job(job)["ExitCode"] == "0:0", state(slurm, project, job)
    return (project / "job.log").read_text()


def rounds(project: Path, run: str) -> list[int]:
    journal = project / "runs" / run / "journal.jsonl"
    lines = [json.loads(line) for line in journal.read_text().splitlines()] if journal.exists() else []
    return [line["round"] for line in lines if line["kind"] == "reported"]


@pytest.mark.ray
@pytest.mark.slow
@pytest.mark.skipif(bool(REASON), reason=REASON)
class TestForReal:
    def test_a_run_survives_a_killed_worker_step(self, slurm: slurmbed.Slurm, project: Path) -> None:
        job = slurm.submit(project, "cluster.sbatch", "train", "pole.json", "--run", "mine")
        hostbed.until(lambda: rounds(project, "mine"), lambda: state(slurm, project, job), 400)
        slurm.hosts[1].kill_one("raylet/raylet")
        said = wait_until_over(slurm, project, job)
        assert "Ray on host2 has ended with 1; start 1 of 5" in said
        assert "2 nodes are ready" in said
        assert rounds(project, "mine") == list(range(13))
        files = slurm.shared / f"distil-{job}"
        assert not (files / "token").exists()
        assert all((files / "logs" / host.name / "raylet.out").exists() for host in slurm.hosts)

    def test_a_job_near_its_time_limit_continues_its_run_when_it_is_requeued(
        self, slurm: slurmbed.Slurm, project: Path
    ) -> None:
        job = slurm.submit(project, "cluster.sbatch", "train", "pole.json", "--run", "long")
        hostbed.until(lambda: rounds(project, "long"), lambda: state(slurm, project, job), 400)
        slurm.ask("scancel", "--batch", "--signal=USR1", job)  # what Slurm sends before the limit
        said = wait_until_over(slurm, project, job)
        assert slurm.job(job)["Restarts"] == "1"
        assert "queued again" in said
        assert rounds(project, "long") == list(range(13))

    def test_the_simple_script(self, slurm: slurmbed.Slurm, project: Path) -> None:
        job = slurm.submit(project, "simple.sbatch", "train", "pole.json", "--run", "short", "algorithm.rounds=2")
        wait_until_over(slurm, project, job)
        assert rounds(project, "short") == [0, 1, 2]
