"""The rows that a learned reward is read beside."""

from __future__ import annotations

import numpy as np
import pytest
from rewardpagebed import run_of, study_of

from distil import api
from distil.envs.dynamics import dynamics_of
from distil.policies.restore import policy_of
from distil.rewardpage.references import CLONE, LEARNED, POLICY, RANDOM, SHAPED, log_density, table_of


def test_a_table_has_all_measures_and_coverages() -> None:
    found = study_of("grid").distances
    assert [each.coverage for each in found] == [
        "all 57 states that can be reached and all actions, equally likely",
        "the steps of 2 episodes of demonstrations",
    ]
    for each in found:
        assert each.how == "exact"
        assert [row.name for row in each.rows] == [LEARNED, RANDOM, SHAPED, CLONE]
        rows = {row.name: row for row in each.rows}
        for measure in ("EPIC", "DARD", "STARC"):
            assert rows[SHAPED].values[measure] == pytest.approx(0, abs=1e-6)
            assert rows[LEARNED].values[measure] < rows[RANDOM].values[measure]
            low, high = rows[RANDOM].ranges[measure]
            assert low < rows[RANDOM].values[measure] < high
        assert rows[SHAPED].values["correlation"] < 0.9


def test_from_steps_there_are_correlation_and_starc() -> None:
    (found,) = study_of("pendulum").distances
    rows = {row.name: row.values for row in found.rows}
    assert list(rows) == [LEARNED, RANDOM, SHAPED, POLICY]
    assert list(rows[LEARNED]) == ["correlation", "STARC"]
    assert rows[SHAPED]["STARC"] < 0.1 < rows[LEARNED]["STARC"]
    assert found.how == "estimated"
    assert found.coverage == "the 800 steps of 4 episodes of demonstrations and the run's own policies"


def test_a_table_of_the_state_is_the_same_for_every_action_and_next_state() -> None:
    run = api.open_run(run_of("grid"))
    table = table_of(run.reward(), dynamics_of(run.config.env))
    own = run.reward().ref.arrays["model.table"][:, 0]
    np.testing.assert_allclose(table, np.broadcast_to(own[:, None, None], table.shape), rtol=1e-6)


def test_the_density_is_the_policys() -> None:
    policy = policy_of(api.open_run(run_of("grid")).policy().ref)
    state, action = (index.reshape(-1) for index in np.indices((64, 5)))
    chances = np.exp(log_density(policy, {"obs": state}, action)).reshape(64, 5)
    np.testing.assert_allclose(chances.sum(1), 1, rtol=1e-5)
