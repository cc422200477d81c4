import torch
from torch.nn.functional import one_hot

from distil.rewards.base import Steps
from distil.rewards.config import TabularConfig

STATES, ACTIONS, NEXT = [0, 2, 1], [1, 0, 1], [2, 2, 0]


def steps() -> Steps:
    no_B = torch.zeros(3, dtype=torch.bool)
    features_BF, actions_BA, ahead_BF = (
        one_hot(torch.tensor(values), num).float() for values, num in ((STATES, 3), (ACTIONS, 2), (NEXT, 3))
    )
    return Steps(features_BF=features_BF, actions_BA=actions_BA, next_features_BF=ahead_BF, terminated_B=no_B, is_expert_B=no_B)


def test_of_the_state_it_is_the_states_number() -> None:
    model = TabularConfig().build(3, 2, torch.Generator())
    model.table.copy_(torch.tensor([[1.0], [2.0], [4.0]]))
    found = model(steps())
    assert found.rewards_B.tolist() == [1.0, 4.0, 2.0]
    assert found.absorbing_B.tolist() == [4.0, 4.0, 1.0]


def test_of_state_and_action_it_is_the_pairs_and_after_an_end_their_mean() -> None:
    model = TabularConfig(sees="state_action").build(3, 2, torch.Generator())
    model.table.copy_(torch.tensor([[1.0, 2.0], [4.0, 8.0], [16.0, 32.0]]))
    found = model(steps())
    assert found.rewards_B.tolist() == [2.0, 16.0, 8.0]
    assert found.absorbing_B.tolist() == [24.0, 24.0, 1.5]
