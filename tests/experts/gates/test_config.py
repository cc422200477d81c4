import pickle
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from gatebed import BOX, CHOICE, episode, leaf, outcomes, plan_of, policy, situation, snapshot, windows_of

from distil.config import Config, validate
from distil.errors import InputError
from distil.experts.gates.base import BaseGateConfig
from distil.experts.gates.config import (
    EnsembleGateConfig,
    GateConfig,
    HumanGateConfig,
    ImportIntervenerConfig,
    KeyboardConfig,
    LazyGateConfig,
    SafeGateConfig,
    ThriftyGateConfig,
)
from distil.experts.gates.evidence import predicted
from distil.experts.gates.human import HumanPlan


class Holder(Config):
    gate: GateConfig | None = None


def gate(**keys: Any) -> Any:
    return validate(Holder, {"gate": keys}).gate


KEYS = {"left": 1, "right": 2}
CONFIGS = (SafeGateConfig, LazyGateConfig, EnsembleGateConfig, ThriftyGateConfig, HumanGateConfig)


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


def test_what_gates_need_of_a_run() -> None:
    needs = {config.model_fields["kind"].default: (config.needs_ensemble, config.needs_expert) for config in CONFIGS}
    assert needs == {
        "safe": (False, True),
        "lazy": (False, True),
        "ensemble": (True, True),
        "thrifty": (True, True),
        "human": (False, False),
    }


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


def test_interveners_are_checked_early() -> None:
    keyboard = gate(kind="human", intervener={"kind": "keyboard", "keys": KEYS})
    assert keyboard.needs_window
    keyboard.check(leaf(CHOICE))
    own = gate(kind="human", intervener={"kind": "import", "target": "gatebed:Rescuer", "kwargs": {"angle": 0.1}})
    assert not own.needs_window
    own.check(leaf(CHOICE))
    with pytest.raises(InputError, match="no module named 'nowhere'"):
        gate(kind="human", intervener={"kind": "import", "target": "nowhere:Rescuer"}).check(leaf(CHOICE))


def test_a_human_gate_is_fitted_to_nothing(tmp_path: Path, fitted: list[Any]) -> None:
    data = snapshot(tmp_path / "s", episode(0, 3))
    human = HumanGateConfig(intervener=ImportIntervenerConfig(target="gatebed:Rescuer"))
    assert plan_of(human, policy(), data, 0) == HumanPlan(intervener=human.intervener)
    assert not fitted


@pytest.mark.usefixtures("few")
@pytest.mark.parametrize("config", [SafeGateConfig(), ThriftyGateConfig()], ids=["safe", "thrifty"])
def test_a_gate_is_a_pure_function_of_policy_data_and_seed(tmp_path: Path, config: BaseGateConfig) -> None:
    """CORRECTNESS 14: a resumed run gets the same."""
    data, ref = outcomes(tmp_path / "s", ["terminated", "truncated"] * 2), policy(ensemble=2)
    one, two, other = (plan_of(config, ref, data, seed) for seed in (1, 1, 2))
    assert [s.threshold for s in one.enter] == [s.threshold for s in two.enter]
    fits = [plan.enter[-1].predictor.arrays for plan in (one, two, other)]
    for name, values in fits[0].items():
        assert np.array_equal(values, fits[1][name])
    assert any(not np.array_equal(values, fits[2][name]) for name, values in fits[0].items())


@pytest.mark.usefixtures("few")
def test_gates_are_plain_data(tmp_path: Path) -> None:
    """As workers get them: they pickle, and do the same there."""
    data, ref = snapshot(tmp_path / "s", *(episode(number, 30) for number in range(3))), policy(ensemble=2)
    human = HumanGateConfig(intervener=ImportIntervenerConfig(target="gatebed:Rescuer"))
    for config in (LazyGateConfig(), ThriftyGateConfig(), human, EnsembleGateConfig()):
        plan = plan_of(config, ref, data, 1)
        assert pickle.loads(pickle.dumps(plan)).build(2, leaf(BOX))
    seen, acts = windows_of(data)["obs"][:, 0], []
    middle = np.median(predicted(plan_of(LazyGateConfig(), ref, data, 1).enter[0].predictor, {"obs": seen}))
    lazy = plan_of(LazyGateConfig(threshold=float(middle)), ref, data, 1)
    there = pickle.loads(pickle.dumps(lazy))
    for gate in (lazy.build(90, leaf(BOX)), there.build(90, leaf(BOX))):
        now, _ = situation([0] * 90, np.ones((90, 2)), np.zeros((90, 2)))
        now.observations["obs"][:] = seen
        acts.append(gate.choose(now).expert_acts.tolist())
    assert acts[0] == acts[1]
    assert 0 < sum(acts[0]) < 90
