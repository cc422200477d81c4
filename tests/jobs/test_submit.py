import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
from jobbed import serving

from distil.errors import InputError, RunError
from distil.jobs.client import Dashboard
from distil.jobs.package import Package, pack
from distil.jobs.submit import SETTINGS, Submission, new_id, read_environment, submit
from distil.jobs.work import Work

WORK = Work(name="my run", words=["train", "mine", "a=b c"])


class Cluster:
    """A dashboard that keeps packages and jobs as Ray's does, and loses answers on request."""

    def __init__(self) -> None:
        self.packages: set[str] = set()
        self.jobs: dict[str, dict[str, Any]] = {}
        self.started: list[dict[str, Any]] = []
        self.lost: list[str] = []  # requests whose answer is lost, once each
        self.failure = ""  # of a start
        self.next: dict[str, Any] = {}  # the body of the next POST

    def __call__(self, request: str, headers: Mapping[str, str]) -> tuple[int, Any]:
        answer = self.answer(request)
        if any(request.startswith(lost) for lost in self.lost):
            self.lost = [lost for lost in self.lost if not request.startswith(lost)]
            return 502, b""
        return answer

    def answer(self, request: str) -> tuple[int, Any]:
        method, path = request.split()
        name = path.rpartition("/")[2]
        if method == "PUT":
            self.packages.add(name)
            return 200, b""
        if "packages" in path:
            return (200, b"") if name in self.packages else (404, b"")
        if method == "POST":
            if self.failure:
                return 500, self.failure.encode()
            job_id = self.next["submission_id"]
            if job_id in self.jobs:
                return 500, f"ValueError: Job with submission_id {job_id} already exists.".encode()
            self.started.append(self.next)
            self.jobs[job_id] = {**self.next, "status": "PENDING", "start_time": 1}
            return 200, {}
        return (200, self.jobs[name]) if name in self.jobs else (404, b"")


@pytest.fixture
def cluster() -> Cluster:
    return Cluster()


@pytest.fixture
def package() -> Package:
    return pack(Path())


def start(cluster: Cluster, submission: Submission, job_id: str = "one") -> tuple[str, str]:
    cluster.next = submission.request(job_id, {"entrypoint_label_selector": {"zone": "b"}})
    with serving(cluster) as url:
        job, note = submit(Dashboard(url), submission, job_id, dict, wait=lambda _: None)
    return job.id, note


def test_a_request_has_what_a_job_needs(package: Package) -> None:
    submission = Submission(work=WORK, package=package, environment={"KEY": "secret"}, python="/venv/bin/python")
    request = submission.request("one", {"entrypoint_num_gpus": 1})
    assert request["entrypoint"] == "env -u OMP_NUM_THREADS /venv/bin/python -m distil train mine 'a=b c'"
    assert request["runtime_env"] == {"working_dir": f"gcs://{package.name}", "env_vars": {**SETTINGS, "KEY": "secret"}}
    assert (request["submission_id"], request["entrypoint_num_gpus"]) == ("one", 1)
    assert request["metadata"]["distil_command"] == "train mine 'a=b c'"
    assert submission.names == sorted([*SETTINGS, "KEY", "DISTIL_RAY_SESSION"])
    assert "secret" not in json.dumps(request["metadata"])
    limited = Submission(work=WORK, package=package, environment={"OMP_NUM_THREADS": "4"})
    assert limited.entrypoint.startswith("python -m distil ")
    assert submission.request("one", {}, "session_1")["runtime_env"]["env_vars"]["DISTIL_RAY_SESSION"] == "session_1"


@pytest.mark.parametrize("lost", [["POST /api/jobs/"], ["GET /api/jobs/one", "PUT"], ["GET /api/packages", "POST"]])
def test_a_lost_answer_never_starts_two_jobs(cluster: Cluster, package: Package, lost: list[str]) -> None:
    cluster.lost = lost
    start(cluster, Submission(work=WORK, package=package))
    assert len(cluster.started) == 1
    assert not cluster.lost


def test_a_young_cluster_whose_agents_have_not_started_is_asked_again(cluster: Cluster, package: Package) -> None:
    cluster.failure, waits = "No available agent to submit job, please try again later.", list[float]()

    def wait(seconds: float) -> None:
        waits.append(seconds)
        cluster.failure = ""

    submission = Submission(work=WORK, package=package)
    cluster.next = submission.request("one", {})
    with serving(cluster) as url:
        job, _ = submit(Dashboard(url), submission, "one", dict, wait=wait)
    assert (job.id, len(waits), len(cluster.started)) == ("one", 1, 1)


def test_a_cluster_whose_agent_never_starts_is_named_with_the_fix(cluster: Cluster, package: Package) -> None:
    cluster.failure = "No available agent to submit job, please try again later."
    with (
        serving(cluster) as url,
        pytest.raises(RunError, match=r"^http://\S+: the head node's agent.*--dashboard-agent-listen-port.*--id one"),
    ):
        submit(Dashboard(url), Submission(work=WORK, package=package), "one", dict, wait=lambda _: None)


def test_the_same_id_is_the_same_job_and_another_submission_is_refused(cluster: Cluster, package: Package) -> None:
    assert start(cluster, Submission(work=WORK, package=package))[1] == ""
    assert start(cluster, Submission(work=WORK, package=package)) == ("one", "it was submitted before")
    for other in (
        Submission(work=WORK, package=Package(files={"a": b"1"})),
        Submission(work=WORK, package=package, environment={"KEY": "1"}),
        Submission(work=Work(name="x", words=["train", "other"]), package=package),
    ):
        with pytest.raises(InputError, match="--id one: is taken by another job"):
            start(cluster, other)
    assert len(cluster.started) == 1


def test_the_same_files_are_sent_once(cluster: Cluster, package: Package) -> None:
    start(cluster, Submission(work=WORK, package=package))
    assert start(cluster, Submission(work=WORK, package=package), "two")[1] == "the cluster has these files already"
    assert cluster.packages == {package.name}


def test_a_refusal_is_told_and_no_answer_is_given_up(cluster: Cluster, package: Package) -> None:
    cluster.failure = "Traceback\nValueError: invalid label"
    with pytest.raises(RunError, match="HTTP status 500: ValueError: invalid label"):
        start(cluster, Submission(work=WORK, package=package))

    with (
        serving(lambda *_: (503, b"")) as url,
        pytest.raises(RunError, match="try again with --id one, which never starts a second job"),
    ):
        submit(Dashboard(url), Submission(work=WORK, package=package), "one", dict, wait=lambda _: None)


def test_variables_are_named_and_their_values_never_shown(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("KEY", "secret")
    assert read_environment(["KEY"]) == {"KEY": "secret"}
    for name, message in (
        ("KEY=secret", "--env KEY: give the name alone"),
        ("NONE", "not set"),
        ("RAY_JOB_STOP_SIGNAL", "sets it"),
    ):
        with pytest.raises(InputError, match=message) as error:
            read_environment([name])
        assert "secret" not in str(error.value)


def test_a_new_id_begins_with_what_the_job_is() -> None:
    assert new_id(WORK).startswith("my-run-")
    assert new_id(WORK) != new_id(WORK)
    assert new_id(Work(name="..", words=[])).startswith("job-")
