import math
from dataclasses import replace

import numpy as np
import pytest

from distil.heads.samplers import Ddim, Ode, Once, Shortcuts, TwoSteps, signal_and_noise


@pytest.mark.parametrize(("solver", "order"), [("euler", 1), ("midpoint", 2)])
def test_the_error_falls_with_the_solvers_order(solver: str, order: int) -> None:
    """dx / dt = x + t from x = 1: x(1) = 2 e - 2, where the end that is pointed at is x + (1 - t) (x + t)."""
    errors = [
        abs(Ode(num_steps=num, solver=solver)(lambda x, t: x + (1 - t) * (x + t), np.float64(1)) - (2 * math.e - 2))
        for num in (20, 40)
    ]
    assert errors[0] / errors[1] == pytest.approx(2**order, rel=0.1)


def test_shortcuts_tell_the_network_how_long_a_step_is() -> None:
    asked = []
    assert Shortcuts(num_steps=2)(lambda x, t, d: asked.append((t, d, x)) or x + 1.0 - t, 0.5) == 1.5
    assert asked == [(0.0, 0.5, 0.5), (0.5, 0.5, 1.0)]


def test_once_and_two_steps() -> None:
    assert Once()(lambda x: x + 1, 2.0) == 3.0
    assert TwoSteps(level=0.5)(lambda x, t: x + t + 1, 0.0) == 0.5 * 1 + 0.5 + 1


def test_ddim_ends_at_the_estimate_and_visits_equal_steps() -> None:
    asked = []
    found = Ddim(num_steps=4, num_levels=100, target="x0")(lambda x, t: asked.append(t) or np.float64(0.2), np.float64(1.3))
    assert found == 0.2
    assert asked == [1.0, 0.75, 0.5, 0.25]


def test_estimates_stay_inside() -> None:
    assert Ddim(num_steps=3, num_levels=3, target="x0")(lambda x, t: np.float64(7), np.float64(0)) == 1
    assert Ddim(num_steps=3, num_levels=3, target="x0")(lambda x, t: np.float64(7), np.float64(0), -8.0, 5.0) == 5


def test_the_schedule_begins_with_signal_and_ends_with_noise() -> None:
    """Improved DDPM, equation 17."""
    squares = np.array([np.square(signal_and_noise(t)) for t in np.linspace(0.01, 1, 100)])
    np.testing.assert_allclose(squares.sum(1), 1)
    assert (np.diff(squares[:, 0]) < 0).all()
    assert squares[0, 0] > 0.995
    assert squares[-1, 0] == pytest.approx(0.001, rel=1e-3)


@pytest.mark.parametrize(
    "sampler",
    [
        Ode(num_steps=2, temperature=0.5),
        Shortcuts(num_steps=2, temperature=0.5),
        Ddim(num_steps=2, num_levels=4, target="v", temperature=0.5),
    ],
    ids=lambda sampler: type(sampler).__name__,
)
def test_the_temperature_multiplies_the_noise_and_nothing_else(sampler: Ode) -> None:
    def network(x: np.float64, *scalars: float) -> np.float64:
        return np.float64(0.3 * x + 0.1)

    plain = replace(sampler, temperature=1.0)
    assert sampler(network, np.float64(0.8)) == plain(network, np.float64(0.4)) != plain(network, np.float64(0.8))
    assert sampler(network, np.float64(0.0)) == plain(network, np.float64(0.0))
