"""With a server that answers as Ray's dashboard; test_submit.py has a real cluster."""

from __future__ import annotations

import json
import os
import signal
from collections.abc import Iterator, Mapping
from typing import Any

import pytest
from click.testing import CliRunner
from jobbed import VERSION, job, serving

from distil.cli.main import cli
from distil.errors import InputError

FAILED = job("FAILED", driver_exit_code=-9, end_time=61_000, message="killed")


def run(*words: str) -> Any:
    return CliRunner().invoke(cli, ["submit", *words], catch_exceptions=False)


@pytest.fixture
def url() -> Iterator[str]:
    """A cluster with a job that was killed."""

    def answer(request: str, headers: Mapping[str, str]) -> tuple[int, Any]:
        if request.endswith("/version"):
            return 200, VERSION
        if request.endswith("/logs"):
            return 200, {"logs": "first\nlast"}
        return (200, [FAILED]) if request.endswith("/jobs/") else (200, FAILED) if request.endswith("/one") else (404, b"")

    with serving(answer) as url:
        yield url


def test_jobs_are_listed_and_looked_at(url: str) -> None:
    listed = run("list", "--address", url).stdout
    assert listed.split() == ["one", "FAILED", *listed.split()[2:-2], "train", "mine"]
    shown = run("--address", url, "status", "one").stdout
    assert "for        1 min 0 s" in shown
    assert "killed (signal 9): out of memory" in shown
    assert json.loads(run("status", "one", "--address", url, "--json").stdout)["exit_code"] == 1
    with pytest.raises(InputError, match="job two: this cluster knows no such job"):
        run("logs", "two", "--address", url)


def test_logs_end_or_are_followed_to_the_exit_code(url: str) -> None:
    once = run("logs", "one", "--address", url)
    assert (once.stdout, once.exit_code) == ("first\nlast\n", 0)
    followed = run("logs", "one", "--follow", "--address", url)
    assert (followed.stdout, followed.exit_code) == ("first\nlast", 1)
    assert "job one: FAILED with exit code -9 after 1 min 0 s\n" in followed.stderr
    as_json = run("logs", "one", "--follow", "--json", "--address", url)
    assert json.loads(as_json.stdout)["status"] == "FAILED"
    assert "first\nlast" in as_json.stderr
    assert json.loads(run("logs", "one", "--json", "--address", url).stdout)["logs"] == "first\nlast"


def test_a_job_that_has_ended_is_not_stopped(url: str) -> None:
    with pytest.raises(InputError, match="job one: has ended already: FAILED, exit code 1"):
        run("stop", "one", "--address", url)


@pytest.mark.parametrize(("option", "fix"), [("--root", "leave it out"), ("--id", "leave it out"), ("--json", "after list")])
def test_an_option_without_effect_is_refused(option: str, fix: str, url: str) -> None:
    words = [option] if option == "--json" else [option, "/shared"]
    with pytest.raises(InputError, match=f"{option} has no effect on `distil submit list`: .*{fix}"):
        run("--address", url, *words, "list")


def test_ctrl_c_leaves_the_job_and_says_how_to_follow_it() -> None:
    def answer(request: str, headers: Mapping[str, str]) -> tuple[int, Any]:
        if request.endswith("/logs"):
            os.kill(os.getpid(), signal.SIGINT)
        return 200, VERSION if request.endswith("/version") else job()

    with serving(answer) as url:
        done = run("logs", "one", "--follow", "--address", url)
    assert done.exit_code == 130
    assert (
        f"job one continues. Follow it: distil submit logs one --follow --address {url}; stop it: distil submit" in done.stderr
    )


def test_the_address_is_never_rays_own_in_silence(url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RAY_ADDRESS", "127.0.0.1:1")
    monkeypatch.setenv("RAY_API_SERVER_ADDRESS", url)
    done = run("list")
    assert done.exit_code == 0
    assert f"RAY_ADDRESS=127.0.0.1:1 is not used: the job goes to {url}" in done.stderr
    with pytest.raises(InputError, match="connection refused; is the cluster running"):
        run("list", "--address", "http://127.0.0.1:1")
