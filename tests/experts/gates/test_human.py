import gymnasium as gym
import numpy as np
import pytest
from gatebed import BOX, CHOICE, leaf, situation

from distil.errors import InputError, RunError
from distil.experts.gates.human import HumanGate, HumanPlan, ImportIntervenerConfig
from distil.types import Labels


class Told:
    """Answers what it is told."""

    def __init__(self, num_envs=2, actions=None, mask=None):
        self.actions, self.mask, self.begun, self.seen = actions, mask, [], []

    def begin(self, slot, seed):
        self.begun.append((slot, seed))

    def intervene(self, observations, actions):
        self.seen.append((observations, actions))
        return Labels(actions=self.actions, mask=self.mask)


def chosen(space, intervener, policy_actions):
    gate = HumanGate(intervener, leaf(space))
    gate.begin(1, 7)
    now, ask = situation([0] * len(policy_actions), policy_actions, policy_actions)
    choice = gate.choose(now)
    assert not ask.rows  # nobody asks the run's expert
    return choice


def test_the_intervener_acts_where_it_says_so_and_labels_just_there():
    """CORRECTNESS 12: what is stored is what they did."""
    plan = HumanPlan(intervener=ImportIntervenerConfig(target="gatebed:Rescuer"))
    assert (plan.labels_all, plan.needs_expert) == (False, False)
    human = Told(actions=np.array([2, 3]), mask=np.array([True, False]))
    choice = chosen(CHOICE, human, np.array([1, 1]))
    assert choice.expert_acts.tolist() == choice.labels.mask.tolist() == [True, False]
    assert choice.labels.actions[0] == 2
    assert human.begun == [(1, 7)]
    assert human.seen[0][1].tolist() == [1, 1]  # what the policy is about to do


def test_out_of_bounds_is_clipped_and_cast():
    """CORRECTNESS 9."""
    human = Told(actions=np.array([[-7.0, 3.0], [1.0, 99.0]]), mask=np.array([True, True]))
    labels = chosen(BOX, human, np.zeros((2, 2), np.float32)).labels
    assert labels.actions.tolist() == [[-2, 3], [1, 10]]
    assert labels.actions.dtype == np.float32


YES = np.ones(2, np.bool_)


@pytest.mark.parametrize(
    ("space", "actions", "mask", "words"),
    [
        (BOX, np.zeros((2, 3)), YES, r"actions of shape \(2, 3\), expected \(2, 2\)"),
        (BOX, np.zeros(2), YES, r"actions of shape \(2,\)"),
        (BOX, np.zeros((2, 2)), YES[:1], r"a mask of shape \(1,\) bool, expected \(2,\) bool"),
        (BOX, np.zeros((2, 2)), np.ones(2), r"a mask of shape \(2,\) float64"),
        (BOX, np.full((2, 2), np.nan), YES, "nan.* in row 0, expected finite numbers"),
        (CHOICE, np.array([1, 4]), YES, "4 in row 1, expected 1 to 3"),
        (CHOICE, np.array([1.0, 2.5]), YES, "2.5 in row 1, expected integers"),
    ],
)
def test_an_answer_that_is_no_action_ends_the_run(space, actions, mask, words):
    with pytest.raises(RunError, match=f"intervener: returned .*{words}") as error:
        chosen(space, Told(actions=actions, mask=mask), np.zeros((2, *space.shape), space.dtype) + (space is CHOICE))
    assert "\n" not in str(error.value)


def test_where_it_does_not_act_its_answer_means_nothing():
    human = Told(actions=np.array([9, 3]), mask=np.array([False, True]))
    assert chosen(CHOICE, human, np.array([1, 1])).expert_acts.tolist() == [False, True]


def test_an_answer_may_hold_lists_but_not_be_missing():
    choice = chosen(CHOICE, Told(actions=[1, 3], mask=[False, True]), np.array([1, 1]))
    assert choice.labels.actions[1] == 3
    human = Told()
    human.intervene = lambda observations, actions: None
    with pytest.raises(RunError, match=r"the intervener returned NoneType, expected distil\.types\.Labels"):
        chosen(CHOICE, human, np.array([1, 1]))


def test_an_imported_intervener_is_made_with_its_kwargs():
    made = ImportIntervenerConfig(target="gatebed:Rescuer", kwargs={"angle": 0.5}).build(3, leaf(gym.spaces.Discrete(2)))
    assert (made.angle, len(made.steps)) == (0.5, 3)


@pytest.mark.parametrize(
    ("target", "kwargs", "words"),
    [
        ("gatebed:Rescuers", {}, "'gatebed:Rescuers': gatebed has no 'Rescuers'; did you mean Rescuer"),
        ("gatebed:Rescuer", {"anglee": 1}, "gatebed:Rescuer: .*'anglee'; it is called with num_envs and its kwargs"),
        (
            "gatebed:FirstNumber",
            {"ref": 0},
            r"lacks the method intervene\(observations, actions\); add it",
        ),
        ("gatebed:VECTOR", {}, "gatebed:VECTOR: .*not callable"),
    ],
)
def test_what_cannot_intervene_is_bad_input(target, kwargs, words):
    config = ImportIntervenerConfig(target=target, kwargs=kwargs)
    with pytest.raises(InputError, match=words):
        config.build(2, leaf(CHOICE))


@pytest.mark.parametrize(
    ("target", "kwargs", "words"),
    [
        ("nowhere:Rescuer", {}, "no module named 'nowhere'"),
        ("gatebed:FirstNumber", {}, r"^intervener gatebed:FirstNumber: lacks the method intervene\(.*\); add it$"),
        (
            "gatebed:Rescuer",
            {"anglee": 1},
            "^intervener gatebed:Rescuer: .*'anglee'; it is called with num_envs and its kwargs$",
        ),
    ],
)
def test_what_cannot_intervene_is_known_before_there_are_environments(target, kwargs, words):
    """Without making one: it may open a device."""
    ImportIntervenerConfig(target="gatebed:Rescuer", kwargs={"angle": 0.5}).check(leaf(CHOICE))
    with pytest.raises(InputError, match=words):
        ImportIntervenerConfig(target=target, kwargs=kwargs).check(leaf(CHOICE))


def test_an_intervener_that_works_in_place_changes_nothing_of_the_policy():
    class InPlace(Told):
        def intervene(self, observations, actions):
            actions[:] = 2
            for values in observations.values():
                values[:] = 9
            return Labels(actions=actions, mask=np.array([True, False]))

    policy_actions = np.array([1, 1])
    assert chosen(CHOICE, InPlace(), policy_actions).labels.actions[0] == 2
    assert policy_actions.tolist() == [1, 1]
