import numpy as np

from distil.objectives.gae import advantages


def test_with_a_trace_of_one_it_is_the_return_minus_the_value() -> None:
    """A terminated episode of three steps, and a truncated one of two, whose last value goes on (CORRECTNESS 21)."""
    rewards, values = np.array([1.0, 2.0, 3.0, 1.0, 1.0]), np.array([0.5, 0.1, 0.2, 0.3, 0.4])
    following = np.array([0.1, 0.2, 0.0, 0.4, 10.0])
    ends = np.array([False, False, True, False, True])
    got = advantages(rewards, values, following, ends, discount=0.9, trace=1.0)
    returns = [1 + 0.9 * (2 + 0.9 * 3), 2 + 0.9 * 3, 3, 1 + 0.9 * (1 + 0.9 * 10), 1 + 0.9 * 10]
    np.testing.assert_allclose(got, np.array(returns) - values)


def test_with_a_trace_of_zero_it_is_the_error_of_one_step() -> None:
    got = advantages(np.ones(3), np.ones(3), np.full(3, 2.0), np.array([False, False, True]), discount=0.5, trace=0.0)
    np.testing.assert_allclose(got, 1 + 0.5 * 2 - 1)
