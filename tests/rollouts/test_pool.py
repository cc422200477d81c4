"""With real Ray actors, which are killed; what a report costs is counted without them."""

import os
import signal
import sys
import threading
from functools import partial

import pytest
from poolbed import Answer, Counter, LocalTransport

from distil.cluster import Request
from distil.errors import InputError, RunError
from distil.rollouts import pool as pool_module
from distil.rollouts.pool import ActorPool, Work
from distil.rollouts.transport import RayTransport

pytestmark = pytest.mark.ray
ROOM = Request(what="counters", num=1, each={"CPU": 1}, fix="count with 0 workers")


class Counting(Work):
    """Tasks are numbers; results are saved at the end, or as each is reported."""

    def __init__(self, at_once=False):
        self.at_once, self.reported, self.saved = at_once, [], set()

    def submit(self, member, task):
        return member.actor.run.remote(task)

    def take(self, member, task, report):
        self.reported.append(report.value)
        return self.at_once

    def save(self, member):
        return None if self.at_once else member.actor.save.remote()

    def take_saved(self, member, answer):
        self.saved.update(answer.value)

    def lost(self, task):
        return f"while counting {task}"


@pytest.fixture
def pools(ray_session):
    made = []

    def make(num=2, room=ROOM, setup=None, start_timeout_s=60.0):
        transport = RayTransport(Counter, setup, room=room, what="the counter", num_cpus=num)
        pool = ActorPool(transport, num=num, advice="count less", start_timeout_s=start_timeout_s)
        made.append(pool)
        return pool

    yield make
    for pool in made:
        pool.close()


def test_all_tasks_are_done_once_and_saved(pools):
    pool, work = pools(), Counting()
    pool.run(work, range(20))
    assert sorted(work.reported) == sorted(work.saved) == list(range(20))
    assert [member.held for member in pool.members] == [[], []]


def test_what_a_dead_actor_had_not_saved_is_done_again(pools, tmp_path):
    """CORRECTNESS 4: also tasks that it had reported."""
    pool, work = pools(num=1), Counting()
    pool.run(work, [1, 2, ("once", str(tmp_path / "died"), 3)])
    assert work.saved == {1, 2, 3}
    assert work.reported == [1, 2, 1, 2, 3]


def test_what_is_saved_with_its_report_is_not_done_again(pools, tmp_path):
    pool, work = pools(num=1), Counting(at_once=True)
    pool.run(work, [1, 2, ("once", str(tmp_path / "died"), 3)])
    assert work.reported == [1, 2, 3]


def test_a_task_that_keeps_killing_actors_ends_the_work(pools):
    """CORRECTNESS 4."""
    with pytest.raises(RunError, match=r"workers died 4 times while counting die; the last one while running: .*; count less"):
        pools(num=1).run(Counting(), ["die"])


def test_an_actor_that_cannot_start_ends_the_work(pools, ray_session, monkeypatch):
    pool = pools(num=1)
    pool._transport._class = pool._transport._class.options(runtime_env={"env_vars": {"COUNTER_DIES": "1"}})
    pool.close()
    with pytest.raises(RunError, match="counters can't start: "):
        pool.run(Counting(), [1])


@pytest.mark.parametrize(("task", "kind", "text"), [("raise", InputError, "no such number"), ("report", RunError, "fingers")])
def test_an_error_of_an_actor_is_raised_after_what_is_complete_is_saved(pools, task, kind, text):
    pool, work = pools(num=1), Counting()
    with pytest.raises(kind, match=text):
        pool.run(work, [1, 2, task])
    assert work.saved == {1, 2}
    again = Counting()
    pool.run(again, [5])  # the pool can be used again
    assert 5 in again.saved


def test_check_ends_the_work_and_what_is_complete_is_saved(pools):
    pool, work = pools(num=1), Counting()

    def check():
        if len(work.reported) >= 2:
            raise StopIteration

    with pytest.raises(StopIteration):
        pool.run(work, range(10_000), check)
    assert {0, 1} <= work.saved


def test_ctrl_c_cancels_what_is_under_way(pools, tmp_path, monkeypatch):
    monkeypatch.setattr("distil.rollouts.pool._STOP_S", 60.0)  # on a busy machine, actors take longer to save
    gate, pool, work = tmp_path / "gate", pools(num=1), Counting()
    os.mkfifo(gate)

    def press():
        gate.read_text()
        os.kill(os.getpid(), signal.SIGINT)

    thread = threading.Thread(target=press, daemon=True)
    thread.start()
    with pytest.raises(KeyboardInterrupt):
        pool.run(work, [1, str(gate)])
    thread.join()
    assert work.saved == {1}


