from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from gymnasium import spaces

from distil.rundata.distance import has_states, state_distance
from distil.spaces import action_spec, observation_spec, stack
from distil.store import Snapshot, Store, StoreSpec
from distil.types import Episode

NUMBERS = spaces.Box(-np.inf, np.inf, (3,), np.float64)
MIXED = spaces.Dict(state=NUMBERS, room=spaces.Discrete(3), view=spaces.Box(0, 255, (4, 4, 3), np.uint8))


def stored(path: Path, space: spaces.Space[Any], samples: list[list[Any]], *, terminated: bool = True) -> Snapshot:
    """A store with one episode for each list of observations, which end the task, or are cut."""
    spec = StoreSpec(observation=observation_spec(space), action=action_spec(spaces.Discrete(2)))
    store = Store.create(path, spec)
    writer = store.writer("w")
    for number, seen in enumerate(samples):
        num = len(seen) - 1
        marks = np.ones(num, np.uint8)
        writer.add(
            Episode(
                observations=stack([spec.observation.flatten(one) for one in seen]),
                actions=np.zeros(num, np.int64),
                rewards=np.full(num, np.nan),  # never read
                terminated=terminated,
                truncated=not terminated,
                expert_actions=np.zeros(num, np.int64),
                labelled=marks,
                acted_by_expert=marks,
                uid=f"e-{number:04d}",
            )
        )
    entry = writer.seal()
    assert entry is not None
    return store.commit([entry])


def numbers(path: Path, shift: float, num: int = 400, scale: float = 1.0, seed: int = 0) -> Snapshot:
    """Two episodes of normal observations in units of `scale`, `shift` standard deviations away along the first axis."""
    rows = np.random.default_rng(seed).normal(size=(num, 3)) * np.array([1.0, 10.0, 0.01])
    rows[:, 0] += shift
    return stored(path, NUMBERS, [list(part * scale) for part in np.array_split(rows, 2)], terminated=False)


def test_it_is_the_shift_seen_from_all_directions(tmp_path: Path) -> None:
    """Of a shift by s standard deviations: s times the mean of |direction|, whatever the units are."""
    shown = numbers(tmp_path / "shown", 0.0)
    assert state_distance([shown], [shown]) == 0.0
    found = [state_distance([numbers(tmp_path / f"own{s}", s)], [shown]) for s in (1.0, 2.0, 4.0)]
    rng = np.random.default_rng(0)
    directions = rng.normal(size=(4, 32))  # the last one is the mark of the absorbing state
    expected = abs(directions[0] / np.linalg.norm(directions, axis=0)).mean()
    assert found == pytest.approx([expected, 2 * expected, 4 * expected], rel=0.05)
    tiny = [numbers(tmp_path / f"tiny{s}", s, scale=1e-5) for s in (0.0, 2.0)]
    assert state_distance([tiny[1]], [tiny[0]]) == pytest.approx(found[1], rel=1e-6)


def test_other_samples_of_the_same_states_are_near(tmp_path: Path) -> None:
    shown, again = numbers(tmp_path / "shown", 0.0, 3000), numbers(tmp_path / "again", 0.0, 5000, seed=1)
    near = state_distance([again], [shown])
    far = state_distance([numbers(tmp_path / "far", 1.0, 3000, seed=2)], [shown])
    assert near is not None
    assert far is not None
    assert near < 0.1 < 0.3 < far


def test_choices_count_images_do_not_and_a_constant_does_no_harm(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)

    def seen(room: int, light: int) -> list[Any]:
        view = np.full((4, 4, 3), light, np.uint8)
        return [{"state": rng.normal(size=3) * np.array([1, 1, 0]), "room": room, "view": view} for _ in range(50)]

    shown = stored(tmp_path / "shown", MIXED, [seen(0, 10), seen(1, 10)])
    same = stored(tmp_path / "same", MIXED, [seen(0, 200), seen(1, 200)])
    other = stored(tmp_path / "other", MIXED, [seen(2, 10), seen(2, 10)])
    near, far = (state_distance([own], [shown]) for own in (same, other))
    assert near is not None
    assert far is not None
    assert near < 0.3 < far < 10
    image = spaces.Box(0, 255, (4, 4, 3), np.uint8)
    dark = stored(tmp_path / "dark", image, [[np.zeros((4, 4, 3), np.uint8)] * 3])
    assert state_distance([dark], [dark]) is None
    assert (has_states(shown.spec), has_states(dark.spec)) == (True, False)


def test_an_episode_that_ends_the_task_early_is_in_another_state_for_the_rest(tmp_path: Path) -> None:
    """Its states may all be the expert's. One that was cut says nothing of what would have followed."""
    seen = list(np.random.default_rng(0).normal(size=(400, 3)))
    shown = stored(tmp_path / "shown", NUMBERS, [seen, seen], terminated=False)
    falls = stored(tmp_path / "falls", NUMBERS, [seen[:200], seen[200:]])
    later = stored(tmp_path / "later", NUMBERS, [seen, seen[:200]])
    cut = stored(tmp_path / "cut", NUMBERS, [seen[:200], seen[200:]], terminated=False)
    early, rare, none = (state_distance([own], [shown]) for own in (falls, later, cut))
    assert early is not None
    assert rare is not None
    assert none is not None
    assert none < 0.02 < 0.3 < rare < early
    assert state_distance([falls], [falls]) == 0.0, "where demonstrations end like that, it is right"


def test_how_far_off_a_lost_episode_gets_does_not_matter(tmp_path: Path) -> None:
    """An angle that keeps turning must not outweigh all other episodes."""
    seen = list(np.random.default_rng(0).normal(size=(400, 3)))
    shown = stored(tmp_path / "shown", NUMBERS, [seen])
    lost, loster, twice = (
        stored(tmp_path / f"{far}-{num}", NUMBERS, [seen] * (4 - num) + [[row + far for row in seen]] * num)
        for far, num in ((30, 1), (30_000, 1), (30, 2))
    )
    found = [state_distance([own], [shown]) for own in (lost, loster, twice)]
    assert found[1] == pytest.approx(found[0])
    assert found[2] == pytest.approx(2 * found[0], rel=0.2)  # type: ignore[operator]
