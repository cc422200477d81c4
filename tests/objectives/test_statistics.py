from typing import Any, cast

import numpy as np
import pytest
import torch

from distil.objectives.base import ObjectiveState
from distil.objectives.optimiser_config import OptimiserConfig
from distil.objectives.statistics import fit_policy, refit_policy
from distil.objectives.supervised import Supervised
from distil.store.moments import moments_of
from distil.store.order import SampleSource


class Columns:
    """A source of which only the statistics are asked."""

    def __init__(self, **columns: Any) -> None:
        self.columns = columns

    @property
    def num_samples(self) -> int:
        return len(self.columns["obs"])

    def statistics(self, names: list[str]) -> Any:
        return moments_of({name: self.columns[name] for name in names})


def test_statistics_are_those_of_the_source_and_constant_dimensions_are_named(make_policy):
    policy, values = make_policy(), np.random.default_rng(3).normal(2.0, 5.0, (40, 3)).astype("f4")
    assert fit_policy(policy, cast(SampleSource, Columns(obs=values))) == []
    np.testing.assert_allclose(policy.encoder.features.mean, values.mean(0), rtol=1e-5)
    values[:, 1] = 7
    (note,) = fit_policy(policy, cast(SampleSource, Columns(obs=values)))
    assert note.startswith("1 observation dimensions vary by less than policy.std_floor=")
    assert "obs[1]; lower it if they matter" in note


def rows(num: int, mean: float) -> Any:
    return cast(SampleSource, Columns(obs=np.random.default_rng(num).normal(mean, 1.0, (num, 3)).astype("f4")))


def mean_of(objective: Supervised) -> float:
    return float(objective.policy.encoder.features.mean.mean())


def test_statistics_that_are_of_no_use_are_fitted_again_when_the_data_have_doubled(make_policy):
    objective = Supervised(make_policy(), OptimiserConfig())
    for num, mean, expected in ((40, 0.0, 0.0), (79, 10.0, 0.0), (80, 20.0, 20.0), (159, 30.0, 20.0), (160, 40.0, 40.0)):
        notes = objective.fit_statistics({"demos": rows(num, mean)})
        assert mean_of(objective) == pytest.approx(expected, abs=0.5)
        assert any("they were fitted again" in note for note in notes) == (num in (80, 160))


def test_statistics_stay_while_they_are_of_use_and_with_them_the_learned_function(make_policy):
    """Three standard deviations away, or one dimension far away: as after a fall."""
    objective, fallen = Supervised(make_policy(), OptimiserConfig()), rows(160, 0.0)
    fallen.columns["obs"][:, 0] *= 100
    objective.fit_statistics({"demos": rows(40, 0.0)})
    before = {name: value.clone() for name, value in objective.policy.state_dict().items()}
    for later in (rows(80, 3.0), fallen):
        assert objective.fit_statistics({"demos": later}) == []
        assert all(torch.equal(value, before[name]) for name, value in objective.policy.state_dict().items())


def test_a_loaded_objective_knows_what_its_statistics_were_fitted_on(make_policy):
    first, second, old = (Supervised(make_policy(), OptimiserConfig()) for _ in range(3))
    first.fit_statistics({"demos": rows(40, 5.0)})
    state = first.state_dict()
    second.load_state_dict(state)
    second.fit_statistics({"demos": rows(79, 20.0)})
    assert mean_of(second) == pytest.approx(5.0, abs=0.5)
    second.fit_statistics({"demos": rows(80, 20.0)})
    assert mean_of(second) == pytest.approx(20.0, abs=0.5)
    counters = {name: value for name, value in state.counters.items() if name != "num_fitted"}
    old.load_state_dict(ObjectiveState(tensors=state.tensors, counters=counters))  # of a version that fitted them once
    old.fit_statistics({"demos": rows(400, 20.0)})
    assert mean_of(old) == pytest.approx(5.0, abs=0.5)


def test_a_narrow_first_round_does_not_hide_later_observations(make_policy, make_batch):
    """Statistics of the first rows alone would clip nearly all of the later ones to +-obs_clip."""
    objective = Supervised(make_policy(hidden=(32, 32)), OptimiserConfig(learning_rate=1e-2, warmup_steps=0))
    wide = np.random.default_rng(0).normal(size=(400, 3)).astype("f4")
    objective.fit_statistics({"demos": cast(SampleSource, Columns(obs=wide[:40] * 1e-3))})
    objective.fit_statistics({"demos": cast(SampleSource, Columns(obs=wide))})
    objective.begin(200)
    losses = [float(objective.step({"demos": make_batch(step, 64)})["loss"]) for step in range(200)]
    assert losses[-1] < 0.02 * losses[0]


def test_the_range_of_actions_stays_when_only_observations_are_fitted_again(make_policy):
    policy = make_policy()
    fit_policy(policy, rows(40, 0.0))
    before = {name: value.clone() for name, value in policy.actions.state_dict().items()}
    refit_policy(policy, rows(40, 70.0))
    assert float(policy.encoder.features.mean.mean()) == pytest.approx(70.0, abs=0.5)
    for name, value in policy.actions.state_dict().items():
        assert torch.equal(value, before[name])
