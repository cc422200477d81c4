import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parents[2] / "benchmarks"))

import early_stopping as benchmark


def test_patience_stops_after_validations_without_a_new_least_loss() -> None:
    assert benchmark.num_with_patience([3, 2, 2, 2, 1, 9, 9, 9, 0]) == 5 + 3  # after 2, 2, 2 comes a new one in time
    assert benchmark.num_with_patience([3, 2, 2, 2, 2, 1]) == 5
    assert benchmark.num_with_patience([3, 2, 1]) == 3


def test_the_figures_of_a_run() -> None:
    found = benchmark.figures([4, 3, 3.5, 3.6, 3.7, 1], [0.1, 0.4, 0.3, 0.25, 0.2, 0.35], every=10)
    assert found["rank"] == pytest.approx(0.943, abs=1e-3)
    assert (found["last"], found["best"], found["least loss"], found["at step"]) == (0.35, 0.4, 0.35, 60)
    assert (found["patience"], found["stops at"]) == (0.4, 50)
    assert benchmark.figures([2, 1], [1.0, 1.0], every=10)["rank"] is None
