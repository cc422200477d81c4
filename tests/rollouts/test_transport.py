"""With a real Ray actor."""

import threading

import pytest
from poolbed import Counter

from distil.cluster import Request
from distil.errors import InputError
from distil.rollouts.transport import RayTransport

pytestmark = pytest.mark.ray


def test_answers_come_by_themselves_and_say_whether_the_actor_lives(ray_session):
    room = Request(what="counters", num=1, each={"CPU": 1}, fix="count with 0 workers")
    transport = RayTransport(Counter, None, room=room, what="the counter")
    actor, came = transport.start(), threading.Event()
    answer = transport.answer(actor.run.remote(5))
    answer.add_done_callback(lambda done: came.set())
    assert came.wait(60)
    assert answer.result().value == 5
    raised = transport.answer(actor.run.remote("raise")).exception(60)
    assert isinstance(raised, InputError)
    assert transport.why_gone(raised) is None
    died = transport.answer(actor.run.remote("die")).exception(60)
    assert transport.why_gone(died)
    assert "\n" not in transport.why_gone(died)
    transport.kill(actor)  # dead already
