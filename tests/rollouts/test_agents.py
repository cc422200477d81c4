import gymnasium as gym
import numpy as np
import pytest
from gatebed import policy as ref
from testbed import CountingExpert

from distil.envs import EnvSpec
from distil.errors import InputError, RunError
from distil.experts.gates.base import Choice
from distil.experts.gates.coin import CoinPlan
from distil.experts.gates.human import HumanPlan, ImportIntervenerConfig
from distil.rollouts import AgentSpec, NoiseConfig
from distil.rollouts.agents import ExpertAgent, GatedAgent, RandomAgent
from distil.spaces import action_spec, observation_spec

BOX = action_spec(gym.spaces.Box(np.array([-1, 0], np.float32), np.array([1, 10], np.float32))).leaf
CHOICE = action_spec(gym.spaces.Discrete(3, start=1)).leaf


def spec(action):
    observation = observation_spec(gym.spaces.Box(-np.inf, np.inf, (3,)))
    return EnvSpec(name="e", observation=observation, action=action, max_episode_steps=None, reward_threshold=None)


def observations(num):
    return {"obs": np.zeros((num, 3))}


def test_the_expert_labels_what_it_does():
    acted = ExpertAgent(CountingExpert()).act({"obs": np.array([[0, 4, 0], [0, 5, 0]])}, None)
    assert acted.actions.tolist() == acted.expert_actions.tolist() == [2, 3]
    assert acted.acted_by_expert.all()
    assert acted.labelled.all()


def test_an_expert_that_raises_is_named():
    expert = CountingExpert(fault="raise")
    for agent in (ExpertAgent(expert), mixed(expert, 1.0, 2)):
        with pytest.raises(RunError, match="expert counting: raised KeyError: 'lost'; fix the expert"):
            agent.act(observations(2), None)


def test_labels_stay_clean_under_noise():
    """CORRECTNESS 12: the label is the expert's action, no matter who acted."""
    agent = AgentSpec(who="expert", noise=NoiseConfig(kind="epsilon", level=0.5)).build(
        spec(action_spec(gym.spaces.Discrete(3, start=1))), 64, CountingExpert(), None
    )
    for slot in range(64):
        agent.begin(slot, slot)
    acted = [agent.act(observations(64), None) for _ in range(50)]
    replaced = np.stack([~a.acted_by_expert for a in acted])
    assert all((a.expert_actions == 1).all() for a in acted)
    assert all((a.actions[a.acted_by_expert] == 1).all() for a in acted)
    assert abs(replaced.mean() - 0.5) < 4 * 0.5 / np.sqrt(replaced.size)
    others = np.stack([a.actions for a in acted])[replaced]
    assert np.abs(np.bincount(others, minlength=4)[1:] / len(others) - 1 / 3).max() < 0.06


def test_random_actions_need_no_expert():
    agent = RandomAgent(CHOICE)
    agent.begin(0, 1)
    acted = agent.act(observations(2), None)
    assert acted.expert_actions is None
    assert not acted.acted_by_expert.any()
    with pytest.raises(InputError, match=r"set expert\.kind"):
        AgentSpec(who="expert").build(spec(action_spec(gym.spaces.Discrete(2))), 2, None, None)


class Constant:
    """A policy that always does the same."""

    def __init__(self, action):
        self.action = action

    def begin(self, slot, seed):
        pass

    def act(self, observations):
        return np.full(len(observations["obs"]), self.action)


def mixed(expert, beta, num):
    agent = GatedAgent(Constant(3), expert, CoinPlan(beta=beta).build(num, CHOICE))
    for slot in range(num):
        agent.begin(slot, slot)
    return agent


@pytest.mark.parametrize("beta", [0.0, 0.3, 1.0])
def test_in_a_mixture_the_expert_labels_all_and_acts_in_its_share_of_steps(beta):
    """CORRECTNESS 12 and 13: labels are the expert's, no matter who acted; beta a step, within its binomial bound."""
    num, steps = 64, 60
    agent = mixed(CountingExpert(), beta, num)
    acted = [agent.act({"obs": np.full((num, 3), step)}, None) for step in range(steps)]
    for step, one in enumerate(acted):
        assert (one.expert_actions == 1 + step % 3).all()
        assert one.labelled.all()
        np.testing.assert_array_equal(one.actions, np.where(one.acted_by_expert, 1 + step % 3, 3))
    share = np.mean([one.acted_by_expert for one in acted])
    assert abs(share - beta) <= 4 * np.sqrt(beta * (1 - beta) / (num * steps))
    if 0 < beta < 1:  # drawn for each step, not for an episode
        assert all(0 < np.mean([one.acted_by_expert[slot] for one in acted]) < 1 for slot in range(num))


