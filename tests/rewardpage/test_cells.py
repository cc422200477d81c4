"""Rewards over the states of a Discrete space."""

from __future__ import annotations

import numpy as np
from rewardpagebed import run_of, steps_of, study_of

from distil import api
from distil.envs.gridworld import GridWorld
from distil.rewardpage.cells import states


def test_a_grid_has_walls_a_goal_and_what_was_seen() -> None:
    found, world = study_of("grid").states, GridWorld(gap="left")
    assert found.num_columns == 8
    np.testing.assert_array_equal(found.is_wall, world.is_wall.reshape(-1))
    assert found.goal == world.state_of(world.goal)
    assert found.is_seen[found.goal]
    assert not found.is_seen[found.is_wall].any()
    np.testing.assert_allclose(found.learned[:, 0], api.open_run(run_of("grid")).reward().ref.arrays["model.table"][:, 0])
    np.testing.assert_array_equal(np.flatnonzero(found.true), [found.goal])


def test_where_a_task_ended_counts_as_seen() -> None:
    steps = steps_of([3, 5], after=[5, 7], terminated=[False, True])
    found = states(api.open_run(run_of("grid")).reward(), steps, None, None)
    assert np.flatnonzero(found.is_seen).tolist() == [3, 5, 7]
    assert (found.num_columns, found.goal, found.is_wall.any()) == (0, None, False)
