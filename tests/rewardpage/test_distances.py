"""EPIC, DARD and STARC: what changes them and what does not."""

from __future__ import annotations

from functools import partial

import numpy as np
import pytest

from distil.envs.dynamics import Dynamics
from distil.rewardpage.distances import Exact, Sampled, basis, correlation, direction_distance, pearson_distance, waves

S, A = 6, 3
MEASURES = ("EPIC", "DARD", "STARC")


def world(seed: int = 0) -> Exact:
    rng = np.random.default_rng(seed)
    moves, coverage = rng.random((S, A, S)) ** 4, rng.random((S, A))
    dynamics = Dynamics(
        transitions_SAS=moves / moves.sum(-1, keepdims=True), start_S=np.eye(S)[0], is_terminal_S=np.zeros(S, np.bool_)
    )
    return Exact(dynamics=dynamics, coverage_SA=coverage / coverage.sum(), discount=0.9)


def distance(it: Exact, measure: str, one: np.ndarray, other: np.ndarray) -> float | None:
    return it.measures(other)[measure](one)


def reward(seed: int) -> np.ndarray:
    return np.random.default_rng(seed).normal(size=(S, A, S))


@pytest.mark.parametrize("measure", MEASURES)
def test_shaping_and_scale_change_nothing(measure: str) -> None:
    one, potential = reward(1), np.random.default_rng(2).normal(size=S)
    shaped = 3 * (one + 0.9 * potential - potential[:, None, None])
    found = partial(distance, world(), measure)
    assert found(shaped, one) == pytest.approx(0, abs=1e-7)
    assert found(-shaped, one) == pytest.approx(1, abs=1e-7)
    assert found(shaped, reward(3)) == pytest.approx(found(one, reward(3)), abs=1e-9)
    wrong = one + 0.5 * potential - potential[:, None, None]  # of another discount
    assert found(wrong, one) > 0.05


@pytest.mark.parametrize("measure", MEASURES)
def test_unrelated_rewards_are_half_way(measure: str) -> None:
    found = [distance(world(seed), measure, reward(seed + 10), reward(seed + 20)) for seed in range(20)]
    assert np.mean(found) == pytest.approx(np.sqrt(0.5), abs=0.08)


def test_epic_is_that_of_its_definition() -> None:
    """By a sum over all that its definition takes the mean of."""
    it, one, other = world(), reward(1), reward(2)
    states, actions = it.coverage_SA.sum(1), it.coverage_SA.sum(0)

    def canonical(r: np.ndarray) -> np.ndarray:
        out = np.zeros_like(r)
        for a in range(A):
            for u in range(S):
                for w in range(S):
                    chance = actions[a] * states[u] * states[w]
                    out += chance * (0.9 * r[:, a, w][None, None, :] - r[:, a, w][:, None, None] - 0.9 * r[u, a, w])
        return r + out

    steps = it.coverage_SA[..., None] * it.dynamics.transitions_SAS
    assert distance(it, "EPIC", one, other) == pytest.approx(
        pearson_distance(canonical(one), canonical(other), steps), abs=1e-9
    )


def test_where_nothing_leads_counts_for_epic_only() -> None:
    it = world()
    moves = np.zeros((S, A, S))
    moves[:, :, 0] = 1.0
    it = Exact(
        dynamics=Dynamics(transitions_SAS=moves, start_S=np.eye(S)[0], is_terminal_S=np.zeros(S, np.bool_)),
        coverage_SA=it.coverage_SA,
        discount=0.9,
    )
    one = reward(1)
    changed = one.copy()
    changed[0, 0, 1:] += 5.0  # from state 0, nothing leads to these
    assert distance(it, "STARC", changed, one) == pytest.approx(0, abs=1e-7)
    assert distance(it, "EPIC", changed, one) > 0.01


def test_a_constant_reward_has_no_distance() -> None:
    constant = np.full((S, A, S), 2.0)
    assert correlation(constant, reward(1)) is None
    assert [distance(world(), measure, constant, reward(1)) for measure in MEASURES] == [None] * 3
    assert direction_distance(np.zeros(3), np.ones(3)) is None


def test_from_steps_the_shaping_goes_away_too() -> None:
    """A potential that is one of the basis functions is removed exactly, also where the task ends."""
    rng, num = np.random.default_rng(0), 500
    seen, after, ended = rng.normal(size=(num, 2)), rng.normal(size=(num, 2)), rng.random(num) < 0.1
    drawn = basis(seen, rng, 20)
    it = Sampled(basis_NK=waves(seen, drawn), after_NK=waves(after, drawn), terminated_N=ended, discount=0.9)
    one = rng.normal(size=num)
    shaping = 0.9 * np.where(ended, 0, it.after_NK[:, 5]) - it.basis_NK[:, 5]
    np.testing.assert_allclose(it.canonical(one + shaping), it.canonical(one), atol=1e-3)
    np.testing.assert_allclose(it.canonical(np.where(ended, -0.9 * 4.0, 0.0), at_end=4.0), 0, atol=1e-9)
    assert np.abs(it.canonical(one)).max() > 0.5
