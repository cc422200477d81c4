"""What a run prints at its end."""

from __future__ import annotations

from pathlib import Path

from comparebed import config, metrics, write_run

from distil.api import Run
from distil.cli.results import result_text


def test_a_run_ends_with_the_table_of_evaluate(tmp_path: Path) -> None:
    found = metrics(310.0) | {"eval/success_rate": 0.5, "train/loss": 0.123456, "train/validation_loss": 0.25}
    text = result_text(Run(write_run(tmp_path / "a-001", config(), [found])))
    rows = [line.split() for line in text.splitlines()]
    assert text.startswith("50 held-out episodes\n")
    assert ["policy", "310.0", "305.0", "to", "315.0", "0.604"] in rows
    assert ["expert", "500.0", "\N{EN DASH}", "1.000"] in rows
    assert ["random", "20.0", "\N{EN DASH}", "0.000"] in rows
    assert "successful: 50 % of the policy's episodes" in text
    assert "spent: 20 demonstrations, 4,000 labels, 4,000 environment steps, 1,000 gradient steps, 10 s" in text
    assert text.endswith("loss: 0.1235\nvalidation loss: 0.25")


def test_a_run_without_an_evaluation_says_what_it_spent(tmp_path: Path) -> None:
    text = result_text(Run(write_run(tmp_path / "a-001", config(), [{"budget/gradient_steps": 5, "train/loss": 1.0}])))
    assert text == "spent: 5 gradient steps\nloss: 1"
