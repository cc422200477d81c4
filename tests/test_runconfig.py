from importlib import resources

import pytest

from distil.algorithms.bc import BCConfig
from distil.algorithms.dagger import DaggerConfig, LinearBeta
from distil.config import recipe_names
from distil.errors import InputError
from distil.runconfig import load_config


def test_the_algorithm_is_chosen_by_its_kind():
    assert load_config("cartpole-bc").algorithm == BCConfig()
    changed = load_config("cartpole-bc", {"algorithm.kind": "dagger", "algorithm.rounds": 3, "algorithm.beta.kind": "linear"})
    assert changed.algorithm == DaggerConfig(rounds=3, beta=LinearBeta())
    with pytest.raises(InputError, match="did you mean dagger"):
        load_config("cartpole-bc", {"algorithm.kind": "daggr"})


def test_the_budget_knows_expert_and_limit():
    config = load_config("cartpole-dagger", {"data.episodes": 7})
    budget = config.budget(500)
    assert (budget.num_demonstrations, budget.max_episode_steps, budget.has_expert) == (7, 500, True)
    own = config.model_copy(update={"expert": None}).budget()
    assert (own.num_demonstrations, own.has_expert) == (None, False)


@pytest.mark.parametrize("name", recipe_names())
def test_every_shipped_recipe_is_valid(name):
    needs_path = "sb3" in (resources.files("distil.recipes") / f"{name}.yaml").read_text()
    config = load_config(name, {"expert.path": "x.zip"} if needs_path else {})
    assert config.name == name
    config.algorithm.build(config.budget(1000))
