"""Which differences are beyond the noise, and what is kept apart."""

from __future__ import annotations

from dataclasses import replace

import pytest
from comparebed import record

from distil.compare.comparison import compare
from distil.errors import InputError


def runs(name: str, scores, **changes):
    return [record(name, seed, score, **changes) for seed, score in enumerate(scores)]


def test_the_best_method_is_compared_with_each_other_one() -> None:
    good, close, bad = runs("good", (400, 410, 420, 430, 440)), runs("close", (401, 409, 421, 428, 439)), runs("bad", range(5))
    for name, group in (("close", close), ("bad", bad)):
        for run in group:
            run.config["learner"]["learning_rate"] = {"close": 0.1, "bad": 0.2}[name]
    found = compare(good + close + bad)
    assert found.best.name == "good"
    first, second = found.pairs
    assert (first.other.name, first.is_clear) == ("close", False)
    assert (second.other.name, second.is_clear) == ("bad", True)
    assert second.improvement.probability == 1.0
    assert (second.difference.num_pairs, second.difference.mean) == (5, 418.0)


def test_seeds_are_paired_only_where_both_methods_have_most_of_them() -> None:
    many = runs("many", (5, 6, 7, 8, 9, 10))
    few = runs("few", (1, 2), algorithm__kind="dagger")
    (pair,) = compare(many + few).pairs
    assert pair.difference.num_pairs == 0
    (pair,) = compare(many[:3] + few).pairs
    assert pair.difference.num_pairs == 2


def test_one_seed_decides_nothing() -> None:
    found = compare(runs("a", (5.0,)) + runs("b", (400.0,), algorithm__kind="dagger"))
    (pair,) = found.pairs
    assert (pair.improvement, pair.difference, pair.is_clear) == (None, None, False)
    assert any("one seed" in note for note in found.notes)


def test_a_sweeps_trials_are_kept_apart_from_its_confirmations() -> None:
    trials = [record("t", 0, None, tuned=(900.0 + n,), role="trial", data__episodes=n) for n in range(1, 4)]
    confirmed = [record("t", seed, 400.0, role="confirmation", data__episodes=3) for seed in (11, 12)]
    found = compare(trials + confirmed)
    assert ([method.mean for method in found.methods], [trial.mean for trial in found.trials]) == (
        [400.0],
        [903.0, 902.0, 901.0],
    )
    only = compare(trials)
    assert (only.held_out, [method.mean for method in only.methods], only.trials) == (False, [903.0, 902.0, 901.0], [])
    assert "tuning episodes" in " ".join(only.notes)


def test_runs_without_a_result_are_listed() -> None:
    failed = replace(record("c", 0, None), state="failed", reason="it broke")
    found = compare([record("a", 0, 5.0), failed, record("b", 0, None)])
    assert [run.name for run in found.unfinished] == ["c-0"]
    assert not compare([record("a", 0, 5.0), replace(record("c", 0, None), state="stopped")]).unfinished  # on purpose
    assert [run.name for run in found.unscored] == ["b-0"]
    assert "Runs without a result: 2" in " ".join(found.notes)
    with pytest.raises(InputError, match="none of the 1 runs has a score"):
        compare([failed])


def test_the_notes_say_which_budget_is_equal_and_what_else_differs() -> None:
    found = compare(runs("a", (1, 2), labels=1000.0) + runs("b", (3, 4), labels=2000.0, evaluation__episodes=10))
    text = " ".join(found.notes)
    assert "Equal for all methods: demonstrations (20), gradient steps (1,000)." in text
    assert "Different: labels (1,000 to 2,000)" in text
    assert "numbers of held-out episodes differ" in text
