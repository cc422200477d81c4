from typing import Any

import numpy as np
import pytest
from gymnasium.utils.env_checker import check_env

from distil.envs.gridworld import STAY, GridWorld
from distil.errors import InputError

LEFT, DOWN, RIGHT, UP = range(4)


@pytest.mark.filterwarnings("ignore::UserWarning")
def test_it_keeps_gymnasiums_contract() -> None:
    check_env(GridWorld(layout_seed=1), skip_render_check=True)


def outcomes(env: GridWorld, cell: tuple[int, int], action: int) -> dict[tuple[int, int], float]:
    """Return cell -> probability."""
    found: dict[tuple[int, int], float] = {}
    for chance, state, _, _ in env.P[env.state_of(cell)][action]:
        to = divmod(state, env.size)
        found[to] = found.get(to, 0) + chance
    return found


def test_moves_slip_to_both_sides_and_stop_at_walls() -> None:
    env = GridWorld(size=4, walls=[[1, 2]], slip=0.2)
    assert outcomes(env, (2, 1), RIGHT) == pytest.approx({(2, 2): 0.8, (1, 1): 0.1, (3, 1): 0.1})
    assert outcomes(env, (2, 2), UP) == pytest.approx({(2, 2): 0.8, (2, 1): 0.1, (2, 3): 0.1})
    assert outcomes(env, (0, 0), LEFT) == pytest.approx({(0, 0): 0.9, (1, 0): 0.1})
    assert outcomes(env, (2, 1), STAY) == {(2, 1): 1.0}


def test_the_wall_has_one_gap() -> None:
    walls = {gap: GridWorld(size=5, gap=gap).is_wall for gap in ("left", "right", 2)}
    assert {gap: np.flatnonzero(~wall[2]).tolist() for gap, wall in walls.items()} == {"left": [0], "right": [4], 2: [2]}
    assert all(not np.delete(wall, 2, 0).any() for wall in walls.values())


def test_steps_follow_the_table() -> None:
    """The share of each outcome over many steps is its probability, and rewards are those of the table."""
    env = GridWorld(size=3, slip=0.4, goal=[0, 0], starts=[[1, 1]], horizon=1)
    counts = np.zeros(9)
    for seed in range(600):
        assert env.reset(seed=seed)[0] == 4
        state, reward, terminated, truncated, info = env.step(RIGHT)
        assert (reward, terminated, truncated, info) == (0.0, False, True, {"is_success": False})
        counts[state] += 1
    expected = {env.state_of(cell): chance for cell, chance in outcomes(env, (1, 1), RIGHT).items()}
    assert set(np.flatnonzero(counts).tolist()) == expected.keys()
    assert all(abs(counts[state] / 600 - chance) < 0.07 for state, chance in expected.items())


def test_every_step_that_begins_at_the_goal_is_rewarded_until_the_horizon() -> None:
    env = GridWorld(size=3, slip=0.0, goal=[1, 0], starts=[[0, 0]], horizon=4)
    env.reset(seed=0)
    steps = [env.step(action)[1:] for action in (DOWN, STAY, UP, STAY)]
    assert [reward for reward, *_ in steps] == [0.0, 1.0, 1.0, 0.0]
    assert [info["is_success"] for *_, info in steps] == [True, True, False, False]
    assert [(terminated, truncated) for _, terminated, truncated, _ in steps] == [(False, False)] * 3 + [(False, True)]


def test_drawn_layouts_differ_and_all_free_cells_have_a_way_to_the_goal() -> None:
    grids = [GridWorld(size=10, layout_seed=seed) for seed in range(20)]
    assert len({grid.is_wall.tobytes() for grid in grids}) == 20
    assert len({grid.goal for grid in grids}) > 10
    assert all((grid._joined() == ~grid.is_wall).all() for grid in grids)
    assert all(grid.goal not in grid.starts and {row for row, _ in grid.starts} == {0} for grid in grids)
    assert (GridWorld(size=10, layout_seed=3).is_wall == grids[3].is_wall).all()


@pytest.mark.parametrize(
    ("kwargs", "message"),
    [
        ({"goal": [8, 0]}, r"goal \[8, 0\] is not a cell: give \[row, column\], each from 0 to 7"),
        ({"gap": 9}, r"gap \[0, 9\] is not a cell"),
        ({"gap": "middle"}, r"gap \[0, -1\] is not a cell"),
        ({"walls": [[7, 4]]}, r"the goal \[7, 4\] is a wall"),
        ({"walls": [[4, i] for i in range(8)], "starts": [[0, 0]]}, r"from not the start \[0, 0\]"),
        ({"walls": [[4, i] for i in range(8)]}, r"from no cell of the first row"),
        ({"slip": 2.0}, r"slip 2.0"),
    ],
)
def test_layouts_without_a_way_are_refused(kwargs: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError, match=message):
        GridWorld(**kwargs)
