from collections.abc import Callable, Iterator, Mapping
from typing import Any

import pytest
from jobbed import job, serving

from distil.errors import RunError
from distil.jobs.client import Dashboard
from distil.jobs.follow import Follower, stop
from distil.jobs.job import read_job

Step = tuple[int, Any]  # an answer
LOST: Step = (503, b"")


class Clock:
    """Time that passes only while something waits."""

    def __init__(self) -> None:
        self.now = 0.0
        self.waits: list[float] = []

    def __call__(self) -> float:
        return self.now

    def wait(self, seconds: float) -> None:
        self.waits.append(seconds)
        self.now += seconds


class Script:
    """A dashboard that answers the next of `jobs` to questions about a job, and the next of `logs`; the last one remains."""

    def __init__(self, jobs: list[Step], logs: list[Step]) -> None:
        self.jobs, self.texts, self.requests = jobs, logs, list[str]()

    def __call__(self, request: str, headers: Mapping[str, str]) -> Step:
        self.requests.append(request)
        if request.endswith("/stop"):
            return 200, {"stopped": True}
        steps = self.texts if request.endswith("/logs") else self.jobs
        return steps.pop(0) if len(steps) > 1 else steps[0]


Start = Callable[[list[Step], list[Step]], Follower]


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def printed() -> list[str]:
    return []


@pytest.fixture
def notes() -> list[str]:
    return []


@pytest.fixture
def start(clock: Clock, printed: list[str], notes: list[str]) -> Iterator[Start]:
    opened = []

    def begin(jobs: list[Step], logs: list[Step]) -> Follower:
        server = serving(Script(jobs, logs))
        opened.append(server)
        dashboard = Dashboard(server.__enter__())
        return Follower(dashboard, "one", printed.append, notes.append, wait=clock.wait, clock=clock)

    yield begin
    for server in opened:
        server.__exit__(None, None, None)


def text(content: str) -> Step:
    return 200, {"logs": content}


RUNNING, DONE = (200, job()), (200, job("SUCCEEDED", driver_exit_code=0))


def test_each_line_is_printed_once_and_whole_through_lost_connections(
    start: Start, printed: list[str], notes: list[str]
) -> None:
    jobs = [RUNNING, LOST, LOST, RUNNING, RUNNING, DONE]
    logs = [text("a\nb"), text("a\nbc\n"), LOST, text("a\nbc\nd\ne")]
    assert start(jobs, logs).follow().exit_code == 0
    assert printed == ["a\n", "bc\n", "d\ne"]
    assert [note.partition(" (")[0].partition(" after")[0] for note in notes] == ["connection lost", "connected again"] * 2


def test_what_was_printed_before_the_end_is_complete(start: Start, printed: list[str]) -> None:
    """The status is asked for first: what the job printed between the two answers is in the second one."""
    start([RUNNING, DONE], [text("a\n"), text("a\nlast")]).follow()
    assert "".join(printed) == "a\nlast"


def test_an_output_that_cannot_be_read_is_said_once_and_leaves_the_status(
    start: Start, printed: list[str], notes: list[str]
) -> None:
    failed = (200, job("FAILED", message="the node died"))
    assert start([RUNNING, RUNNING, failed], [text("a\n"), (500, b"gone")]).follow().exit_code == 1
    assert printed == ["a\n"]
    assert len(notes) == 1
    assert notes[0].startswith("job one: its output cannot be read")


def test_a_node_that_is_cut_off_hides_no_end(start: Start, printed: list[str], notes: list[str], clock: Clock) -> None:
    """The dashboard answers, and the node with the output does not: however long the job runs, and after its end."""
    failed = (200, job("FAILED", message="the node died"))
    assert start([RUNNING] * 700 + [failed], [text("a\n"), LOST]).follow().exit_code == 1
    assert printed == ["a\n"]
    assert [note.partition(" (")[0] for note in notes] == ["connection lost", "job one: the end of its output cannot be read"]
    assert clock.now >= 700


def test_the_last_output_is_waited_for(start: Start, printed: list[str]) -> None:
    start([DONE], [LOST] * 25 + [text("late")]).follow()
    assert printed == ["late"]


def test_a_cluster_that_forgot_the_job_is_said(start: Start) -> None:
    with pytest.raises(RunError, match="no longer knows it: its head node was restarted; submit the command again"):
        start([RUNNING, (404, b"no")], [text("")]).follow()


def test_a_cluster_that_is_gone_is_given_up(start: Start, clock: Clock, notes: list[str]) -> None:
    with pytest.raises(RunError, match=r"no answer for 10 minutes .*; the job may still run"):
        start([RUNNING, LOST], [text("")]).follow()
    assert 600 < clock.now < 610
    assert len(notes) == 1


def test_the_output_so_far_is_printed_without_waiting(start: Start, printed: list[str], clock: Clock) -> None:
    assert start([RUNNING], [text("a\nb")]).print_once().status == "RUNNING"
    assert printed == ["a\nb"]
    assert clock.waits == []


def test_long_outputs_are_asked_for_less_often(start: Start, clock: Clock) -> None:
    """By their length, not by the time of a request: on a busy machine, the end would be seen late."""
    start([RUNNING, RUNNING, RUNNING, DONE], [text("a\n"), text("a\n" * 250_000), text("a\n" * 2_000_000)]).follow()
    assert clock.waits == [1.0, 5.0, 30.0]


@pytest.mark.parametrize(
    ("states", "what"),
    [
        ([RUNNING, LOST, (200, job("STOPPED"))], "interrupted; its run is kept. The same command, submitted again, continues"),
        ([RUNNING] * 31 + [(200, job("STOPPED"))], r"did not end in 30 s after SIGINT: killed"),
        ([DONE], "ended by itself: SUCCEEDED"),
    ],
)
def test_a_stop_says_what_happened(states: list[Step], what: str, clock: Clock) -> None:
    script = Script(states, [])
    with serving(script) as url:
        assert what in stop(Dashboard(url), read_job(job()), wait=clock.wait, clock=clock)[1]
    assert script.requests[0] == "POST /api/jobs/one/stop"


@pytest.mark.parametrize(("status", "state"), [("PENDING", "has not started yet"), ("RUNNING", "still runs")])
def test_a_stop_does_not_wait_for_ever(status: str, state: str, clock: Clock) -> None:
    with (
        serving(Script([(200, job(status))], [])) as url,
        pytest.raises(RunError, match=f"asked to stop 45 s ago, but it {state}"),
    ):
        stop(Dashboard(url), read_job(job()), wait=clock.wait, clock=clock)
