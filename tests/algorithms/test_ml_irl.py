from distil.algorithms.ml_irl import MlIrlConfig


def test_it_is_a_reward_by_maximum_likelihood_with_an_ensemble() -> None:
    step, reward = MlIrlConfig().parts
    assert (step.kind, step.num_critics, reward.kind) == ("sac", 4, "maxent")


def test_its_reward_learns_slowly_and_its_policy_seeks_what_the_critics_disagree_on() -> None:
    step, reward = MlIrlConfig().parts
    rate = MlIrlConfig.learner_defaults["learning_rate"] * reward.rate
    assert rate < 1e-4
    assert (step.combine, step.optimism) == ("pairs", 1.0)
