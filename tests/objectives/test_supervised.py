import torch

from distil.objectives.optimiser_config import OptimiserConfig
from distil.objectives.supervised import Supervised


def test_the_loss_is_the_policy_s_own_on_the_demonstrations(make_policy, make_batch):
    objective, batch, generator = Supervised(make_policy(), OptimiserConfig()), make_batch(), torch.Generator()
    assert torch.equal(objective.loss(objective.policy, {"demos": batch}, generator), objective.policy.loss(batch))
    assert torch.equal(objective.validate(make_policy(1), batch, generator), make_policy(1).loss(batch))
    assert objective.needs == {"demos": {"obs_horizon": 1, "chunk": 1}}
