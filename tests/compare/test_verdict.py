"""The verdict in one sentence."""

from __future__ import annotations

import pytest
from comparebed import record

from distil.compare.comparison import compare
from distil.compare.verdict import names, number, percent, verdict

LEVELS = {"a": (400, 410, 420, 430, 440), "b": (401, 409, 421, 428, 439), "c": (1, 2, 3, 4, 5), "d": (300,)}


def of(*chosen: str) -> str:
    rates = {name: 10.0**-i for i, name in enumerate(LEVELS)}
    runs = [
        record(name, seed, score, learner__learning_rate=rates[name])
        for name in chosen
        for seed, score in enumerate(LEVELS[name])
    ]
    return verdict(compare(runs))


def test_a_clear_winner_is_better_with_its_probability() -> None:
    text = of("a", "c")
    assert text.startswith("a is better than c: return 420.0 (95 % interval 400.4 to 439.6, 5 seeds), normalised 0.833;")
    assert "probability of improvement 100 %, difference +417" in text
    assert "5 pairs of seeds" in text


def test_ties_are_said() -> None:
    text = of("a", "b", "c")
    assert text.startswith("a has the highest return, 420.0")
    assert "it is tied with b (probability of improvement 52 %, difference +0.4, 95 % interval " in text
    assert text.endswith("it is better than c.")


def test_one_seed_is_no_verdict() -> None:
    assert "one seed cannot tell skill from luck: train each method with several seeds" in of("d")[:0] + verdict(
        compare([record("x", 0, 5.0), record("y", 0, 4.0, data__episodes=3)])
    )
    assert "one seed cannot tell it from d" in of("a", "c", "d")
    assert "no other method" in of("a")


def test_a_verdict_is_one_sentence() -> None:
    for chosen in (("a",), ("a", "b"), ("a", "c"), ("a", "b", "c", "d")):
        assert of(*chosen).count(". ") == 0
        assert of(*chosen).endswith(".")


@pytest.mark.parametrize(
    ("value", "text"),
    [(-1234.5, "\N{MINUS SIGN}1,234"), (-150.26, "\N{MINUS SIGN}150.3"), (0.01234, "0.0123"), (500.0, "500.0")],
)
def test_numbers(value: float, text: str) -> None:
    assert number(value) == text


def test_a_probability_below_one_is_not_100_percent() -> None:
    assert [percent(p) for p in (0.9999, 1.0, 0.0001, 0.0, 0.5, None)] == [
        "> 99 %",
        "100 %",
        "< 1 %",
        "0 %",
        "50 %",
        "\N{EN DASH}",
    ]


def test_many_names_are_cut() -> None:
    methods = compare([record("x", 0, float(n), data__episodes=n) for n in range(1, 8)]).methods
    assert names(methods) == "BC, 7 demos, BC, 6 demos, BC, 5 demos and 4 others"
    assert names(methods[:2]) == "BC, 7 demos and BC, 6 demos"
