import numpy as np
import pytest
import torch
from gymnasium import spaces

from distil.objectives.optimiser_config import OptimiserConfig
from distil.objectives.ranks import Ranks
from distil.objectives.rl_config import SoftQConfig
from distil.objectives.soft_q import SoftQ
from distil.objectives.transitions import Transitions
from distil.policies.config import MlpConfig, PolicyConfig
from distil.policies.policy import Policy
from distil.rewards.base import Rewards
from distil.spaces import action_spec, observation_spec

# Two states, two actions. In state 0, action 0 stays and action 1 moves to state 1; in state 1 both actions end the episode:
# action 0 by the task's end, action 1 by a limit of time, in state 0.
STATES, CHOICES, NEXT = [0, 0, 1, 1], [0, 1, 0, 1], [0, 1, 0, 0]
TERMINATED, REWARDS, ABSORBING = [False, False, True, False], [0.1, -0.2, 0.3, 0.5], 0.05
DISCOUNT, TEMPERATURE = 0.8, 0.5


def _policy() -> Policy:
    config = PolicyConfig(encoder=MlpConfig(hidden=(16,)))
    policy = Policy(config, observation_spec(spaces.Box(-1, 1, (2,))), action_spec(spaces.Discrete(2)), seed=0)
    policy.fit_normaliser({"obs": np.eye(2, dtype="f4")})
    return policy


def _transitions() -> Transitions:
    one_hot = torch.eye(2)[:, None]
    return Transitions(
        observations={"obs": one_hot[STATES]},
        actions_BA=torch.tensor(CHOICES)[:, None],
        next_observations={"obs": one_hot[NEXT]},
        terminated_B=torch.tensor(TERMINATED),
        is_expert_B=torch.zeros(4, dtype=torch.bool),
        rewards_B=None,
        extras={},
    )


def _rewards() -> Rewards:
    return Rewards(rewards_B=torch.tensor(REWARDS), absorbing_B=torch.full((4,), ABSORBING))


def _logits(policy: Policy) -> torch.Tensor:
    return policy.head.logits(policy.encoder({"obs": torch.eye(2)[:, None]}))[:, 0, 0].detach()


def test_it_finds_the_soft_values_of_a_small_task() -> None:
    """An end of the task leads to the absorbing state, a limit of time to the next state's value (CORRECTNESS 21)."""
    policy, config = _policy(), SoftQConfig(discount=DISCOUNT, temperature=TEMPERATURE, target_rate=0.1)
    step = SoftQ(config, policy, OptimiserConfig(weight_decay=0, grad_clip=None), Ranks())
    for i in range(3000):
        step.learn(_transitions(), _rewards(), 1e-2 if i < 2000 else 1e-3, torch.Generator())
    wanted = torch.zeros(2, 2)
    for _ in range(200):  # soft value iteration
        values = TEMPERATURE * (wanted / TEMPERATURE).logsumexp(-1)
        ahead = torch.where(torch.tensor(TERMINATED), torch.tensor(ABSORBING / (1 - DISCOUNT)), values[NEXT])
        wanted[STATES, CHOICES] = torch.tensor(REWARDS) + DISCOUNT * ahead
    torch.testing.assert_close(TEMPERATURE * _logits(policy), wanted, atol=0.02, rtol=0)


@pytest.mark.parametrize("rate", [0.25, 1.0])
def test_the_target_moves_at_its_rate(rate: float) -> None:
    policy = _policy()
    step = SoftQ(SoftQConfig(target_rate=rate), policy, OptimiserConfig(), Ranks())
    before = step.networks.head.linear.weight.clone()
    step.learn(_transitions(), _rewards(), 1e-2, torch.Generator())
    now = policy.head.linear.weight.detach()
    torch.testing.assert_close(step.networks.head.linear.weight, before + rate * (now - before))
    assert not torch.equal(now, before)


def test_its_optimiser_resumes() -> None:
    steps = []
    for _ in range(2):
        policy = _policy()
        steps.append((policy, SoftQ(SoftQConfig(), policy, OptimiserConfig(), Ranks())))
    (first, ours), (second, theirs) = steps
    ours.learn(_transitions(), _rewards(), 1e-2, torch.Generator())
    second.load_state_dict(first.state_dict())
    theirs.networks.load_state_dict(ours.networks.state_dict())
    theirs.load_optimisers({name: {k: v.clone() for k, v in state.items()} for name, state in ours.optimisers().items()})
    for _, step in steps:
        step.learn(_transitions(), _rewards(), 1e-2, torch.Generator())
    assert torch.equal(_logits(first), _logits(second))
