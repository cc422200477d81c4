import re

import pytest
from jobbed import job, serving

from distil.errors import InputError
from distil.jobs.client import Dashboard
from distil.jobs.job import digest_of, find_job, list_jobs, read_job, require_id


@pytest.mark.parametrize(
    ("status", "code", "exit_code"),
    [
        ("RUNNING", None, None),
        ("SUCCEEDED", 0, 0),
        ("FAILED", 2, 2),
        ("FAILED", 1, 1),
        ("FAILED", 130, 130),
        ("FAILED", -9, 1),
        ("FAILED", 127, 1),
        ("FAILED", None, 1),
        ("STOPPED", None, 130),
    ],
)
def test_the_exit_code_is_the_commands(status: str, code: int | None, exit_code: int | None) -> None:
    assert read_job(job(status, driver_exit_code=code)).exit_code == exit_code


@pytest.mark.parametrize(
    ("code", "message", "fault"),
    [
        (2, "distil: unknown key", None),
        (127, "sh: python: not found", "`python` on the cluster has no distil: .*--python /path"),
        (1, "/usr/bin/python: No module named distil", "`python` on the cluster has no distil"),
        (-9, "failed with exit code -9", r"was killed \(signal 9\): out of memory"),
        (137, "failed with exit code 137", r"was killed \(signal 9\)"),
        (
            None,
            "Job supervisor actor died: unexpectedly.\n\tThe actor died because its node has died. Node Id: 1",
            r"ended with its node or its supervisor \(its node has died\. Node Id: 1\); submitted again, a run with a name",
        ),
        (None, "runtime_env setup failed:\n  no space left", "could not be run: runtime_env setup failed: no space left"),
    ],
)
def test_what_its_output_does_not_say_is_said_in_one_line(code: int | None, message: str, fault: str | None) -> None:
    found = read_job(job("FAILED", driver_exit_code=code, message=message)).fault("python")
    assert (found is None) == (fault is None)
    assert re.search(fault or "^$", found or "")
    assert "\n" not in (found or "")


def test_a_job_as_data() -> None:
    assert read_job(job()).to_json() == {"id": "one", "status": "RUNNING", "command": "train mine", "started": 1.0}
    ended = read_job(job("SUCCEEDED", end_time=3_500, driver_exit_code=0))
    assert ended.to_json()["exit_code"] == 0
    assert ended.age_s == 2.5


def test_distils_jobs_are_listed_the_newest_first() -> None:
    jobs = [job(), job(submission_id="two", start_time=2_000), job(submission_id="other", metadata={}), {"type": "DRIVER"}]
    with serving(lambda *_: (200, jobs)) as url:
        assert [found.id for found in list_jobs(Dashboard(url))] == ["two", "one"]


def test_an_unknown_job_and_a_wrong_id() -> None:
    with serving(lambda *_: (404, b"no")) as url, pytest.raises(InputError, match="job one: this cluster knows no such job"):
        find_job(Dashboard(url), "one")
    require_id("mine-1.a_B")
    for wrong in ("a b", "-x", "a/b", "", "x" * 101):
        with pytest.raises(InputError, match="--id"):
            require_id(wrong)


def test_a_digest_tells_the_order_and_the_borders_of_its_parts() -> None:
    assert len({digest_of("a", "b"), digest_of("b", "a"), digest_of("ab", ""), digest_of("ab")}) == 4
