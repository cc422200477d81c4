from distil.objectives.base import Objective
from distil.objectives.optimiser_config import OptimiserConfig
from distil.objectives.supervised import Supervised


def test_supervised_has_all_that_a_learner_uses(make_policy):
    objective: Objective = Supervised(make_policy(), OptimiserConfig())
    names = [name for name in vars(Objective) if not name.startswith("_")]
    assert len(names) == 13
    assert all(hasattr(objective, name) for name in names)
