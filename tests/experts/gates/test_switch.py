import numpy as np
import pytest
from gatebed import BOX, CHOICE, FirstNumber, leaf, policy, situation

from distil.errors import InputError
from distil.experts.gates import switch
from distil.experts.gates.switch import Signal, SwitchPlan

PREDICTOR = policy()


@pytest.fixture
def predicts(monkeypatch):
    monkeypatch.setattr(switch, "acting", FirstNumber)


def signal(threshold=0.5):
    return Signal(threshold=threshold, predictor=PREDICTOR)


def actions(*distances):
    """Actions of BOX that are so far from zeros, in half ranges."""
    return np.array([[2 * 2 * d, 0] for d in distances], np.float32)


def step(gate, values, distances, **more):
    """One step; the policy's actions are so far from the expert's. Return who acts, who is labelled, who was asked."""
    now, ask = situation(values, actions(*distances), actions(*[0] * len(distances)), **more)
    choice = gate.choose(now)
    assert len(ask.rows) == 1  # a stateful expert sees each step once
    np.testing.assert_array_equal(choice.labels.actions, ask.actions)
    return choice.expert_acts.tolist(), choice.labels.mask.tolist(), ask.rows[0].tolist()


def test_safe_the_expert_acts_where_and_only_where_the_prediction_is_above_the_threshold(predicts):
    """And is asked nowhere else, however far from it the policy is."""
    plan = SwitchPlan(enter=(signal(),))
    assert (plan.labels_all, plan.needs_expert) == (False, True)
    gate = plan.build(4, leaf(BOX))
    over = [False, False, True, True]
    for _ in range(2):  # it remembers nothing
        assert step(gate, [0, 0.5, 0.5001, 2], [2, 2, 0, 2]) == (over, over, over)
    assert step(gate, [1, 0, 0, 0], [0, 2, 2, 2])[0] == [True, False, False, False]


# prediction, discrepancy -> does the expert act, is it asked
LAZY = [
    (0.5, 2.0, False, False),  # not above the threshold: the policy is not even compared
    (0.6, 0.0, True, True),  # takes over by the prediction alone
    (0.0, 1.0, True, True),  # goes on though the prediction is low
    (0.0, 0.375, True, True),
    (0.9, 0.25, False, True),  # gives back where the policy would do the same, whatever is predicted
    (0.0, 2.0, False, False),
    (0.9, 0.125, True, True),
    (0.9, 0.125, False, True),
    (0.9, 0.125, True, True),
]


def test_lazy_takes_over_above_one_threshold_and_gives_back_below_another(predicts):
    gate = SwitchPlan(enter=(signal(),), leave=0.25).build(2, leaf(BOX))
    for slot in (0, 1):
        gate.begin(slot, slot)
    for value, apart, acts, asked in LAZY:  # the second slot's policy never has a reason to lose it
        assert step(gate, [value, 0], [apart, 0]) == ([acts, False], [asked, False], [asked, False])
    gate.begin(0, 9)  # a new episode: the policy has it
    assert step(gate, [0, 0], [2, 0])[0] == [False, False]


@pytest.mark.parametrize("leave", [0.0, 0.5])
def test_lazy_gives_choices_back_where_they_agree(predicts, leave):
    """Also at 0, which is the mean discrepancy of a policy that does as its demonstrations."""
    gate = SwitchPlan(enter=(signal(),), leave=leave).build(1, leaf(CHOICE))
    acts = []
    for value, mine in [(1, 2), (0, 2), (0, 1), (0, 2)]:
        now, _ = situation([value], [mine], [1])
        acts.append(bool(gate.choose(now).expert_acts[0]))
    assert acts == [True, True, False, False]


