import pytest
from sweepbed import sweep

from distil.sweep.search import Tried, num_trials, propose
from distil.sweep.space import Distribution

SPACE = {"learner.learning_rate": Distribution(loguniform=(1e-4, 1e-1)), "learner.batch_size": Distribution(choice=(32, 64))}


def test_a_proposal_follows_from_the_sweep_and_its_number_alone() -> None:
    config = sweep(seed=3)
    first = [propose(config, "bc", SPACE, number, []) for number in range(5)]
    assert first == [propose(config, "bc", SPACE, number, []) for number in range(5)]
    assert len({values["learner.learning_rate"] for values in first}) == 5
    assert propose(sweep(seed=4), "bc", SPACE, 0, []) != first[0]
    assert propose(config, "dagger", SPACE, 0, []) != first[0]


def test_a_grid_is_gone_through_in_its_order() -> None:
    space = {"learner.batch_size": Distribution(grid=(32, 64, 128))}
    config = sweep(searcher={"kind": "grid"}, families={"bc": {"search": {"learner.batch_size": {"grid": [32, 64, 128]}}}})
    assert num_trials(config, space) == 3
    assert [propose(config, "bc", space, number, [])["learner.batch_size"] for number in range(3)] == [32, 64, 128]


def _tried(num: int) -> list[Tried]:
    """Random draws whose score is best at a learning rate of 1e-2."""
    found = []
    for number in range(num):
        values = propose(sweep(), "bc", SPACE, number, [])
        found.append(Tried(values=values, score=-abs(values["learner.learning_rate"] / 1e-2 - 1), labels=number))
    return found


@pytest.mark.parametrize("labels", [False, True])
def test_tpe_looks_where_scores_were_good(labels: bool) -> None:
    pytest.importorskip("optuna")
    config = sweep(searcher={"kind": "tpe", "trials": 30, "random": 4, "labels": labels})
    tried = _tried(25)
    found = [propose(config, "bc", SPACE, number, tried)["learner.learning_rate"] for number in range(25, 45)]
    assert found == [propose(config, "bc", SPACE, number, tried)["learner.learning_rate"] for number in range(25, 45)]
    near = sum(3e-3 < value < 3e-2 for value in found)
    if not labels:
        assert near >= 14  # of random draws, a third
    assert propose(config, "bc", SPACE, 2, tried) == propose(sweep(), "bc", SPACE, 2, [])  # the first ones are random


def test_tpe_knows_values_that_are_lists() -> None:
    pytest.importorskip("optuna")
    space = {"policy.encoder.hidden": Distribution(choice=((64, 64), (256, 256)))}
    tried = [
        Tried(values={"policy.encoder.hidden": [64, 64]}, score=1.0),
        Tried(values={"policy.encoder.hidden": [256, 256]}, score=0.0),
    ]
    config = sweep(searcher={"kind": "tpe", "random": 1})
    assert propose(config, "bc", space, 2, tried)["policy.encoder.hidden"] in ((64, 64), (256, 256))
