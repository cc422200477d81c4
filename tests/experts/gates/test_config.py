from typing import Any

import pytest
from gatebed import CHOICE, leaf

from distil.config import Config, validate
from distil.errors import InputError
from distil.experts.gates.config import (
    NEED_ENSEMBLE,
    EnsembleGateConfig,
    GateConfig,
    HumanGateConfig,
    ImportIntervenerConfig,
    KeyboardConfig,
    LazyGateConfig,
    SafeGateConfig,
    ThriftyGateConfig,
)
from distil.experts.gates.human import ImportedIntervener
from distil.experts.gates.keyboard import Keyboard


class Holder(Config):
    gate: GateConfig | None = None


def gate(**keys: Any) -> Any:
    return validate(Holder, {"gate": keys}).gate


KEYS = {"left": 1, "right": 2}


@pytest.mark.parametrize(
    ("keys", "expected"),
    [
        ({"kind": "safe"}, SafeGateConfig(threshold=0.1)),
        ({"kind": "lazy", "threshold": 0.3, "leave": 0}, LazyGateConfig(threshold=0.3, leave=0.0)),
        ({"kind": "ensemble"}, EnsembleGateConfig(doubt=0.05, discrepancy=None)),
        ({"kind": "thrifty", "leave": 0.2}, ThriftyGateConfig(budget=0.1, leave=0.2, failure="auto", discount=0.99)),
        (
            {"kind": "human", "intervener": {"kind": "keyboard", "keys": KEYS}},
            HumanGateConfig(intervener=KeyboardConfig(keys=KEYS)),
        ),
        (
            {"kind": "human", "intervener": {"kind": "import", "target": "a:b", "kwargs": {"c": [1]}}},
            HumanGateConfig(intervener=ImportIntervenerConfig(target="a:b", kwargs={"c": [1]})),
        ),
    ],
)
def test_each_kind_and_its_defaults_read_back(keys: dict[str, Any], expected: Config) -> None:
    made = gate(**keys)
    assert made == expected
    assert gate(**made.model_dump(mode="json")) == made


def test_those_that_ask_how_much_members_disagree() -> None:
    assert isinstance(gate(kind="ensemble"), NEED_ENSEMBLE)
    assert isinstance(gate(kind="thrifty"), NEED_ENSEMBLE)
    assert not isinstance(gate(kind="lazy"), NEED_ENSEMBLE)


@pytest.mark.parametrize(
    ("keys", "words"),
    [
        ({"kind": "lasy"}, r"gate\.kind: no kind 'lasy'; did you mean lazy"),
        ({"threshold": 1.0}, r"gate\.kind is missing"),
        ({"kind": "safe", "treshold": 1.0}, r"unknown key gate\.treshold; did you mean threshold"),
        ({"kind": "safe", "leave": 1.0}, r"unknown key gate\.leave"),
        ({"kind": "safe", "threshold": -0.1}, r"gate\.threshold: should be greater than or equal to 0"),
        ({"kind": "thrifty", "budget": 1}, r"gate\.budget: should be less than 1"),
        ({"kind": "thrifty", "budget": 0}, r"gate\.budget"),
        ({"kind": "thrifty", "discount": 1}, r"gate\.discount"),
        ({"kind": "thrifty", "failure": "crash"}, r"gate\.failure"),
        ({"kind": "human"}, r"gate\.intervener is missing"),
        ({"kind": "human", "intervener": {"kind": "keybord"}}, "did you mean keyboard"),
        ({"kind": "human", "intervener": {"kind": "keyboard", "keys": {}}}, r"intervener\.keys"),
        ({"kind": "human", "intervener": {"kind": "keyboard", "key": KEYS}}, "did you mean keys"),
        ({"kind": "human", "intervener": {"kind": "import", "kwargs": {}}}, r"intervener\.target is missing"),
    ],
)
def test_what_is_wrong_is_named_with_the_nearest(keys: dict[str, Any], words: str) -> None:
    with pytest.raises(InputError, match=words) as error:
        gate(**keys)
    assert "\n" not in str(error.value)


def test_an_intervener_is_data_and_is_checked_early() -> None:
    keyboard = gate(kind="human", intervener={"kind": "keyboard", "keys": KEYS})
    assert keyboard.plan().make == Keyboard(keys=KEYS)
    keyboard.check(leaf(CHOICE))
    own = gate(kind="human", intervener={"kind": "import", "target": "gatebed:Rescuer", "kwargs": {"angle": 0.1}})
    assert own.plan().make == ImportedIntervener(target="gatebed:Rescuer", kwargs={"angle": 0.1})
    own.check(leaf(CHOICE))
    for broken in (
        {"kind": "keyboard", "keys": {"left": 9}},
        {"kind": "import", "target": "gatebed:Rescuers"},
    ):
        with pytest.raises(InputError):
            gate(kind="human", intervener=broken).check(leaf(CHOICE))
