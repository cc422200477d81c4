"""The rows that benchmarks/quality.py prints for README.md."""

from __future__ import annotations

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[2] / "benchmarks"))

import quality


def test_a_row_shows_the_spread_over_the_seeds() -> None:
    common = {"eval/expert_return_mean": 3590.0, "budget/expert_labels": 20_000}
    runs = [{**common, "eval/normalised": 0.96 + seed / 100, "eval/return_mean": 3500.0 + seed} for seed in range(5)]
    assert quality.row("hopper-bc", runs) == (
        "| hopper-bc | 20,000 | 3502 | 3590 | 0.98 (0.96 to 1.00) | 0.96, 0.97, 0.98, 0.99, 1.00 |"
    )
