import numpy as np

from distil.nn.time_features import TIME_FEATURES, time_features


def test_times_that_differ_a_little_differ_in_the_fast_features_and_those_that_differ_much_in_the_slow_ones() -> None:
    near, far = (np.abs(np.subtract(time_features([0.5]), time_features([t]))) for t in (0.51, 1.0))
    assert len(near) == TIME_FEATURES
    assert near.max() > 0.4
    assert near[0] < 0.02
    assert far[0] > 0.3
    assert time_features([0.1, 0.9]) == time_features([0.1]) + time_features([0.9])
