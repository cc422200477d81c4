from __future__ import annotations

import numpy as np

from distil.interchange.lerobot_stats import merged, statistics


def test_statistics_of_parts_are_those_of_the_whole() -> None:
    rng = np.random.default_rng(0)
    values, images = rng.normal(size=(30, 2, 3)), rng.integers(0, 256, (30, 8, 9, 3), dtype=np.uint8)
    whole = statistics({"x": values}, {"top": images})
    parts = [statistics({"x": values[a:b]}, {"top": images[a:b]}) for a, b in ((0, 4), (4, 25), (25, 30))]
    found = merged([merged(parts[:2]), parts[2]])
    for name, shape in (("x", (2, 3)), ("top", (3, 1, 1))):
        for key in ("min", "max", "mean", "std", "count"):
            np.testing.assert_allclose(found[name][key], whole[name][key], err_msg=f"{name} {key}")
        assert found[name]["q50"].shape == found[name]["mean"].shape == shape
    np.testing.assert_allclose(whole["top"]["mean"].ravel(), images.mean((0, 1, 2)) / 255)
    assert np.abs(found["x"]["q50"] - whole["x"]["q50"]).max() < 0.5


def test_a_number_a_row_has_statistics_of_one() -> None:
    found = statistics({"done": np.array([False, False, True])}, {})["done"]
    assert (found["mean"].tolist(), found["max"].tolist(), found["count"].tolist()) == ([1 / 3], [1.0], [3])
