import itertools

import torch

from distil.objectives.fitting import fit
from distil.objectives.optimiser_config import OptimiserConfig
from distil.objectives.supervised import Supervised


def test_a_fit_takes_the_steps_of_the_objective(make_policy, make_batch):
    config = OptimiserConfig(learning_rate=1e-2, ema_decay=0.9)
    numbers = itertools.count()
    fitted = fit(make_policy(), lambda: make_batch(next(numbers)), 20, config)
    assert next(numbers) == 20
    assert not fitted.training
    objective = Supervised(make_policy(), config)
    objective.begin(20)
    for number in range(20):
        objective.step({"demos": make_batch(number)})
    expected = objective.evaluation_policy().state_dict()
    assert all(torch.equal(value, expected[name]) for name, value in fitted.state_dict().items())
