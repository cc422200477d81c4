"""Slices: which dimensions, where data cover them, and what is refused."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from rewardpagebed import run_of

from distil import api
from distil.errors import InputError
from distil.rewardpage.slices import NUM_CELLS, cut, dimensions, parse, widest
from distil.rewardpage.steps import Seen, seen
from distil.rundata.reading import demonstrations_of
from distil.rundir import RunDir
from distil.spaces import Leaf

BOX = Leaf(name="obs", kind="box", shape=(3,), dtype="float32", low=(-1.0,), high=(1.0,))
CHOICE = Leaf(name="mode", kind="discrete", shape=(), dtype="int64", nvec=(3,))


def given() -> tuple:
    run = api.open_run(run_of("pendulum"))
    (part,) = demonstrations_of(run.config, RunDir(run.path))
    return run.reward(), seen(part, "demonstrations", run.reward())


def test_dimensions_are_named_by_leaf_and_place() -> None:
    assert list(dimensions([BOX, CHOICE])) == ["obs[0]", "obs[1]", "obs[2]"]
    assert parse("obs[0], obs[2]", [BOX]) == ("obs[0]", "obs[2]")


@pytest.mark.parametrize(
    ("text", "leaves", "fault"),
    [
        ("obs[0],obs[3]", [BOX], r"reads no obs\[3\]; there are obs\[0\] to obs\[2\]"),
        ("obs[0]", [BOX], "name two different dimensions"),
        ("obs[0],obs[0]", [BOX], "name two different dimensions"),
        ("mode[0],mode[1]", [CHOICE], "nothing to cut along: omit --slice"),
    ],
)
def test_what_is_not_there_is_named(text: str, leaves: list[Leaf], fault: str) -> None:
    with pytest.raises(InputError, match=fault):
        parse(text, leaves)


def test_the_two_widest_are_the_default() -> None:
    function, steps = given()
    obs = steps.before["obs"] * np.array([0.1, 1.0, 0.0])
    assert widest(replace(steps, before={"obs": obs}), [BOX]) == ("obs[0]", "obs[1]")
    assert widest(replace(steps, before={"obs": obs * [0, 1, 0]}), [BOX]) is None
    assert widest(steps, function.observation.leaves)[1] == "obs[2]"  # the velocity, up to 8


def test_a_slice_is_the_reward_with_the_rest_at_the_medians() -> None:
    function, steps = given()
    found = cut(function, steps, steps, ("obs[1]", "obs[2]"))
    median, action = np.median(steps.before["obs"], 0), np.median(steps.actions, 0)
    row, column = 4, 20
    obs = np.array([[median[0], found.x_C[column], found.y_R[row]]], np.float32)
    expected = function.rewards(obs, action[None].astype(np.float32))
    assert found.rewards_RC[row, column] == pytest.approx(float(expected[0]), rel=1e-4, abs=1e-5)
    assert found.fixed == (f"obs[0] = {median[0]:.3g}", f"action = {action[0]:.3g}")
    assert found.is_covered_RC.shape == (NUM_CELLS, NUM_CELLS)
    assert (found.x_C.min(), found.x_C.max()) > (-1, 0.9)  # inside the space's bounds


def test_only_cells_near_steps_are_covered() -> None:
    """Two steps far apart, the second of them off the median of the third dimension."""
    function, steps = given()
    few = _few(steps, [[-1, -1, 0.0], [1, 1, 0.0], [1, -1, 8.0], [-1, 1, 0.0], [0.0, 0.0, 0.0]])
    found = cut(function, few, few, ("obs[0]", "obs[1]"))
    assert found.is_covered_RC.sum() == 3 * 4 + 9  # three corners, and the middle with its neighbours
    assert found.is_covered_RC[0, 0]
    assert not found.is_covered_RC[0, -1]


def test_what_does_not_vary_or_has_no_data_is_refused() -> None:
    function, steps = given()
    with pytest.raises(InputError, match=r"obs\[0\] is 1 in all steps"):
        cut(function, _few(steps, [[1, 0, 0.0], [1, 1, 0.0]]), steps, ("obs[0]", "obs[1]"))
    away = _few(steps, [[0, 0, -8.0], [1, 1, 8.0]])
    with pytest.raises(InputError, match="no step of the run's episodes is near the medians"):
        cut(function, away, _few(steps, [[0, 0, 100.0]]), ("obs[0]", "obs[1]"))


def _few(steps: Seen, rows: list) -> Seen:
    num = len(rows)
    obs = {"obs": np.array(rows, np.float32)}
    cut_short = {name: getattr(steps, name)[:num] for name in ("actions", "true", "learned", "terminated", "episode")}
    return replace(steps, before=obs, after=obs, **cut_short)