@pytest.mark.parametrize(
    ("veto", "acts", "asked"),
    [
        (None, [False, False, True, True], [False, False, True, True]),
        (0.5, [False, True, True, True], [True, True, True, True]),
    ],
)
def test_ensemble_doubt_and_veto(veto, acts, asked):
    """EnsembleDAgger: the policy acts where it is sure, and with a veto only if the expert would do nearly the same."""
    plan = SwitchPlan(enter=(Signal(threshold=0.1),), ask_all=veto is not None, veto=veto)
    assert plan.labels_all == (veto is not None)
    gate = plan.build(4, leaf(BOX))
    assert step(gate, [0] * 4, [0.5, 0.6, 0, 0.6], doubt=[0.1, 0.1, 0.2, 0.2]) == (acts, asked, asked)


def test_any_signal_is_enough_and_the_expert_stays_while_one_says_so(predicts):
    """ThriftyDAgger: novelty or risk; back where the policy agrees and risk is below its median."""
    plan = SwitchPlan(enter=(Signal(threshold=0.5), signal()), stay=(signal(0.25),), leave=0.125)
    gate = plan.build(1, leaf(BOX))
    script = [  # risk, doubt, discrepancy -> does the expert act
        (0.4, 0.4, 1.0, False),
        (0.4, 0.6, 1.0, True),  # novelty
        (0.1, 0.0, 0.5, True),  # the policy would do something else
        (0.3, 0.0, 0.0, True),  # too risky still
        (0.25, 0.9, 0.125, False),
        (0.6, 0.0, 0.0, True),  # risk
        (0.6, 0.0, 0.0, True),
        (0.0, 0.0, 0.0, False),
    ]
    for risk, doubt, apart, acts in script:
        assert step(gate, [risk], [apart], doubt=[doubt])[0] == [acts]


@pytest.mark.parametrize("plan", [{"leave": 0.1}, {"veto": 0.1, "ask_all": True}, {}], ids=str)
def test_where_the_expert_has_no_answer_the_policy_acts(predicts, plan):
    gate = SwitchPlan(enter=(signal(),), **plan).build(2, leaf(BOX))
    acts, labelled, asked = step(gate, [1, 1], [2, 2], mask=[True, False])
    assert (acts, labelled, asked) == ([True, False], [True, False], [True, True])


def test_what_it_returns_is_the_callers(predicts):
    gate = SwitchPlan(enter=(signal(),), leave=0.1).build(1, leaf(BOX))
    now, _ = situation([1], actions(1), actions(0))
    acted = gate.choose(now).expert_acts
    gate.begin(0, 1)
    assert acted.tolist() == [True]


def test_a_policy_without_members_has_no_doubt():
    gate = SwitchPlan(enter=(Signal(threshold=0.1),)).build(1, leaf(BOX))
    with pytest.raises(InputError, match=r"set policy\.ensemble=5"):
        step(gate, [0], [0])


def test_what_it_does_in_an_episode_depends_on_the_episode():
    """CORRECTNESS 5: with a real network, in any slot among any number, whatever was there before."""
    rng = np.random.default_rng(0)
    seen, distances = rng.normal(size=(60, 3)).astype(np.float32), rng.random(60)
    plan = SwitchPlan(enter=(signal(0.3),), leave=0.2)  # the action's first number is what is predicted
    runs = []
    for slot, num in ((0, 1), (3, 5), (10, 11)):
        gate, acts = plan.build(num, leaf(BOX)), []
        others = np.random.default_rng(num)
        now, _ = situation([9] * num, actions(*[1] * num), actions(*[0] * num))
        gate.choose(now)
        gate.begin(slot, 5)
        for obs, apart in zip(seen, distances, strict=True):
            now, _ = situation([0] * num, actions(*[apart] * num), actions(*[0] * num))
            now.observations["obs"][:] = others.normal(size=(num, 3))
            now.observations["obs"][slot] = obs
            acts.append(bool(gate.choose(now).expert_acts[slot]))
        runs.append(acts)
    assert runs[0] == runs[1] == runs[2]
    assert 5 < sum(runs[0]) < 55
