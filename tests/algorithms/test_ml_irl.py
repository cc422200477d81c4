from distil.algorithms.ml_irl import MlIrlConfig


def test_it_is_a_reward_by_maximum_likelihood_with_an_ensemble() -> None:
    step, reward = MlIrlConfig().parts
    assert (step.kind, step.num_critics, reward.kind) == ("sac", 4, "maxent")
