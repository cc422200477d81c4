import threading
from concurrent.futures import ThreadPoolExecutor

import gymnasium as gym
import numpy as np
import pytest

from distil.errors import RunError
from distil.rollouts.service.config import ServiceConfig
from distil.rollouts.service.desk import Desk
from distil.rollouts.service.ledger import Ledger
from distil.spaces import action_spec
from distil.types import Labels

BOX = action_spec(gym.spaces.Box(-np.inf, np.inf, (1,), np.float32)).leaf
LONG_S = 30.0


class Doubler:
    """Answers twice what it sees; notes its batches; can be held, and fails on request."""

    def __init__(self, fail=lambda number: None):
        self.batches, self._fail, self._lock = [], fail, threading.Lock()
        self.gate, self.entered = threading.Event(), threading.Semaphore(0)
        self.gate.set()

    def __call__(self, observations):
        with self._lock:
            number = len(self.batches)
            self.batches.append(observations["obs"][:, 0].tolist())
        self.entered.release()
        assert self.gate.wait(LONG_S)
        if (error := self._fail(number)) is not None:
            raise error
        rows = observations["obs"]
        return Labels(actions=2 * rows, mask=rows[:, 0] >= 0)


@pytest.fixture
def desks():
    made = []

    def make(call, ledger=None, lanes=1, **config):
        made.append(Desk([call] * lanes, BOX, ServiceConfig(**{"max_wait_s": 0.0, "backoff_s": 0.0, **config}), ledger))
        return made[-1]

    yield make
    for desk in made:
        desk.close()


def rows(*numbers):
    return {"obs": np.array(numbers, np.float32)[:, None]}


def test_answers_go_to_the_client_that_asked(desks):
    """CORRECTNESS 12: many askers at once, batches of any cut."""
    expert = Doubler()
    desk = desks(expert, lanes=3, max_batch=7)
    questions = [np.random.default_rng(i).integers(0, 500, 1 + i % 30) for i in range(60)]
    with ThreadPoolExecutor(8) as pool:
        answers = list(pool.map(lambda q: desk.ask(rows(*q)), questions))
    for question, answer in zip(questions, answers, strict=True):
        np.testing.assert_array_equal(answer.actions[:, 0], 2 * question)
        assert answer.mask.all()
    asked = [row for batch in expert.batches for row in batch]
    assert len(asked) == len(set(asked)) == desk.account.labels  # CORRECTNESS 16: none is paid for twice
    assert desk.account.labels + desk.account.repeated == sum(map(len, questions))
    assert max(map(len, expert.batches)) <= 7
    assert desk.account.calls == len(expert.batches)


def test_questions_of_several_clients_share_a_batch(desks):
    expert = Doubler()
    expert.gate.clear()
    desk = desks(expert, max_batch=100)
    first = desk.submit(rows(1))
    assert expert.entered.acquire(timeout=LONG_S)  # the expert is busy: the others wait together
    tickets = [desk.submit(rows(2, 3)), desk.submit(rows(4)), desk.submit(rows(3, 5))]
    expert.gate.set()
    for ticket in (first, *tickets):
        for future in ticket.futures:
            future.result(LONG_S)
    assert expert.batches == [[1], [2, 3, 4, 5]]
    assert tickets[2].result().actions[:, 0].tolist() == [6, 10]


def test_calls_ahead_are_full_batches(desks):
    expert = Doubler()
    expert.gate.clear()
    desk = Desk([expert, expert], BOX, ServiceConfig(max_batch=3, max_wait_s=0.0), slots=1)
    tickets = [desk.submit(rows(1))]
    assert expert.entered.acquire(timeout=LONG_S)
    tickets.append(desk.submit(rows(2, 3)))  # waits for others: the expert is busy
    tickets.append(desk.submit(rows(4, 5)))
    assert expert.entered.acquire(timeout=LONG_S)
    expert.gate.set()
    for ticket in tickets:
        for future in ticket.futures:
            future.result(LONG_S)
    desk.close()
    assert expert.batches == [[1], [2, 3, 4], [5]]


def test_a_full_batch_does_not_wait_for_others_and_one_that_is_not_does(desks):
    expert = Doubler()
    desk = desks(expert, max_batch=4, max_wait_s=LONG_S)
    ticket = desk.submit(rows(1, 2, 3))
    assert not ticket.futures[0].done()
    assert desk.ask(rows(4)).mask.all()
    assert expert.batches == [[1, 2, 3, 4]]
    assert ticket.result().mask.all()


def test_an_answer_that_the_expert_declines_is_final(desks):
    expert = Doubler()
    desk = desks(expert)
    for _ in range(2):
        assert desk.ask(rows(-1, 1)).mask.tolist() == [False, True]
    assert expert.batches == [[-1, 1]]


def test_a_call_that_fails_is_repeated_and_one_that_keeps_failing_is_given_up(desks):
    down = {0, 1, 3, 4, 5, 6}
    expert = Doubler(lambda number: ConnectionError("no\nanswer") if number in down else None)
    desk = desks(expert, retries=2)
    assert desk.ask(rows(1)).mask.all()  # at the third try
    assert not desk.ask(rows(2)).mask.any()  # calls 3 to 5
    assert desk.account.given_up == 1
    assert not desk.ask(rows(3)).mask.any()  # it is down: one try
    assert len(expert.batches) == 7
    assert desk.ask(rows(2, 3)).mask.all()  # what was given up can be asked again
    assert desk.account.failures == 6
    assert desk.account.labels == 3
    assert desk.account.error == "ConnectionError: no answer"


def test_answers_that_can_be_no_actions_end_the_question_with_the_experts_fault(desks):
    expert = Doubler(lambda number: RunError("expert x: returned actions of shape (1, 3)"))
    desk = desks(expert, retries=5)
    with pytest.raises(RunError, match="shape"):
        desk.ask(rows(1))
    assert len(expert.batches) == 1


def test_what_a_dead_desk_had_answered_is_not_asked_again(desks, tmp_path):
    """CORRECTNESS 16."""
    expert = Doubler()
    assert desks(expert, Ledger(tmp_path, BOX)).ask(rows(1, 2, 3)).mask.all()
    again = desks(expert, Ledger(tmp_path, BOX))  # the first one was never closed
    np.testing.assert_array_equal(again.ask(rows(3, 4, 1)).actions[:, 0], [6, 8, 2])
    assert expert.batches == [[1, 2, 3], [4]]


def test_the_rate_is_kept(desks, monkeypatch):
    expert, pauses = Doubler(), []
    desk = desks(expert, calls_per_s=5.0)
    monkeypatch.setattr(desk, "_pause", pauses.append)
    for number in range(4):
        desk.ask(rows(number))
    assert pauses[0] == 0
    assert all(0.2 * n - 0.19 < pause <= 0.2 * n for n, pause in enumerate(pauses[1:], 1))  # each a fifth of a second later


def test_pauses_double(desks, monkeypatch):
    expert, pauses = Doubler(lambda number: OSError() if number < 6 else None), []
    desk = desks(expert, backoff_s=0.5, retries=6)
    monkeypatch.setattr(desk, "_pause", pauses.append)
    assert desk.ask(rows(1)).mask.all()
    assert pauses == [0.5, 1.0, 2.0, 4.0, 8.0, 10.0]


def test_closing_answers_waiting_questions(desks):
    desk = desks(Doubler(), max_batch=10, max_wait_s=LONG_S)
    ticket = desk.submit(rows(1))
    desk.close()
    ticket.futures[0].result(LONG_S)
    assert not ticket.result().mask.any()
