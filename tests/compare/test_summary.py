"""A comparison on the terminal and as JSON."""

from __future__ import annotations

import json
from dataclasses import replace

from comparebed import record

from distil.compare.comparison import compare
from distil.compare.summary import amount, summary, to_json
from distil.compare.verdict import verdict


def found():
    runs = [record("bc", seed, 300.0 + seed) for seed in range(5)]
    runs += [record("dagger", seed, 400.0 + seed, algorithm__kind="dagger") for seed in range(5)]
    runs += [
        record("dagger", 0, None, tuned=(9.0,), role="trial"),
        replace(record("bc", 7, None), state="failed", reason="it broke"),
    ]
    return compare(runs)


def test_the_text_has_scores_budgets_and_verdict_in_80_columns() -> None:
    text = summary(found())
    tables = text[: text.index("failed:")]
    assert max(map(len, text.splitlines())) <= 80
    assert ["dagger", "5", "402.0", "400.0", "to", "404.0", "0.796", "best"] in [line.split() for line in tables.splitlines()]
    assert ["bc", "20", "4,000", "4,000", "1,000", "10"] in [line.split() for line in tables.splitlines()]
    assert "failed: bc-7 (it broke)" in text
    assert "Search: best 1 of 1 trials" in text
    assert ["dagger", "9", "-0.023"] in [line.split() for line in tables.splitlines()]
    assert " ".join(text.split()).endswith(verdict(found()))


def test_the_json_has_everything() -> None:
    data = json.loads(json.dumps(to_json(found())))
    assert data["methods"][0]["parameters"] == {"algorithm.kind": "dagger"}
    assert [run["score"] for run in data["methods"][1]["runs"]] == [300.0, 301.0, 302.0, 303.0, 304.0]
    assert data["pairs"][0]["clear"] is True
    assert data["pairs"][0]["difference"]["num_pairs"] == 5
    assert data["unfinished"][0]["reason"] == "it broke"
    assert len(data["trials"]) == 1


def test_amounts() -> None:
    assert [amount(value) for value in (None, 3.14, 20.0, 40_000.0)] == ["\N{EN DASH}", "3.1", "20", "40,000"]
