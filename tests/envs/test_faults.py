import pytest
from testbed import Toy

from distil.envs import ImportEnvConfig, describe
from distil.envs.faults import close_quietly, told


@pytest.mark.parametrize("error", [RuntimeError("the socket is gone"), SystemExit(3)])
def test_exceptions_while_closing_are_ignored(error, monkeypatch):
    def close(self):
        raise error

    monkeypatch.setattr(Toy, "close", close)
    close_quietly(Toy())
    assert describe(ImportEnvConfig(target="testbed:Toy")).name == "testbed:Toy"


def test_an_interrupt_is_not_swallowed(monkeypatch):
    def close(self):
        raise KeyboardInterrupt

    monkeypatch.setattr(Toy, "close", close)
    with pytest.raises(KeyboardInterrupt):
        close_quietly(Toy())


def test_an_error_without_a_message_gives_its_line_of_code():
    with pytest.raises(AssertionError) as caught:
        raise AssertionError
    assert told(caught.value) == "at `raise AssertionError`"
    assert told(ValueError("a\nb")) == "a b"
    assert told(ValueError()) == "no reason given"
