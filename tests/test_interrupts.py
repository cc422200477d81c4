"""Real signals, sent to this process."""

import os
import signal
import threading

import pytest

from distil.interrupts import TAKEN_OVER, delayed_interrupts


@pytest.fixture
def terminable():
    before = {number: signal.signal(number, signal.default_int_handler) for number in (signal.SIGTERM, TAKEN_OVER)}
    yield
    for number, handler in before.items():
        signal.signal(number, handler)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, TAKEN_OVER])
def test_a_signal_acts_after_the_block(number, terminable):
    done = []

    def block():
        with delayed_interrupts():
            os.kill(os.getpid(), number)
            done.append("all of the block")

    with pytest.raises(KeyboardInterrupt):
        block()
    assert done == ["all of the block"]
    assert signal.getsignal(number) is signal.default_int_handler


def test_handlers_are_restored_when_the_block_fails():
    with pytest.raises(KeyError), delayed_interrupts():
        {}["missing"]
    with pytest.raises(KeyboardInterrupt):
        os.kill(os.getpid(), signal.SIGINT)


def test_an_ignored_signal_stays_ignored():
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        with delayed_interrupts():
            os.kill(os.getpid(), signal.SIGINT)
        assert signal.getsignal(signal.SIGINT) is signal.SIG_IGN
    finally:
        signal.signal(signal.SIGINT, before)


def test_another_thread_leaves_the_handlers_alone():
    seen = []

    def block():
        with delayed_interrupts():
            seen.append(signal.getsignal(signal.SIGINT))

    thread = threading.Thread(target=block)
    before = signal.getsignal(signal.SIGINT)
    thread.start()
    thread.join()
    assert seen == [before]
