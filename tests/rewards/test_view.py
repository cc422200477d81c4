import torch
from gymnasium import spaces
from interactionbed import policy_for

from distil.rewards.fixed import ConstantReward
from distil.rewards.pwil import PwilReward
from distil.rewards.view import view


def test_features_are_standardised_and_choices_one_hot() -> None:
    policy = policy_for(spaces.Discrete(3))
    seen, ahead = {"obs": torch.randn(2, 1, 3)}, {"obs": torch.randn(2, 1, 3)}
    actions = torch.tensor([[2], [0]])
    features, leaf = policy.encoder.features, policy.action.leaf
    seen_BF, actions_BA, ahead_BF = view(PwilReward(scale=1.0, bandwidth=1.0), features, leaf, seen, actions, ahead)
    torch.testing.assert_close((seen_BF, ahead_BF), (features(seen)[:, 0], features(ahead)[:, 0]))
    assert actions_BA.tolist() == [[0, 0, 1], [1, 0, 0]]
    empty_BF, same, _ = view(ConstantReward(), features, leaf, seen, actions, ahead)
    assert empty_BF.shape == (2, 0)
    assert same is actions
