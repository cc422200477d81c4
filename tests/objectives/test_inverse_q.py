from dataclasses import replace

import pytest
import torch

from distil.objectives.inverse_q import inverse_loss
from distil.objectives.rl_config import SoftQConfig
from distil.objectives.transitions import Transitions

DISCOUNT = 0.5


def _transitions(expert: list[bool], ended: list[bool]) -> Transitions:
    empty = torch.zeros(len(expert), 1)
    return Transitions(
        observations={},
        actions_BA=empty,
        next_observations={},
        terminated_B=torch.tensor(ended),
        is_expert_B=torch.tensor(expert),
        rewards_B=None,
        extras={},
    )


def test_ls_iq_regresses_on_the_values_of_rewards_of_both_signs() -> None:
    """c = 0.5: rewards of +-2, so values within +-4; an end is worth the bound of its side for ever."""
    values = torch.tensor([1.0, 1.0, 1.0, 1.0])
    batch = _transitions([True, True, False, False], [False, True, False, True])
    after = torch.tensor([1.0, 99.0, 1.0, 99.0])
    loss, figures = inverse_loss(SoftQConfig(loss="ls_iq", regulariser=0.5), values, values, after, batch, DISCOUNT)
    targets = torch.tensor([2 + 0.5, 2 + 0.5 * 4, -2 + 0.5, -2 - 0.5 * 4])
    errors = (values - targets).square()
    torch.testing.assert_close(loss, 0.5 * (errors[:2].mean() + errors[2:].mean()))
    torch.testing.assert_close(figures["reward_expert"], torch.tensor([1 - 0.5, 1 - 0.5 * 4]).mean())


def test_iq_raises_what_only_the_expert_does() -> None:
    """Equation 10 with the regulariser on both sides; an end is worth the bound of its side for ever (CORRECTNESS 17)."""
    values, now = torch.tensor([1.0, 2.0, 3.0, 4.0]), torch.tensor([1.5, 2.5, 3.5, 4.5])
    batch = _transitions([True, True, False, False], [False, True, False, True])
    after = torch.tensor([1.0, 99.0, 1.0, 99.0])
    loss, figures = inverse_loss(SoftQConfig(loss="iq", regulariser=0.5), values, now, after, batch, DISCOUNT)
    ahead = DISCOUNT * torch.tensor([1.0, 4.0, 1.0, -4.0])
    rewards = values - ahead
    torch.testing.assert_close(loss, (now - ahead).mean() - rewards[:2].mean() + 0.5 * rewards.square().mean())
    torch.testing.assert_close(figures["reward_expert"], rewards[:2].mean())
    torch.testing.assert_close(figures["reward_agent"], rewards[2:].mean())


def test_iq_needs_no_steps_of_the_learner() -> None:
    values, now, after = torch.tensor([1.0, 2.0]), torch.tensor([1.5, 2.5]), torch.tensor([1.0, 1.0])
    batch = _transitions([True, True], [False, False])
    loss, _ = inverse_loss(SoftQConfig(loss="iq", regulariser=0.5), values, now, after, batch, DISCOUNT)
    rewards = values - DISCOUNT * after
    torch.testing.assert_close(loss, (now - DISCOUNT * after).mean() - rewards.mean() + 0.5 * rewards.square().mean())


@pytest.mark.parametrize(("after", "bound"), [(100.0, 4.0), (-100.0, -4.0)])
def test_ls_iq_clips_its_targets(after: float, bound: float) -> None:
    values = torch.tensor([0.0, 0.0])
    batch = _transitions([True, False], [False, False])
    loss, _ = inverse_loss(SoftQConfig(loss="ls_iq"), values, values, torch.full((2,), after), batch, DISCOUNT)
    targets = (torch.tensor([2.0, -2.0]) + DISCOUNT * bound).clamp(-4, 4)
    torch.testing.assert_close(loss, 0.5 * targets.square().sum())


def test_the_order_of_a_batch_does_not_matter() -> None:
    batch = _transitions([True, False, False], [False, True, False])
    flipped = replace(batch, terminated_B=batch.terminated_B.flip(0), is_expert_B=batch.is_expert_B.flip(0))
    values, now, after = torch.tensor([[0.3, 0.1, -0.5], [0.2, 0.4, -0.1], [0.7, -0.2, 0.1]])
    for kind in ("iq", "ls_iq"):
        config = SoftQConfig(loss=kind)
        loss, _ = inverse_loss(config, values, now, after, batch, DISCOUNT)
        other, _ = inverse_loss(config, values.flip(0), now.flip(0), after.flip(0), flipped, DISCOUNT)
        torch.testing.assert_close(loss, other)