def test_the_mixture_depends_on_the_episodes_seed_only():
    """CORRECTNESS 5."""
    runs = []
    for slot, num in ((0, 1), (3, 5)):
        agent = mixed(CountingExpert(), 0.5, num)
        agent.act(observations(num), None)
        agent.begin(slot, 77)
        runs.append([bool(agent.act(observations(num), None).acted_by_expert[slot]) for _ in range(300)])
    assert runs[0] == runs[1]


def test_where_the_expert_has_no_answer_the_policy_acts_and_the_step_is_unlabelled():
    agent = mixed(CountingExpert(fault="mask", bad_step=0), 1.0, 2)
    acted = agent.act({"obs": np.array([[0, 0, 0], [0, 1, 0]])}, None)
    assert acted.actions.tolist() == [3, 2]
    assert acted.acted_by_expert.tolist() == acted.labelled.tolist() == [False, True]


class Everywhere:
    """A gate that asks about some rows, and lets the expert act in some of them."""

    def __init__(self, asked, acts):
        self.asked, self.acts, self.now = np.array(asked), np.array(acts), None

    def begin(self, slot, seed):
        self.begun = slot, seed

    def choose(self, now):
        self.now = now
        return Choice(expert_acts=self.acts, labels=now.ask(self.asked))


def at_steps(*steps):
    return {"obs": np.array([[0, step, 0] for step in steps])}


def test_a_gate_says_who_acts_and_who_is_labelled():
    """CORRECTNESS 12 and 16: the expert's action is executed exactly where it acts, and stored exactly where it was asked."""
    policy, gate, expert = Constant(3), Everywhere([True, True, False], [True, False, False]), CountingExpert()
    agent = GatedAgent(policy, expert, gate)
    agent.begin(2, 77)
    assert gate.begun == expert.begun[0] == (2, 77)
    acted = agent.act(at_steps(1, 1, 1), None)
    assert acted.actions.tolist() == [2, 3, 3]
    assert acted.acted_by_expert.tolist() == [True, False, False]
    assert acted.labelled.tolist() == [True, True, False]
    assert acted.expert_actions[:2].tolist() == [2, 2]
    assert gate.now.actions.tolist() == [3, 3, 3]
    assert gate.now.doubt is None
    policy.doubt = np.arange(3)
    agent.act(at_steps(1, 1, 1), None)
    assert gate.now.doubt is policy.doubt


def test_idle_slots_have_no_labels():
    agent = GatedAgent(Constant(3), CountingExpert(), Everywhere([True, True], [True, False]))
    acted = agent.act(at_steps(0, 0), None, np.array([True, False]))
    assert acted.labelled.tolist() == [True, False]


class Counted(CountingExpert):
    def __init__(self, stateful):
        super().__init__()
        self.stateful, self.calls = stateful, 0

    def act(self, observations, *, envs=None):
        self.calls += 1
        return super().act(observations, envs=envs)


@pytest.mark.parametrize("stateful", [False, True])
def test_without_requested_labels_only_a_stateful_expert_is_asked(stateful):
    """A stateful expert must see each step; any other costs nothing where the policy is trusted."""
    expert, gate = Counted(stateful), Everywhere([False, False], [False, False])
    agent = GatedAgent(Constant(3), expert, gate)
    acted = agent.act(at_steps(1, 1), None)
    assert expert.calls == int(stateful)
    assert acted.actions.tolist() == [3, 3]
    assert not acted.labelled.any()
    gate.asked = np.array([False, True])
    agent.act(at_steps(1, 1), None, np.array([True, False]))  # it is idle
    assert expert.calls == 2 * stateful
    agent.act(at_steps(1, 1), None)
    assert expert.calls == 1 + 2 * stateful


def test_a_gate_is_built_with_its_agent():
    world = spec(action_spec(gym.spaces.Discrete(3, start=1)))
    made = ref(gym.spaces.Box(-np.inf, np.inf, (3,)), gym.spaces.Discrete(3, start=1))
    agent = AgentSpec(who="policy", gate=CoinPlan(beta=1.0)).build(world, 2, CountingExpert(), made)
    agent.begin(0, 0)
    agent.begin(1, 1)
    assert agent.act(observations(2), None).actions.tolist() == [1, 1]
    with pytest.raises(InputError, match=r"labels are required, but no expert is configured: set expert\.kind"):
        AgentSpec(who="policy", gate=CoinPlan(beta=1.0)).build(world, 2, None, made)
    human = HumanPlan(intervener=ImportIntervenerConfig(target="gatebed:Rescuer"))
    assert AgentSpec(who="policy", gate=human).build(world, 2, None, made)  # they are the expert
