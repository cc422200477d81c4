import pytest
import torch
from rewardbed import steps

from distil.rewards.base import ClonedReward, EpisodeReward, LearnedReward, RewardModel, Rewards


class Total(RewardModel):
    """The sum of the features."""

    def forward(self, steps):
        rewards_B = steps.features_BF.sum(-1)
        return Rewards(rewards_B=rewards_B, absorbing_B=torch.zeros_like(rewards_B))


def test_a_model_that_only_says_rewards_reads_nothing_of_the_environment() -> None:
    model = Total()
    assert (model.reads_rewards, model.needs_log_probs, model.notes()) == (False, False, [])
    assert model(steps(5)).rewards_B.shape == (5,)


@pytest.mark.parametrize(
    ("kind", "missing"),
    [(RewardModel, "forward"), (LearnedReward, "loss"), (EpisodeReward, "of_episodes"), (ClonedReward, "hand_over")],
)
def test_each_kind_of_model_must_do_what_it_is_used_for(kind: type[RewardModel], missing: str) -> None:
    with pytest.raises(TypeError, match=missing):
        type("Half", (kind,), {})()
