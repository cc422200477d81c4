from distil.objectives.base import Objective
from distil.objectives.config import OptimiserConfig
from distil.objectives.supervised import Supervised


def test_supervised_has_all_that_a_learner_uses(make_policy):
    objective: Objective = Supervised(make_policy(), OptimiserConfig())
    names = [name for name in vars(Objective) if not name.startswith("_") and callable(getattr(Objective, name))]
    assert len(names) == 7
    assert all(callable(getattr(objective, name)) for name in names)
