import pytest
import torch
from stepbed import PLAIN, policy, rewards

from distil.objectives.ranks import ALONE
from distil.objectives.rl_config import SacConfig
from distil.objectives.sac import Sac
from distil.objectives.steps import OnPolicyStep


def test_the_absorbing_state_pays_its_reward_for_ever() -> None:
    """CORRECTNESS 17: r / (1 - discount) is what an endless stay there is worth."""
    of = policy()
    step = Sac(SacConfig(hidden=(4,), discount=0.9), of, PLAIN, ALONE, torch.Generator().manual_seed(0))
    endless = sum(0.9**k * 0.3 for k in range(500))
    torch.testing.assert_close(step.after_end(rewards(absorbing=0.3)), torch.full((32,), endless))


def test_a_step_on_the_newest_round_only_must_prepare_its_fields() -> None:
    with pytest.raises(TypeError, match="prepare"):
        type("Half", (OnPolicyStep,), dict.fromkeys(("learn", "optimisers", "load_optimisers")))()