def test_ctrl_c_just_after_a_task_was_submitted_cancels_it(pools, tmp_path, monkeypatch):
    """Its reference was lost: the actor could not be told to stop, and was killed with all that it had done."""
    monkeypatch.setattr("distil.rollouts.pool._STOP_S", 60.0)
    gate, pool = tmp_path / "gate", pools(num=1)
    os.mkfifo(gate)

    class Pressed(Counting):
        def submit(self, member, task):
            reference = super().submit(member, task)
            if task == str(gate):
                gate.read_text()  # the actor has begun
                os.kill(os.getpid(), signal.SIGINT)
            return reference

    work = Pressed()
    with pytest.raises(KeyboardInterrupt):
        pool.run(work, [1, str(gate)])
    assert work.saved == {1}


def test_too_small_a_cluster_is_named(pools, monkeypatch):
    room = Request(what="counters", num=1, each={"CPU": 99}, fix="count with 0 workers")
    with pytest.raises(InputError, match=r"counters: at least 1 needed with 99 CPU each; .*: count with 0 workers"):
        pools(room=room)
    monkeypatch.setattr("distil.cluster.grows", lambda ray: True)
    wanted = r"counters: not started in 0 s; at least 1 needed with 99 CPU each; .*: wait for it, or count with 0 workers"
    with pytest.raises(RunError, match=wanted):
        pools(room=room, start_timeout_s=0.1).run(Counting(), [1])


def test_a_setup_that_cannot_be_sent_is_named_in_one_line(pools):
    with pytest.raises(InputError) as caught:
        pools(setup=threading.Lock())
    text = str(caught.value)
    assert text.startswith("the counter can't be sent to workers: ")
    assert text.endswith("; count with 0 workers")
    assert "\n" not in text


def instructions(work):
    """Return how many of the interpreter's instructions in `distil.rollouts.pool` a call takes: loops count each time."""
    num = 0

    def trace(frame, event, arg):
        nonlocal num
        if frame.f_code.co_filename != pool_module.__file__:
            return None
        frame.f_trace_opcodes, frame.f_trace_lines = True, False
        num += event == "opcode"
        return trace

    before = sys.gettrace()
    sys.settrace(trace)
    try:
        work()
    finally:
        sys.settrace(before)
    return num


def cost_of_a_task(num_members, run):
    """Return how many instructions of the pool one task more takes."""
    pool = ActorPool(LocalTransport(run), num=num_members, advice="", start_timeout_s=60.0)
    pool.run(Counting(at_once=True), range(num_members))  # starts them
    fewer, more = (instructions(partial(pool.run, Counting(at_once=True), range(num))) for num in (1100, 1200))
    return (more - fewer) / 100


def test_a_report_costs_the_same_with_a_thousand_members():
    """Handing out a task and taking its report: no loop over the members, the idle ones or the calls under way."""
    assert cost_of_a_task(1000, Answer) == pytest.approx(cost_of_a_task(10, Answer), rel=0.02)


def test_a_death_costs_the_same_with_a_thousand_members():
    dead = set()

    def run(task):
        if task % 2 and task not in dead:
            dead.add(task)
            raise ConnectionError
        dead.discard(task)
        return Answer(task)

    assert cost_of_a_task(1000, run) == pytest.approx(cost_of_a_task(10, run), rel=0.02)


def test_an_actor_that_died_with_its_node_is_not_replaced_where_there_is_no_room():
    """What else needs the cores that are left, such as the workers' experts, could not start otherwise."""
    died = []

    def run(task):
        if task == 0 and not died:
            died.append(task)
            raise ConnectionError
        return Answer(task)

    pool = ActorPool(LocalTransport(run), num=2, advice="", start_timeout_s=60.0, room=lambda: 1)
    work = Counting(at_once=True)
    pool.run(work, range(6))
    assert (len(pool.members), sorted(work.reported)) == (1, list(range(6)))


def test_a_late_report_of_an_abandoned_call_is_not_taken_for_the_next_one(monkeypatch):
    monkeypatch.setattr(pool_module, "_POLL_S", 0.001)
    transport = LocalTransport(run=None)
    pool, stopped = ActorPool(transport, num=1, advice="", start_timeout_s=60.0), Counting()

    def check():
        if transport.calls:
            raise StopIteration

    with pytest.raises(StopIteration):
        pool.run(stopped, ["abandoned"], check)
    (late,) = transport.calls
    late.future.set_result(Answer("late"))

    class Answered(Counting):
        def submit(self, member, task):
            reference = super().submit(member, task)
            reference.future.set_result(Answer("own"))
            return reference

    work = Answered()
    pool.run(work, ["next"])
    assert (stopped.reported, work.reported) == ([], ["own"])
    assert transport.num_started == 1
